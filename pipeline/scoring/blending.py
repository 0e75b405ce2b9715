"""How several predictions become one: a weighted average, on the scale on which a metric measures errors.

Knows arrays and the metric; must not know where weights come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.base.target_transforms import inverse_transform, transform_target
from pipeline.config.run_report import Clipping, LogOdds
from pipeline.metrics import Metric
from pipeline.scoring.clipping import clipped_average
from pipeline.scoring.log_odds import combined_log_odds


def combine(
    predictions: Sequence[FloatArray], weights: Sequence[float], metric: Metric, rule: LogOdds | Clipping | None
) -> FloatArray:
    """Combine the predictions of an ensemble's members by its rule, or by their weights alone."""
    if isinstance(rule, LogOdds):
        return combined_log_odds(predictions, rule.weights, rule.intercepts, rule.kinds)
    if rule is not None and len(predictions) > 1:
        stack = np.stack([on_scale(one, metric) for one in predictions])
        shares = np.array(weights, dtype=np.float64) / np.sum(weights)
        limits = np.array(rule.limits).reshape(stack.shape[2:])
        return inverse_transform(metric.scale, clipped_average(stack, shares, limits))
    return blend(predictions, weights, metric)


def blend(predictions: Sequence[FloatArray], weights: Sequence[float], metric: Metric) -> FloatArray:
    """Average predictions on the scale on which `metric` measures errors (logs for `log_rmse`), or as probabilities.

    Predictions are (rows,), (rows, targets) or (rows, classes); weights need not sum to 1. A single prediction is
    returned unchanged.
    """
    if len(predictions) == 1:
        return predictions[0]
    shares = np.array(weights, dtype=np.float64) / np.sum(weights)
    total = np.zeros_like(predictions[0])
    for share, prediction in zip(shares, predictions, strict=True):
        total += share * on_scale(prediction, metric)
    return inverse_transform(metric.scale, total)


def on_scale(prediction: FloatArray, metric: Metric) -> FloatArray:
    """Predictions, clamped as the metric does it, on the scale on which they are averaged."""
    if metric.reads == "value" and metric.min_prediction is not None:
        prediction = np.maximum(prediction, metric.min_prediction)
    return transform_target(metric.scale, prediction)
