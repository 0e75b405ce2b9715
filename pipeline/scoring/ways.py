"""Ways to combine candidates: what each learns from some rows.

Knows candidates and what weighs them; must not know how a way is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.scoring import clipping
from pipeline.scoring.adjustment import fit_decision
from pipeline.scoring.blending import on_scale
from pipeline.scoring.candidates import MOST_ROWS, Candidates, Combination, Fit, Mask, Rows
from pipeline.scoring.greedy import greedy_weights
from pipeline.scoring.log_odds import log_odds_weights
from pipeline.scoring.weights import (
    absolute_error_weights,
    log_loss_weights,
    products_of,
    pruned,
    squared_error_weights,
)

CLIPPED, LINEAR, ABSOLUTE, LOG_LOSS, LOG_ODDS = "clipped", "linear", "absolute", "log loss", "log odds"
GREEDY, SINGLE = "greedy", "single"
MOST_CLASSES = 100  # of log odds, which have an intercept for each
GREEDY_ROWS = 10_000  # rows that greedy selection is scored on, sampled
CLIPPED_ROUNDS = 2  # of weights, and of what is clipped by them


def ways(candidates: Candidates, smallest: float) -> dict[str, Fit]:
    """The ways to combine the candidates; the first one has the loss nearest to the metric."""
    metric, found = candidates.metric, {LINEAR: linear(candidates, smallest)}
    if metric.reads == "value" and metric.loss == "mae":
        found = {ABSOLUTE: absolute(candidates, smallest)} | found
    elif metric.reads == "value" and len(candidates.y) <= MOST_ROWS:  # of more, a few rows decide little
        found = {CLIPPED: clipped(candidates, smallest)} | found
    if candidates.has_classes and not metric.is_slow:
        by_log_loss = {LOG_LOSS: log_loss(candidates, smallest)}
        found = by_log_loss | found if metric.reads == "probability" else found | by_log_loss
        if candidates.stack.shape[2] <= MOST_CLASSES:
            found[LOG_ODDS] = log_odds(candidates, smallest)
    if not candidates.has_classes or metric.is_slow:
        found[GREEDY] = greedy(candidates)
    return {way: _remembered(fit) for way, fit in found.items()}


def linear(candidates: Candidates, smallest: float) -> Fit:
    products, folds = _products_by_fold(candidates), candidates.folds[candidates.sample]

    def fit(rows: Mask) -> Combination:
        used = np.unique(candidates.folds[rows])
        total = np.sum([products[int(fold)] for fold in used], axis=0)
        n_rows = int(np.isin(folds, used).sum())
        return Combination(candidates.spread(_least_squares(total, n_rows, smallest)))

    return fit


def clipped(candidates: Candidates, smallest: float) -> Fit:
    """Linear weights of clipped predictions: each round clips by the weights of the one before it."""
    by_errors = linear(candidates, smallest)

    def fit(rows: Mask) -> Combination:
        some = candidates.sampled(rows)
        stack, weight = candidates.stack[:, some], _of(candidates.metric.weight, some)
        weights, perfect = by_errors(rows).weights, on_scale(candidates.y[some], candidates.metric)
        for _ in range(CLIPPED_ROUNDS):
            near = clipping.clipped(stack, weights, clipping.limits_of(stack, weights))
            products = _products(candidates.by_kind(near) - perfect, weight)
            weights = candidates.spread(_least_squares(products, len(some), smallest))
        return Combination(weights, limits=clipping.limits_of(stack, weights))

    return fit


def _least_squares(products: FloatArray, n_rows: int, smallest: float) -> FloatArray:
    """(kinds,) the weights of the least squared error, from the products of the errors of `n_rows` rows."""

    def of_kept(kept: Rows) -> FloatArray:
        return squared_error_weights(products[np.ix_(kept, kept)], n_rows)

    return pruned(of_kept, len(products), smallest)


def _products(errors: FloatArray, weight: FloatArray | None) -> FloatArray:
    """(kinds, kinds) sums of products of errors (kinds, rows, ...)."""
    if weight is not None:
        errors = errors * np.sqrt(weight).reshape(-1, *[1] * (errors.ndim - 2))
    return products_of(errors)


def lost_without(candidates: Candidates, group_of: Mapping[str, str]) -> dict[str, float]:
    """What the squared error of the linear ensemble grows by without the candidates of each group, as shares of 1.

    `group_of` gives a candidate's group by its name; a kind is in one group. Heavy candidates whose work others can do
    have small shares.
    """
    total = np.sum([*_products_by_fold(candidates).values()], axis=0)
    of_kind = dict(zip(candidates.kind_of.tolist(), (group_of[name] for name in candidates.names), strict=True))
    groups = np.array([of_kind[kind] for kind in range(len(total))])
    names = [str(name) for name in np.unique(groups)]

    def error(is_kept: Mask) -> float:
        some = total[np.ix_(is_kept, is_kept)]
        weights = squared_error_weights(some, len(candidates.sample))
        return float(weights @ some @ weights)

    if len(names) == 1:
        return {names[0]: 1.0}
    least = error(np.ones(len(groups), dtype=bool))
    grown = np.array([max(0.0, error(groups != name) - least) for name in names])
    shares = grown / grown.sum() if grown.any() else np.full(len(names), 1.0 / len(names))
    return dict(zip(names, shares.tolist(), strict=True))


def _products_by_fold(candidates: Candidates) -> dict[int, FloatArray]:
    """Fold -> (kinds, kinds) sums of products of errors."""
    errors, weight, folds = candidates.errors, candidates.sampled_weight, candidates.folds[candidates.sample]
    of_folds = {int(fold): folds == fold for fold in candidates.fold_numbers}
    return {fold: _products(errors[:, rows], _of(weight, rows)) for fold, rows in of_folds.items()}


def absolute(candidates: Candidates, smallest: float) -> Fit:
    def fit(rows: Mask) -> Combination:
        some = rows[candidates.sample]
        errors, weight = candidates.errors[:, some], _of(candidates.sampled_weight, some)
        weights = pruned(lambda kept: absolute_error_weights(errors[kept], weight), len(errors), smallest)
        return Combination(candidates.spread(weights))

    return fit


def log_loss(candidates: Candidates, smallest: float) -> Fit:
    def fit(rows: Mask) -> Combination:
        some = rows[candidates.sample]
        of_true, weight = candidates.of_true[:, some], _of(candidates.sampled_weight, some)
        weights = pruned(lambda kept: log_loss_weights(of_true[kept], weight), len(of_true), smallest)
        return Combination(candidates.spread(weights))

    return fit


def log_odds(candidates: Candidates, smallest: float) -> Fit:
    codes = candidates.y[candidates.sample].astype(np.int64)

    def fit(rows: Mask) -> Combination:
        some = rows[candidates.sample]
        weight = _of(candidates.sampled_weight, some)
        weights, intercepts = log_odds_weights(candidates.odds[:, some], codes[some], smallest, weight)
        return Combination(candidates.spread(weights), intercepts)

    return fit


def greedy(candidates: Candidates) -> Fit:
    def fit(rows: Mask) -> Combination:
        some = candidates.sampled(rows)[:GREEDY_ROWS]
        stack, y = candidates.by_kind(candidates.stack[:, some]), candidates.y[some]
        return Combination(candidates.spread(greedy_weights(stack, y, candidates.metric.at(some))))

    return fit


def decided(candidates: Candidates, fit: Fit) -> Fit:
    """`fit`, and the decision of classes that suits the metric best."""

    def fit_both(rows: Mask) -> Combination:
        how, some = fit(rows), candidates.sampled(rows)
        metric, codes = candidates.metric.at(some), candidates.y[some].astype(np.int64)
        return replace(how, adjustment=fit_decision(metric, codes, candidates.combined(how, some)))

    return fit_both


def _of(weight: FloatArray | None, some: Mask | Rows) -> FloatArray | None:
    return None if weight is None else weight[some]


def _remembered(fit: Fit) -> Fit:
    """`fit` that answers at once when it is asked about the same rows again."""
    known: dict[bytes, Combination] = {}

    def once(rows: Mask) -> Combination:
        key = rows.tobytes()
        if key not in known:
            known[key] = fit(rows)
        return known[key]

    return once


def single(candidates: Candidates) -> Fit:
    """The best kind of candidates alone."""

    def fit(rows: Mask) -> Combination:
        folds = np.isin(candidates.fold_numbers, candidates.folds[rows])
        weights = np.zeros(len(candidates.losses_by_fold))
        weights[best_on(candidates, folds)] = 1.0
        return Combination(candidates.spread(weights))

    return fit


def best_on(candidates: Candidates, folds: Mask) -> int:
    """The kind of the least mean loss on some folds, weighted by their rows; undefined scores are left out."""
    losses = candidates.losses_by_fold[:, folds]
    is_defined = np.isfinite(losses).any(axis=0)
    if not is_defined.any():
        return 0
    n_rows = np.array([(candidates.folds == fold).sum() for fold in candidates.fold_numbers[folds]])
    return int(np.argmin(losses[:, is_defined] @ n_rows[is_defined]))
