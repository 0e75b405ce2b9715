"""Weights of an ensemble: non-negative ones of sum 1 that minimise a convex loss of the average.

Knows arrays; must not know metrics, folds or what the candidates are. Losses are squared or absolute errors, or the
log loss of averaged probabilities. All are shrunk towards equal weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

# Strength of the shrinkage of weights towards equal ones, in rows of data. Chosen by inner folds instead, it jumps
# between its bounds where two outliers dominate the score: House Prices .1148 instead of .1139
PRIOR_ROWS = 50.0
SMALLEST_WEIGHT = 0.02  # smaller weights are dropped: each would cost a model in every prediction
MOST_STEPS = 25  # of the iterations below; around ten are needed
CONVERGED = 1e-4  # largest change of a weight
NEAR_ZERO = 0.02  # absolute errors below this share of their mean are squared ones
SMALLEST_PROBABILITY = 1e-6
SUM_WEIGHT = 1e5  # how much the sum of the weights counts against the loss


def pruned(fit: Callable[[NDArray[np.int64]], FloatArray], n: int, smallest: float) -> FloatArray:
    """(n,) the weights that `fit` finds for the candidates (an index); light ones are dropped, the others fitted again.

    The heaviest candidate is always kept.
    """
    kept: NDArray[np.int64] = np.arange(n)
    while True:
        found = fit(kept)
        is_heavy = found >= min(smallest, float(found.max()))
        if is_heavy.all() or not (~is_heavy & (found > 0)).any():
            weights = np.zeros(n)
            weights[kept] = np.where(is_heavy, found, 0.0)
            return weights
        kept = kept[is_heavy]


def products_of(errors: FloatArray) -> FloatArray:
    """(candidates, candidates) sums of products of errors (candidates, rows, ...)."""
    flat = errors.reshape(len(errors), -1)
    return np.asarray(flat @ flat.T, dtype=np.float64)


def squared_error_weights(products: FloatArray, n_rows: int) -> FloatArray:
    """The weights of the least squared error; `products` are those of the errors of `n_rows` rows.

    The weights sum to 1, so the error of the average is the average of the errors.
    """
    mean = float(np.mean(np.diag(products))) or 1.0
    n = len(products)
    return _of_quadratic(products / mean + PRIOR_ROWS / n_rows * np.eye(n), np.zeros(n))


def absolute_error_weights(errors: FloatArray, row_weight: FloatArray | None = None) -> FloatArray:
    """The weights of the least mean absolute error, by iteratively reweighted least squares.

    `errors` are (candidates, rows, ...), `row_weight` (rows,).
    """
    n, n_rows = errors.shape[:2]
    if row_weight is not None:
        errors = errors * row_weight.reshape(-1, *[1] * (errors.ndim - 2))
    flat = errors.reshape(n, -1)
    smallest = max(NEAR_ZERO * float(np.abs(flat).mean()), np.finfo(np.float64).tiny)
    weights = squared_error_weights(products_of(flat), n_rows)
    for _ in range(MOST_STEPS):
        root = np.sqrt(np.maximum(np.abs(weights @ flat), smallest))
        before, weights = weights, squared_error_weights(products_of(flat / root), n_rows)
        if np.abs(weights - before).max() < CONVERGED:
            break
    return weights


def log_loss_weights(of_true: FloatArray, row_weight: FloatArray | None = None) -> FloatArray:
    """The weights of the least log loss of the averaged probabilities, by Newton steps.

    `of_true` (candidates, rows) are the probabilities of each row's true class.
    """
    n, n_rows = of_true.shape
    shares = np.full(n_rows, 1.0 / n_rows) if row_weight is None else row_weight / np.sum(row_weight)
    floored, shrinkage = np.maximum(of_true, SMALLEST_PROBABILITY), PRIOR_ROWS / n_rows

    def loss(weights: FloatArray) -> float:
        return float(0.5 * shrinkage * weights @ weights - shares @ np.log(weights @ floored))

    weights = np.full(n, 1.0 / n)
    current = loss(weights)
    for _ in range(MOST_STEPS):
        relative = floored / (weights @ floored)
        curvature = (relative * shares) @ relative.T + shrinkage * np.eye(n)
        slope = shrinkage * weights - relative @ shares
        step = _of_quadratic(curvature, slope - curvature @ weights) - weights
        promised, length = float(slope @ step), 1.0
        while (found := loss(weights + length * step)) > current + 0.1 * length * promised and length > CONVERGED:
            length /= 2.0
        if found > current:
            break
        weights, current = weights + length * step, found
        if np.abs(step).max() < CONVERGED:
            break
    return weights


def _of_quadratic(curvature: FloatArray, slope: FloatArray) -> FloatArray:
    """The weights w >= 0 of sum 1 that minimise w' curvature w / 2 + slope' w, by non-negative least squares."""
    from scipy.optimize import nnls

    n = len(slope)
    scale = float(np.mean(np.diag(curvature))) or 1.0
    penalty = SUM_WEIGHT * scale  # of (sum - 1)^2 / 2
    root = np.linalg.cholesky(curvature + penalty + 1e-9 * scale * np.eye(n))
    found, _ = nnls(root.T, np.linalg.solve(root, penalty - slope))
    return np.asarray(found / found.sum(), dtype=np.float64)
