"""Ensembles from out-of-fold predictions: greedy and linear weights, their honest estimate, weighted averages.

Knows arrays, folds and the metric; knows nothing of studies, runs or files. Candidates are named out-of-fold
predictions over the same rows and folds, whatever model made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.encoders.target import inverse_transform, transform_target
from pipeline.metrics import Metric

Rows = NDArray[np.int64]

N_STEPS = 20  # picks of a selection: weights are multiples of 1/20, and no more parts than that are trained
N_START = 5  # first picks are the best alone; nested, against none: accuracy .816, .810; log-RMSE .1163, .1161
N_CANDIDATES = 100  # a selection looks at the best so many alone: the others would add chances to overfit
N_ONE_BY_ONE = 25  # the same where the metric must be asked candidate by candidate
MOST_ROWS = 10_000  # that a selection is scored on, drawn from all
# Rows of linear weights' pull towards equal ones: with as many rows of data, data and pull weigh the same. Chosen by
# inner folds instead, the pull jumps between its ends where two odd rows rule the score: House Prices .1148, not .1139
PRIOR_ROWS = 50.0
SMALLEST_WEIGHT = 0.02  # what linear weights leave out: it would cost a model in every prediction


@dataclass(frozen=True)
class Selection:
    """An ensemble and what is known of it."""

    weights: dict[str, float]  # name -> weight; they sum to 1, heaviest first
    score: float  # on the rows that chose it: it flatters
    nested_score: float  # each fold predicted by the ensemble that the other folds chose
    nested_prediction: FloatArray = field(compare=False)  # NaN for rows without a fold


def blend(predictions: Sequence[FloatArray], weights: Sequence[float], metric: Metric) -> FloatArray:
    """The weighted average, taken where `metric` measures errors (logs for `log_rmse`), or of probabilities.

    Predictions are (rows,), (rows, targets) or (rows, classes); weights need not sum to 1. One prediction comes back
    as it is.
    """
    if len(predictions) == 1:
        return predictions[0]
    shares = np.array(weights, dtype=np.float64) / np.sum(weights)
    total = np.zeros_like(predictions[0])
    for share, prediction in zip(shares, predictions, strict=True):
        total += share * _on_scale(prediction, metric)
    return _off_scale(total, metric)


def select_greedily(
    oofs: Mapping[str, FloatArray],
    target: FloatArray,
    fold_of_row: Rows,
    metric: Metric,
    *,
    n_steps: int = N_STEPS,
    n_candidates: int = N_CANDIDATES,
) -> Selection:
    """The ensemble that greedy selection with replacement finds (Caruana et al., ICML 2004), and its nested estimate.

    `oofs` are finite on every row with a fold; rows of fold -1 play no part. The first steps add the best candidates
    in turn, the others the one that makes the average best; of all steps' ensembles the best counts, of equal ones
    the last. More than `MOST_ROWS` rows are drawn from.
    """
    validated = fold_of_row != NEVER_VALIDATED
    stack = _stack(oofs, validated, metric)
    y, folds, names = target[validated], fold_of_row[validated], list(oofs)

    def counts_of(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        some = np.flatnonzero(rows)
        if len(some) > MOST_ROWS:
            some = np.sort(np.random.default_rng(0).choice(some, MOST_ROWS, replace=False))
        return _selected(stack[:, some], y[some], metric, n_steps, n_candidates)

    def averaged(counts: NDArray[np.int64], rows: NDArray[np.bool_]) -> FloatArray:
        chosen = np.flatnonzero(counts)
        return _off_scale(np.tensordot(counts[chosen] / counts.sum(), stack[chosen][:, rows], axes=1), metric)

    every_row = np.ones(len(y), dtype=bool)
    counts = counts_of(every_row)
    nested = np.full(stack.shape[1:], np.nan)
    for fold in np.unique(folds):
        nested[folds == fold] = averaged(counts_of(folds != fold), folds == fold)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > 0]
    return Selection(
        weights={names[i]: float(counts[i] / counts.sum()) for i in order},
        score=metric(y, averaged(counts, every_row)),
        nested_score=metric(y, nested),
        nested_prediction=_spread(nested, validated),
    )


def select_linearly(
    oofs: Mapping[str, FloatArray],
    target: FloatArray,
    fold_of_row: Rows,
    metric: Metric,
    *,
    prior_rows: float = PRIOR_ROWS,
    smallest: float = SMALLEST_WEIGHT,
) -> Selection:
    """The weights of least squared error that are not negative and sum to 1, and their nested estimate.

    Errors are those of the scale of averages, or of the classes' probabilities (so for `accuracy`, too: the counts of
    right labels say less). Weights below `smallest` are left out and the others found again, in every fold anew.
    """
    validated = fold_of_row != NEVER_VALIDATED
    stack, names = _stack(oofs, validated, metric), list(oofs)
    y, folds = target[validated], fold_of_row[validated]
    errors = stack - _target_on_scale(y, stack, metric)
    shrinkage = prior_rows / len(y)
    by_fold = {int(fold): _products(errors[:, folds == fold]) for fold in np.unique(folds)}

    def averaged(weights: FloatArray, rows: NDArray[np.bool_]) -> FloatArray:
        return _off_scale(np.tensordot(weights, stack[:, rows], axes=1), metric)

    nested = np.full(stack.shape[1:], np.nan)
    for fold in by_fold:
        others = [products for other, products in by_fold.items() if other != fold] or list(by_fold.values())
        nested[folds == fold] = averaged(_linear_weights(np.sum(others, axis=0), shrinkage, smallest), folds == fold)
    weights = _linear_weights(np.sum(list(by_fold.values()), axis=0), shrinkage, smallest)
    order = [int(i) for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
    return Selection(
        weights={names[i]: float(weights[i]) for i in order},
        score=metric(y, averaged(weights, np.ones(len(y), dtype=bool))),
        nested_score=metric(y, nested),
        nested_prediction=_spread(nested, validated),
    )


@dataclass(frozen=True)
class Choice:
    """The way of weighing that is taken, and the nested scores it was taken by."""

    method: str  # "linear" or "greedy"
    selection: Selection
    nested_scores: dict[str, float]  # method -> score


def choose_ensemble(
    oofs: Mapping[str, FloatArray],
    target: FloatArray,
    fold_of_row: Rows,
    metric: Metric,
    *,
    smallest: float = SMALLEST_WEIGHT,
) -> Choice:
    """Linear weights, unless greedy ones lead by more than the standard error of their lead, told by nested folds.

    Linear ones go by all errors, not by the metric alone, and are as good or better nearly everywhere; a choice by
    bare scores would be one more chance to overfit. The best single candidate's nested score is told beside them.
    """
    linear = select_linearly(oofs, target, fold_of_row, metric, smallest=smallest)
    greedy = select_greedily(oofs, target, fold_of_row, metric)
    singles = nested_prediction_of_singles(best_by_fold(oofs, target, fold_of_row, metric), oofs, fold_of_row)
    validated = fold_of_row != NEVER_VALIDATED
    gain, error = lead(greedy.nested_prediction, linear.nested_prediction, target, fold_of_row, metric)
    scores = {
        "linear": linear.nested_score,
        "greedy": greedy.nested_score,
        "single": metric(target[validated], singles[validated]),
    }
    if gain > error:
        return Choice("greedy", greedy, scores)
    return Choice("linear", linear, scores)


def _target_on_scale(y: FloatArray, stack: FloatArray, metric: Metric) -> FloatArray:
    """What a perfect candidate of `stack` would be: (rows,) or (rows, targets or classes)."""
    if metric.reads == "value":
        return _on_scale(y, metric)
    indicators: FloatArray = np.eye(stack.shape[2])[y.astype(np.int64)]
    return indicators


def _products(errors: FloatArray) -> FloatArray:
    """(candidates, candidates) sums of products of errors (candidates, rows, ...)."""
    flat = errors.reshape(len(errors), -1)
    products: FloatArray = flat @ flat.T
    return products


def _linear_weights(products: FloatArray, shrinkage: float, smallest: float) -> FloatArray:
    """(candidates,) the weights w >= 0 of sum 1 that make w' (products + ridge) w least.

    As the weights sum to 1, the errors of an average are the average of errors. Non-negative least squares that asks
    for a sum of 1 by one more equation finds the direction, whatever that equation weighs.
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


def best_by_fold(
    oofs: Mapping[str, FloatArray], target: FloatArray, fold_of_row: Rows, metric: Metric
) -> dict[int, str]:
    """For every fold, the single candidate that is best on the other folds."""
    validated = fold_of_row != NEVER_VALIDATED
    stack, names = _stack(oofs, validated, metric), list(oofs)
    y, folds = target[validated], fold_of_row[validated]
    return {
        int(fold): names[int(np.argmin(metric.losses(_scores(stack[:, folds != fold], y[folds != fold], metric))))]
        for fold in np.unique(folds)
    }


def nested_prediction_of_singles(
    by_fold: Mapping[int, str], oofs: Mapping[str, FloatArray], fold_of_row: Rows
) -> FloatArray:
    """Every fold predicted by the candidate that `by_fold` names for it; NaN for rows without a fold."""
    nested = np.full_like(next(iter(oofs.values())), np.nan)
    for fold, name in by_fold.items():
        nested[fold_of_row == fold] = oofs[name][fold_of_row == fold]
    return nested


def lead(
    prediction: FloatArray, other: FloatArray, target: FloatArray, fold_of_row: Rows, metric: Metric
) -> tuple[float, float]:
    """How much better `prediction` is than `other`: the mean of the folds' differences, and its standard error."""
    rows = [fold_of_row == fold for fold in np.unique(fold_of_row) if fold != NEVER_VALIDATED]
    gains = [metric.gain(metric(target[r], prediction[r]), metric(target[r], other[r])) for r in rows]
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5 if len(gains) > 1 else float("inf")
    return float(np.mean(gains)), error


def _spread(values: FloatArray, rows: NDArray[np.bool_]) -> FloatArray:
    whole = np.full((len(rows), *values.shape[1:]), np.nan)
    whole[rows] = values
    return whole


def _selected(stack: FloatArray, y: FloatArray, metric: Metric, n_steps: int, n_candidates: int) -> NDArray[np.int64]:
    """How often each candidate of `stack` (candidates, rows, ...) was picked by the best of the steps' ensembles."""
    alone = _scores(stack, y, metric)
    limit = n_candidates if metric.vectorised(stack.shape) else min(n_candidates, N_ONE_BY_ONE)
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
    counts = np.zeros(len(stack), dtype=np.int64)
    np.add.at(counts, ranked[picks[:n_best]], 1)
    return counts


def _stack(oofs: Mapping[str, FloatArray], rows: NDArray[np.bool_], metric: Metric) -> FloatArray:
    """(candidates, rows, ...) on the scale of averages."""
    stack = np.stack([_on_scale(oof[rows], metric) for oof in oofs.values()])
    assert np.isfinite(stack).all(), "a validated row has no prediction"
    return stack


def _on_scale(prediction: FloatArray, metric: Metric) -> FloatArray:
    if metric.reads == "value" and metric.smallest_prediction is not None:
        prediction = np.maximum(prediction, metric.smallest_prediction)
    return transform_target(metric.scale, prediction)


def _off_scale(averaged: FloatArray, metric: Metric) -> FloatArray:
    return inverse_transform(metric.scale, averaged)


def _scores(stack: FloatArray, y: FloatArray, metric: Metric) -> FloatArray:
    """The metric of every candidate: at once where the metric can, else one by one."""
    of_each = metric.vectorised(stack.shape)
    if of_each is None:
        return np.array([metric(y, _off_scale(candidate, metric)) for candidate in stack])
    return of_each(stack, transform_target(metric.scale, y))
