"""Runs against each other: the noise of a score, which pairs the folds tell apart, the best for the time.

Knows scores of folds; must not know what a run is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric
from pipeline.scoring.fold_noise import fold_noise

CONFIDENCE = 0.95


def score_noise(fold_scores: Sequence[float]) -> float:
    """Standard error of a mean fold score, corrected for training sets that overlap; NaN for fewer than two folds."""
    folds = np.asarray(fold_scores, dtype=np.float64)
    folds = folds[np.isfinite(folds)]
    return fold_noise(folds, np.zeros(len(folds))) if len(folds) > 1 else float("nan")


def paired_gains(metric: Metric, first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """How much better the first is per fold, and half the width of the 95 % interval; NaN if it cannot be said."""
    if len(first) != len(second):
        return float("nan"), float("nan")
    one, other = (np.asarray(scores, dtype=np.float64) for scores in (first, second))
    gains = metric.gain(one, other)
    known = np.isfinite(gains)
    if known.sum() < 2:
        return float("nan"), float("nan")
    width = float(student.ppf(0.5 + CONFIDENCE / 2, known.sum() - 1)) * fold_noise(one[known], other[known])
    return float(gains[known].mean()), width


def pairwise(metric: Metric, folds: Sequence[Sequence[float]]) -> tuple[FloatArray, FloatArray]:
    """(runs, runs) mean gains of the row's run over the column's, and the widths of their intervals."""
    n_runs = len(folds)
    means, widths = np.full((n_runs, n_runs), np.nan), np.full((n_runs, n_runs), np.nan)
    for i in range(n_runs):
        for j in range(n_runs):
            if i != j:
                means[i, j], widths[i, j] = paired_gains(metric, folds[i], folds[j])
    return means, widths


def pareto(losses: FloatArray, seconds: FloatArray) -> NDArray[np.int64]:
    """The runs that no quicker one beats, the quickest first."""
    order = np.lexsort((losses, seconds))
    best, kept = np.inf, []
    for i in order:
        if losses[i] < best:
            best = float(losses[i])
            kept.append(int(i))
    return np.array(kept, dtype=np.int64)
