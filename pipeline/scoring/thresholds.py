"""The decision threshold of a binary classifier: where the positive class begins, for metrics that read labels.

Knows class codes, probabilities (rows, 2) and a metric.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric

N_CANDIDATES = 100  # thresholds tried: quantiles of the predicted probabilities
N_SLOW_CANDIDATES = 20  # the same for a slow metric


def best_threshold(metric: Metric, codes: NDArray[Any], probability: FloatArray) -> float:
    """The threshold of the best score on these rows; of equally good ones the nearest to 0.5, which is always tried.

    Candidates lie halfway between neighbouring probabilities, so that no row sits on one.
    """
    positive = np.unique(probability[:, 1])
    between = (positive[1:] + positive[:-1]) / 2.0
    most = N_SLOW_CANDIDATES if metric.is_slow else N_CANDIDATES
    if len(between) > most:
        between = between[np.linspace(0, len(between) - 1, most).astype(np.int64)]
    between = between[(between > 0.0) & (between < 1.0)]
    best, best_score = 0.5, metric(codes, probability)
    for threshold in sorted(between.tolist(), key=lambda t: abs(t - 0.5)):
        score = metric(codes, moved_to_half(probability, threshold))
        if metric.is_better(score, best_score):
            best, best_score = threshold, score
    return best


def moved_to_half(probability: FloatArray, threshold: float) -> FloatArray:
    """Probabilities whose odds are divided by those of the threshold: it comes to lie at 0.5, the order stays.

    A row is positive by argmax afterwards exactly when its probability was above the threshold.
    """
    positive = probability[:, 1] * (1.0 - threshold)
    negative = probability[:, 0] * threshold
    moved: FloatArray = np.column_stack([negative, positive]) / (negative + positive)[:, None]
    return moved
