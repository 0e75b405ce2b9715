"""Whether cross-validation and the public leaderboard tell the same story about a list of submissions.

Knows numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray

FoldScores = FloatArray
STANDARD_ERRORS = 2.0


def rank_correlation(cv: Sequence[float], public: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None for fewer than three or for constant scores."""
    if len(cv) < 3 or len(set(cv)) < 2 or len(set(public)) < 2:
        return None
    return float(pd.Series(cv).rank().corr(pd.Series(public).rank()))


def fold_noise(first: FoldScores, second: FoldScores) -> float:
    """Standard error of the difference of two runs' mean fold score on the same k folds.

    Corrected for training sets that overlap: variance x (1/k + 1/(k-1)) (Nadeau & Bengio, 2003, Inference for the
    generalization error).
    """
    k = len(first)
    return float(np.sqrt(np.var(first - second, ddof=1) * (1 / k + 1 / (k - 1))))


def contradictions(public: Sequence[float], folds: Sequence[FoldScores | None]) -> list[tuple[int, int]]:
    """Pairs that the folds order by more than their noise and the public scores the other way round."""
    found = []
    for i, j in combinations(range(len(public)), 2):
        first, second = folds[i], folds[j]
        if first is None or second is None or len(first) != len(second) or len(first) < 2:
            continue
        difference = float(np.mean(first) - np.mean(second))
        is_certain = abs(difference) > STANDARD_ERRORS * fold_noise(first, second)
        if is_certain and difference * (public[i] - public[j]) < 0:
            found.append((i, j))
    return found


def is_off(cv: float, public: float, folds: FoldScores | None) -> bool:
    """Whether a public score lies farther from the cv than single folds do, twice their spread."""
    return folds is not None and len(folds) > 1 and abs(public - cv) > STANDARD_ERRORS * float(np.std(folds, ddof=1))
