"""Ensembles of out-of-fold predictions: the ways to weigh candidates, their nested scores, and the choice between them.

Knows arrays, folds and the metric; must not know studies, runs or files. Candidates are named out-of-fold predictions
of the same rows on the same folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.metrics import Metric
from pipeline.scoring.candidates import Candidates, Fit, Mask, Oofs, Rows, Selection
from pipeline.scoring.ways import SINGLE, best_on, decided, greedy, linear, lost_without, single, ways
from pipeline.scoring.weights import SMALLEST_WEIGHT

__all__ = [
    "SMALLEST_WEIGHT",
    "Choice",
    "Selection",
    "best_by_fold",
    "choose_ensemble",
    "lead",
    "nested_prediction_of_singles",
    "select_greedily",
    "select_linearly",
]

DECIDED = ", decided"  # after the name of a way whose decision is fitted again


def select_greedily(oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric) -> Selection:
    """Greedy selection, and its nested score; at most `GREEDY_ROWS` rows are used.

    `oofs` are finite on every row with a fold; rows without one are ignored.
    """
    candidates = Candidates.of(oofs, target, fold_of_row, metric)
    return candidates.selection(greedy(candidates))


def select_linearly(
    oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric, *, smallest: float = SMALLEST_WEIGHT
) -> Selection:
    """Weights that minimise the squared error, and their nested score.

    Errors are measured on the metric's scale, or as errors of the class probabilities (for `accuracy` too: counts of
    correct labels carry less information). Weights below `smallest` are dropped and the others fitted again.
    """
    candidates = Candidates.of(oofs, target, fold_of_row, metric)
    return candidates.selection(linear(candidates, smallest))


@dataclass(frozen=True)
class Choice:
    """The way chosen, its ensemble, and the nested scores that the choice was based on."""

    method: str
    selection: Selection
    shares: dict[str, float]  # name -> weight, if one kind alone is chosen that in the best ensemble
    nested_scores: dict[str, float]  # way -> score
    # every fold predicted in the way that the other folds choose: without what the choice of a way gains by luck
    corrected_score: float
    lost_without: dict[str, float]  # group -> share of what the squared error grows by without it


def choose_ensemble(
    oofs: Oofs,
    target: FloatArray,
    fold_of_row: Rows,
    metric: Metric,
    *,
    smallest: float = SMALLEST_WEIGHT,
    kinds: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Choice:
    """Choose the way to combine candidates by nested scores.

    Candidates of equal `kinds` (by name; without it each is a kind of its own), such as seeds of one configuration,
    share a weight in equal parts: which seed is best is luck. `smallest` is that of a kind. `groups` (by name; without
    it each kind is one) are those of `lost_without`.

    The first way is that of the loss nearest to the metric, which uses all errors and is nearly always as good or
    better; another one is chosen if its nested lead exceeds the standard error: choosing by the bare scores would be
    one more opportunity to overfit. The decision of classes is fitted again to the average by the same rule. What is
    chosen is never worse than the best kind of candidates alone, which is itself chosen on the other folds.
    """
    candidates = Candidates.of(oofs, target, fold_of_row, metric, kinds)
    fits = ways(candidates, smallest)
    table = _Table(candidates)
    for way, fit in fits.items():
        table.add(way, fit)
    every_fold = np.ones(len(candidates.fold_numbers), dtype=bool)
    leading = table.leading(list(fits), every_fold)
    if metric.reads == "label" and candidates.has_classes and not metric.is_slow:
        table.add(leading + DECIDED, decided(candidates, fits[leading]))

    def chosen(folds: Mask) -> str:
        way = table.leading(list(fits), folds)
        return table.leading([way, way + DECIDED], folds) if way + DECIDED in table.fits else way

    method, nested = chosen(every_fold), np.full_like(candidates.stack[0], np.nan)
    for number, fold in enumerate(candidates.fold_numbers):
        held = candidates.folds == fold
        nested[held] = table.nested[chosen(np.arange(len(every_fold)) != number)][held]
    table.add(SINGLE, single(candidates))
    scores = {way: candidates.metric(candidates.y, prediction) for way, prediction in table.nested.items()}
    selection = of_all = candidates.selection(table.fits[method], table.nested[method])
    if metric.is_better(scores[SINGLE], scores[method]):
        method = min(scores, key=lambda way: float(metric.losses(scores[way])))
        selection = candidates.selection(table.fits[method], table.nested[method])
    shares = (of_all if method == SINGLE else selection).weights
    lost = lost_without(candidates, groups or kinds or {name: name for name in oofs})
    return Choice(method, selection, shares, scores, candidates.metric(candidates.y, nested), lost)


def best_by_fold(oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric) -> dict[int, str]:
    """For every fold, the single candidate that is best on the other folds."""
    candidates = Candidates.of(oofs, target, fold_of_row, metric)
    folds = candidates.fold_numbers
    return {int(fold): candidates.names[best_on(candidates, folds != fold)] for fold in folds}


def nested_prediction_of_singles(by_fold: Mapping[int, str], oofs: Oofs, fold_of_row: Rows) -> FloatArray:
    """(rows, ...) every fold predicted by the candidate that `by_fold` names for it; NaN for rows without a fold."""
    nested = np.full_like(next(iter(oofs.values())), np.nan)
    for fold, name in by_fold.items():
        nested[fold_of_row == fold] = oofs[name][fold_of_row == fold]
    return nested


def lead(
    prediction: FloatArray, other: FloatArray, target: FloatArray, fold_of_row: Rows, metric: Metric
) -> tuple[float, float]:
    """How much better `prediction` is than `other`: mean difference of the fold scores, and its standard error."""
    rows = [fold_of_row == fold for fold in np.unique(fold_of_row) if fold != NEVER_VALIDATED]
    by_fold = [(metric.at(r), target[r], prediction[r], other[r]) for r in rows]
    return _mean_and_error(np.array([m.gain(m(y, one), m(y, two)) for m, y, one, two in by_fold]))


def _mean_and_error(gains: FloatArray) -> tuple[float, float]:
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else float("inf")
    return float(np.mean(gains)), error


@dataclass
class _Table:
    """The ways, their nested predictions and the scores of these on each fold."""

    candidates: Candidates
    fits: dict[str, Fit] = field(default_factory=dict)
    nested: dict[str, FloatArray] = field(default_factory=dict)
    scores: dict[str, FloatArray] = field(default_factory=dict)

    def add(self, way: str, fit: Fit) -> None:
        self.fits[way], self.nested[way] = fit, self.candidates.nested(fit)
        self.scores[way] = self.candidates.fold_scores(self.nested[way])

    def leading(self, ways: Sequence[str], folds: Mask) -> str:
        """The first way, or the one that leads it by most if that is more than the standard error."""
        best, most = ways[0], 0.0
        for way in ways[1:]:
            gains = self.candidates.metric.gain(self.scores[way], self.scores[ways[0]])
            gain, error = _mean_and_error(gains[folds])
            if gain > error and gain > most:
                best, most = way, gain
        return best
