"""What each member does for an ensemble: correlation of errors, leaving one out, the best for the time.

Knows out-of-fold predictions, weights and the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import FoldArray
from pipeline.config.run_report import Adjustment, Clipping, LogOdds
from pipeline.metrics import Metric
from pipeline.report.compute.comparison import paired_gains
from pipeline.scoring.adjustment import apply_adjustment
from pipeline.scoring.blending import combine, on_scale


@dataclass(frozen=True)
class Combination:
    """How an ensemble makes one prediction of those of its members."""

    weights: Sequence[float]
    metric: Metric
    rule: LogOdds | Clipping | None = None
    adjustment: Adjustment | None = None

    def of(self, predictions: Sequence[FloatArray], kept: Sequence[int]) -> FloatArray:
        """The prediction of some members; weights of an average are shares among them."""
        rule = self.rule
        if isinstance(rule, LogOdds):
            rule = rule.updated(weights=[rule.weights[i] for i in kept], kinds=[rule.kinds[i] for i in kept])
        chosen, weights = [predictions[i] for i in kept], [self.weights[i] for i in kept]
        return apply_adjustment(self.adjustment, combine(chosen, weights, self.metric, rule))


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
    predictions: Sequence[FloatArray], how: Combination, target: FloatArray, fold: FoldArray
) -> list[WithoutOne]:
    """The gain of each member; in an average the others share its weight in proportion to theirs."""
    metric, every = how.metric, range(len(predictions))
    if len(every) < 2:
        return [WithoutOne(float("nan"), float("nan")) for _ in every]
    whole = _fold_scores(how.of(predictions, every), target, fold, metric)
    found = []
    for i in every:
        rest = how.of(predictions, [j for j in every if j != i])
        found.append(WithoutOne(*paired_gains(metric, whole, _fold_scores(rest, target, fold, metric))))
    return found


def growing(predictions: Sequence[FloatArray], how: Combination, target: FloatArray) -> list[float]:
    """The scores of the ensembles of the first one, two, three, ... members."""
    return [how.metric(target, how.of(predictions, range(n + 1))) for n in range(len(predictions))]


def _fold_scores(prediction: FloatArray, target: FloatArray, fold: FoldArray, metric: Metric) -> list[float]:
    rows = [fold == one for one in np.unique(fold)]
    return [metric.at(row)(target[row], prediction[row]) for row in rows]
