"""A second level for classes: a multinomial logistic regression on the candidates' log probabilities.

Each candidate has one weight, of any sign, and each class an intercept: candidates that are too sure or too timid are
mended on the way, and classes that all of them neglect. Knows arrays; must not know metrics or folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.scoring.weights import PRIOR_ROWS, SMALLEST_PROBABILITY

MOST_STEPS = 12
CONVERGED = 1e-3  # largest change of a parameter
CURVATURE_CELLS = 20_000  # rows times classes that the curvature is taken from; the slope is that of all rows
SMALLEST_STEP = 1e-2


def log_odds(probability: FloatArray) -> FloatArray:
    """(..., classes) log probabilities less their mean over the classes."""
    logs = np.log(np.maximum(probability, SMALLEST_PROBABILITY))
    return np.asarray(logs - logs.mean(axis=-1, keepdims=True))


def combined_log_odds(
    predictions: Sequence[FloatArray], weights: Sequence[float], intercepts: Sequence[float], kinds: Sequence[int]
) -> FloatArray:
    """(rows, classes) probabilities of the weighted sum of the predictions' log odds.

    Predictions of equal `kinds`, such as seeds of one configuration, are averaged as probabilities first: a forest of
    few trees gives a class no chance where the next one gives it one in twenty, and the mean of their log odds is next
    to none.
    """
    total = np.tile(np.array(intercepts, dtype=np.float64), (len(predictions[0]), 1))
    for kind in dict.fromkeys(kinds):
        of_kind = [i for i, one in enumerate(kinds) if one == kind]
        mean = np.mean([predictions[i] for i in of_kind], axis=0)
        total += sum(weights[i] for i in of_kind) * log_odds(mean)
    return _softmax(total)


def log_odds_weights(
    odds: FloatArray, codes: NDArray[np.int64], smallest: float, row_weight: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """(candidates,) weights and (classes,) intercepts of the least log loss, by Newton steps.

    `odds` are those of the candidates (candidates, rows, classes). The weights are shrunk towards equal ones; those
    below `smallest` of the sum of their amounts are 0, and the others are fitted again.
    """
    n, _, n_classes = odds.shape
    kept, start = np.arange(n), np.concatenate([np.full(n, 1.0 / n), np.zeros(n_classes)])
    while True:
        found = _fitted(odds if len(kept) == n else odds[kept], codes, row_weight, start)
        amounts = np.abs(found[: len(kept)])
        is_heavy = amounts >= min(smallest * amounts.sum(), amounts.max())
        if is_heavy.all():
            weights = np.zeros(n)
            weights[kept] = found[: len(kept)]
            return weights, found[len(kept) :]
        kept, start = kept[is_heavy], found[np.append(is_heavy, np.ones(n_classes, dtype=bool))]


def _fitted(odds: FloatArray, codes: NDArray[np.int64], row_weight: FloatArray | None, start: FloatArray) -> FloatArray:
    """(candidates + classes,) the parameters, from `start` on."""
    n, n_rows, n_classes = odds.shape
    flat = odds.reshape(n, -1)
    shares = np.full(n_rows, 1.0 / n_rows) if row_weight is None else row_weight / row_weight.sum()
    truth = np.zeros((n_rows, n_classes))
    truth[np.arange(n_rows), codes] = 1.0
    some = slice(0, max(1, CURVATURE_CELLS // n_classes))  # the rows are in no order
    indicators = np.repeat(np.eye(n_classes)[:, None], len(truth[some]), axis=1)
    design = np.concatenate([odds[:, some], indicators])
    centre = np.concatenate([np.full(n, 1.0 / n), np.zeros(n_classes)])
    shrinkage = PRIOR_ROWS / n_rows

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        total = (parameters[:n] @ flat).reshape(n_rows, n_classes) + parameters[n:]
        probability = _softmax(total)
        of_true = np.log(np.maximum(probability[np.arange(n_rows), codes], SMALLEST_PROBABILITY**2))
        off = parameters - centre
        return float(0.5 * shrinkage * off @ off - shares @ of_true), probability

    parameters = start
    current, probability = loss(parameters)
    for _ in range(MOST_STEPS):
        residual = (probability - truth) * shares[:, None]
        slope = np.concatenate([flat @ residual.reshape(-1), residual.sum(axis=0)]) + shrinkage * (parameters - centre)
        step = -np.linalg.solve(_curvature(design, probability[some], shares[some], shrinkage), slope)
        promised, length = float(slope @ step), 1.0
        found, changed = loss(parameters + step)
        while found > current + 0.1 * length * promised and length > SMALLEST_STEP:
            length /= 2.0
            found, changed = loss(parameters + length * step)
        if found > current:
            break
        parameters, current, probability = parameters + length * step, found, changed
        if np.abs(length * step).max() < CONVERGED:
            break
    return parameters


def _curvature(design: FloatArray, probability: FloatArray, shares: FloatArray, shrinkage: float) -> FloatArray:
    """The second derivatives, from some rows: the mean covariance of the design (parameters, rows, classes)."""
    shares = shares / shares.sum()
    weighted = design * probability
    means = weighted.sum(axis=2)
    n = len(design)
    product = (weighted * shares[:, None]).reshape(n, -1) @ design.reshape(n, -1).T
    return np.asarray(product - (means * shares) @ means.T + shrinkage * np.eye(n), dtype=np.float64)


def _softmax(total: FloatArray) -> FloatArray:
    shares: FloatArray = np.exp(total - total.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares
