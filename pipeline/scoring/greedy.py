"""Greedy selection of an ensemble with replacement (Caruana et al., ICML 2004), for any metric.

Knows predictions on the metric's scale, targets and the metric; must not know folds.
"""

from __future__ import annotations

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric
from pipeline.scoring.candidates import scores_of_stack

N_STEPS = 20  # picks: weights are multiples of 1/20, so at most 20 members
N_START = 5  # first picks are the best candidates; nested, against none: accuracy .816, .810; log-RMSE .1163, .1161
N_CANDIDATES = 100  # the best single candidates only: more would invite overfitting
N_ONE_BY_ONE = 25  # the same for metrics without a vectorised form
N_SLOW = 8  # the same for metrics that may be slow, and the number of picks


def greedy_weights(stack: FloatArray, y: FloatArray, metric: Metric) -> FloatArray:
    """(candidates,) the weights of the candidates of `stack` (candidates, rows, ...).

    The first steps add the best candidates in turn, later ones the candidate that improves the average most; the best
    of all steps' ensembles is kept, the last of equal ones.
    """
    alone = scores_of_stack(stack, y, metric)
    of_one = stack if y.ndim == 1 else metric.of_one_target(stack[:, :1, 0])
    limit = N_SLOW if metric.is_slow else N_CANDIDATES if metric.vectorised(of_one.shape) else N_ONE_BY_ONE
    n_steps = N_SLOW if metric.is_slow else N_STEPS
    ranked = np.argsort(metric.losses(alone), kind="stable")[:limit]
    library = stack[ranked]
    total = np.zeros_like(library[0])
    picks: list[int] = []
    best_loss, n_best = np.inf, 1
    for step in range(n_steps):
        losses = metric.losses(scores_of_stack((total + library) / (step + 1), y, metric) if step else alone[ranked])
        pick = step if step < min(N_START, len(library)) else int(np.argmin(losses))
        picks.append(pick)
        total += library[pick]
        if losses[pick] <= best_loss:
            best_loss, n_best = float(losses[pick]), step + 1
    counts = np.bincount(ranked[picks[:n_best]], minlength=len(stack))
    return np.asarray(counts / counts.sum(), dtype=np.float64)
