"""Ensembles of out-of-fold predictions: greedy and linear weights, their nested scores, weighted averages.

Knows arrays, folds and the metric; must not know studies, runs or files. Candidates are named out-of-fold predictions
of the same rows on the same folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.encoders.target import inverse_transform, transform_target
from pipeline.metrics import Metric, mean_of_targets

Oofs = Mapping[str, FloatArray]  # name -> out-of-fold prediction
Rows = NDArray[np.int64]

N_STEPS = 20  # greedy picks: weights are multiples of 1/20, so at most 20 members
N_START = 5  # first picks are the best candidates; nested, against none: accuracy .816, .810; log-RMSE .1163, .1161
N_CANDIDATES = 100  # greedy selection considers the best single candidates only: more would invite overfitting
N_ONE_BY_ONE = 25  # the same for metrics without a vectorised form
N_SLOW = 8  # the same for metrics that may be slow, and the number of their greedy picks
MOST_ROWS = 10_000  # rows that greedy selection is scored on, sampled
# Strength of the shrinkage of linear weights towards equal ones, in rows of data. Chosen by inner folds instead, it
# jumps between its bounds where two outliers dominate the score: House Prices .1148 instead of .1139
PRIOR_ROWS = 50.0
SMALLEST_WEIGHT = 0.02  # smaller linear weights are dropped: each would cost a model in every prediction


@dataclass(frozen=True)
class Selection:
    """An ensemble, its optimistic score and its nested score."""

    weights: dict[str, float]  # name -> weight, heaviest first; they sum to 1
    score: float  # on the rows the weights were chosen on: optimistic
    nested_score: float  # every fold predicted with weights chosen on the other folds
    nested_prediction: FloatArray = field(compare=False)  # NaN for rows without a fold


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
        total += share * _on_scale(prediction, metric)
    return inverse_transform(metric.scale, total)


def select_greedily(oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric) -> Selection:
    """Greedy selection with replacement (Caruana et al., ICML 2004), and its nested score.

    `oofs` are finite on every row with a fold; rows without one are ignored. The first steps add the best candidates in
    turn, later ones the candidate that improves the average most; the best of all steps' ensembles is kept, the last of
    equal ones. At most `MOST_ROWS` rows are used.
    """
    candidates = _Candidates.of(oofs, target, fold_of_row, metric)

    def weights_of(rows: NDArray[np.bool_]) -> FloatArray:
        some = np.flatnonzero(rows)
        if len(some) > MOST_ROWS:
            some = np.sort(np.random.default_rng(0).choice(some, MOST_ROWS, replace=False))
        counts = _selected(candidates.stack[:, some], candidates.y[some], candidates.metric.at(some))
        return counts / np.sum(counts)

    return candidates.selection(weights_of)


def select_linearly(
    oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric, *, smallest: float = SMALLEST_WEIGHT
) -> Selection:
    """Non-negative weights of sum 1 that minimise the squared error, and their nested score.

    Errors are measured on the metric's scale, or as errors of the class probabilities (for `accuracy` too: counts of
    correct labels carry less information). Weights below `smallest` are dropped and the others fitted again.
    """
    candidates = _Candidates.of(oofs, target, fold_of_row, metric)
    stack, folds = candidates.stack, candidates.folds
    errors = stack - _target_on_scale(candidates.y, stack, metric)
    if candidates.metric.weight is not None:
        errors *= np.sqrt(candidates.metric.weight).reshape(-1, *[1] * (errors.ndim - 2))
    products = {int(fold): _products(errors[:, folds == fold]) for fold in np.unique(folds)}

    def weights_of(rows: NDArray[np.bool_]) -> FloatArray:
        known = [products[int(fold)] for fold in np.unique(folds[rows])] or list(products.values())
        return _linear_weights(np.sum(known, axis=0), PRIOR_ROWS / len(folds), smallest)

    return candidates.selection(weights_of)


@dataclass(frozen=True)
class _Candidates:
    """The rows that a fold validates: candidates' predictions on the metric's scale, targets and folds."""

    names: list[str]
    stack: FloatArray  # (candidates, rows, ...)
    y: FloatArray
    folds: Rows
    is_validated: NDArray[np.bool_]  # (all rows,)
    metric: Metric  # of these rows

    @classmethod
    def of(cls, oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric) -> _Candidates:
        rows = fold_of_row != NEVER_VALIDATED
        stack = np.stack([_on_scale(oof[rows], metric) for oof in oofs.values()])
        assert np.isfinite(stack).all(), "a validated row has no prediction"
        return cls(list(oofs), stack, target[rows], fold_of_row[rows], rows, metric.at(rows))

    def selection(self, weights_of: Callable[[NDArray[np.bool_]], FloatArray]) -> Selection:
        """The ensemble with the weights of all rows; nested, every fold with the weights of the other folds' rows."""
        nested = np.full(self.stack.shape[1:], np.nan)
        for fold in np.unique(self.folds):
            is_held = self.folds == fold
            nested[is_held] = self._average(weights_of(~is_held), is_held)
        every_row = np.ones(len(self.y), dtype=bool)
        weights = weights_of(every_row)
        whole = np.full((len(self.is_validated), *nested.shape[1:]), np.nan)
        whole[self.is_validated] = nested
        return Selection(
            weights={self.names[i]: float(weights[i]) for i in np.argsort(-weights, kind="stable") if weights[i] > 0},
            score=self.metric(self.y, self._average(weights, every_row)),
            nested_score=self.metric(self.y, nested),
            nested_prediction=whole,
        )

    def _average(self, weights: FloatArray, rows: NDArray[np.bool_]) -> FloatArray:
        chosen = np.flatnonzero(weights)
        return inverse_transform(self.metric.scale, np.tensordot(weights[chosen], self.stack[chosen][:, rows], axes=1))


@dataclass(frozen=True)
class Choice:
    """The method chosen, its ensemble, and the nested scores that the choice was based on."""

    method: str  # "linear" or "greedy"
    selection: Selection
    nested_scores: dict[str, float]  # method -> score


def choose_ensemble(
    oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric, *, smallest: float = SMALLEST_WEIGHT
) -> Choice:
    """Choose linear weights, unless the nested lead of greedy ones exceeds its standard error.

    Linear weights use all errors instead of the metric alone and are nearly always as good or better; choosing by the
    bare scores would be one more opportunity to overfit. The nested score of the best single candidate is reported too.
    """
    linear = select_linearly(oofs, target, fold_of_row, metric, smallest=smallest)
    greedy = select_greedily(oofs, target, fold_of_row, metric)
    singles = nested_prediction_of_singles(best_by_fold(oofs, target, fold_of_row, metric), oofs, fold_of_row)
    validated = fold_of_row != NEVER_VALIDATED
    gain, error = lead(greedy.nested_prediction, linear.nested_prediction, target, fold_of_row, metric)
    single_score = metric.at(validated)(target[validated], singles[validated])
    scores = {"linear": linear.nested_score, "greedy": greedy.nested_score, "single": single_score}
    return Choice("greedy", greedy, scores) if gain > error else Choice("linear", linear, scores)


def _target_on_scale(y: FloatArray, stack: FloatArray, metric: Metric) -> FloatArray:
    """The prediction of a perfect candidate: (rows,) or (rows, targets or classes)."""
    if metric.reads == "value":
        return _on_scale(y, metric)
    return y if y.ndim == 2 else np.eye(stack.shape[2])[y.astype(np.int64)]


def _products(errors: FloatArray) -> FloatArray:
    """(candidates, candidates) sums of products of errors (candidates, rows, ...)."""
    flat = errors.reshape(len(errors), -1)
    return np.asarray(flat @ flat.T, dtype=np.float64)


def _linear_weights(products: FloatArray, shrinkage: float, smallest: float) -> FloatArray:
    """(candidates,) the weights w >= 0 of sum 1 that minimise w' (products + ridge) w.

    The weights sum to 1, so the error of the average is the average of the errors. The sum is one more equation of a
    non-negative least squares problem; its weight does not change the direction of the solution.
    """
    from scipy.optimize import nnls

    kept = np.arange(len(products))
    while True:
        mean = float(np.mean(np.diag(products))) or 1.0
        part = products[np.ix_(kept, kept)] / mean + shrinkage * np.eye(len(kept))
        root = np.linalg.cholesky(part + 1e-9 * np.eye(len(kept))).T
        found, _ = nnls(np.vstack([root, np.ones(len(kept))]), np.append(np.zeros(len(kept)), 1.0))
        found = found / found.sum()
        is_heavy = found >= min(smallest, float(found.max()))
        if is_heavy.all() or not (~is_heavy & (found > 0)).any():
            weights = np.zeros(len(products))
            weights[kept] = np.where(is_heavy, found, 0.0)
            return weights
        kept = kept[is_heavy]


def best_by_fold(oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric) -> dict[int, str]:
    """For every fold, the single candidate that is best on the other folds."""
    all_of = _Candidates.of(oofs, target, fold_of_row, metric)
    best = {}
    for fold in np.unique(all_of.folds):
        others = all_of.folds != fold
        losses = metric.losses(_scores(all_of.stack[:, others], all_of.y[others], all_of.metric.at(others)))
        best[int(fold)] = all_of.names[int(np.argmin(losses))]
    return best


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
    gains = [of_fold.gain(of_fold(y, one), of_fold(y, two)) for of_fold, y, one, two in by_fold]
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else float("inf")
    return float(np.mean(gains)), error


def _selected(stack: FloatArray, y: FloatArray, metric: Metric) -> NDArray[np.int64]:
    """How often the best ensemble of all steps picked each candidate of `stack` (candidates, rows, ...)."""
    alone = _scores(stack, y, metric)
    of_one = stack if y.ndim == 1 else metric.of_one_target(stack[:, :1, 0])
    limit = N_SLOW if metric.is_slow else N_CANDIDATES if metric.vectorised(of_one.shape) else N_ONE_BY_ONE
    n_steps = N_SLOW if metric.is_slow else N_STEPS
    ranked = np.argsort(metric.losses(alone), kind="stable")[:limit]
    library = stack[ranked]
    total = np.zeros_like(library[0])
    picks: list[int] = []
    best_loss, n_best = np.inf, 1
    for step in range(n_steps):
        losses = metric.losses(_scores((total + library) / (step + 1), y, metric) if step else alone[ranked])
        pick = step if step < min(N_START, len(library)) else int(np.argmin(losses))
        picks.append(pick)
        total += library[pick]
        if losses[pick] <= best_loss:
            best_loss, n_best = float(losses[pick]), step + 1
    return np.bincount(ranked[picks[:n_best]], minlength=len(stack))


def _on_scale(prediction: FloatArray, metric: Metric) -> FloatArray:
    if metric.reads == "value" and metric.min_prediction is not None:
        prediction = np.maximum(prediction, metric.min_prediction)
    return transform_target(metric.scale, prediction)


def _scores(stack: FloatArray, y: FloatArray, metric: Metric) -> FloatArray:
    """(candidates,) the metric of every candidate, vectorised where the metric can."""
    if y.ndim == 2 and not metric.is_joint:
        columns = (metric.of_one_target(stack[:, :, j]) for j in range(stack.shape[2]))
        return mean_of_targets([_scores(one, of_one, metric) for one, of_one in zip(columns, y.T, strict=True)])
    of_each = metric.vectorised(stack.shape)
    if of_each is None:
        return np.array([metric(y, inverse_transform(metric.scale, candidate)) for candidate in stack])
    return of_each(stack, transform_target(metric.scale, y))
