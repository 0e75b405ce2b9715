"""What each member does for an ensemble: correlation of errors, leaving one out, the best for the time.

Knows out-of-fold predictions, weights and the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import FoldArray
from pipeline.metrics import Metric
from pipeline.report.compute.comparison import paired_gains
from pipeline.report.compute.residuals import on_scale
from pipeline.scoring.ensembling import blend


def member_errors(prediction: FloatArray, target: FloatArray, metric: Metric) -> FloatArray:
    """(rows,) errors on the metric's scale; of classes, what is missing from the true class's probability."""
    if metric.reads == "value":
        return (on_scale(prediction, metric) - on_scale(target, metric)).reshape(len(target), -1)[:, 0]
    if target.ndim == 2:
        return (prediction - target)[:, 0]
    missing: FloatArray = 1.0 - prediction[np.arange(len(target)), target.astype(np.int64)]
    return missing


def error_correlation(predictions: Sequence[FloatArray], target: FloatArray, metric: Metric) -> FloatArray:
    """(members, members) Pearson's correlation of the members' errors; NaN for a constant one."""
    errors = np.array([member_errors(one, target, metric) for one in predictions])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(errors))


@dataclass(frozen=True)
class WithoutOne:
    """What a member adds: mean gain per fold of the whole ensemble over the one without it, and its interval."""

    gain: float
    width: float


def leave_one_out(
    predictions: Sequence[FloatArray], weights: Sequence[float], target: FloatArray, fold: FoldArray, metric: Metric
) -> list[WithoutOne]:
    """The gain of each member; the others share its weight in proportion to theirs."""
    whole = _fold_scores(blend(predictions, weights, metric), target, fold, metric)
    found = []
    for i in range(len(predictions)):
        others = [j for j in range(len(predictions)) if j != i]
        if not others:
            return [WithoutOne(float("nan"), float("nan"))]
        rest = blend([predictions[j] for j in others], [weights[j] for j in others], metric)
        found.append(WithoutOne(*paired_gains(metric, whole, _fold_scores(rest, target, fold, metric))))
    return found


def growing(
    predictions: Sequence[FloatArray], weights: Sequence[float], target: FloatArray, metric: Metric
) -> list[float]:
    """The scores of the ensembles of the first one, two, three, ... members."""
    numbers = range(1, len(predictions) + 1)
    return [metric(target, blend(predictions[:n], weights[:n], metric)) for n in numbers]


def _fold_scores(prediction: FloatArray, target: FloatArray, fold: FoldArray, metric: Metric) -> list[float]:
    rows = [fold == one for one in np.unique(fold)]
    return [metric.at(row)(target[row], prediction[row]) for row in rows]
