"""Keys that tie rows together: a ticket, a family, an address that a few rows of train and test have in common.

Knows a column, folds and the target; must not know runs or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

MOST_ROWS_PER_KEY = 20.0  # on average; with more it is a category, which test has as well
FEWEST_SHARED = 0.05  # share of the rows that have a key in common with another fold
AGREES = 0.1  # agreement of their targets from which that matters
CHANCE = 4.0  # standard errors of the agreement of rows at random, about 1 / sqrt(pairs)
EXCESS = 0.05  # share of valid rows above that of the test rows from which folds are optimistic


@dataclass(frozen=True)
class SharedKey:
    """How rows with equal keys are spread, and how alike their targets are."""

    across_folds: float  # share of the valid rows whose key other folds have
    in_test: float  # share of the test rows whose key train has
    agreement: float  # intraclass correlation of the target: 0 for rows at random, 1 for equal targets

    @property
    def is_optimistic(self) -> bool:
        """Whether valid rows have more to look up than test rows."""
        return self.across_folds - self.in_test > EXCESS


def shared_key(
    train: pd.Series, test: pd.Series, fold_of_row: NDArray[np.int64], target: FloatArray, *, has_classes: bool
) -> SharedKey | None:
    """What a column of keys ties together; None for other columns, and where it does not matter.

    `target` is (rows,) on the scale that is learned, or class codes.
    """
    codes, values = pd.factorize(train)
    is_known = codes >= 0
    codes, folds, y = codes[is_known], fold_of_row[is_known], target[is_known]
    if not len(values) or len(codes) > MOST_ROWS_PER_KEY * len(values):
        return None
    order = np.argsort(codes, kind="stable")
    is_pair = np.diff(codes[order]) == 0  # neighbours with the same key
    first, second = order[:-1][is_pair], order[1:][is_pair]
    by_key = pd.Series(folds).groupby(codes)
    is_shared = (by_key.min() < by_key.max()).to_numpy()[codes]
    across = float(is_shared.sum() / len(train))
    agreement = _agreement(y[first], y[second], y, has_classes=has_classes) if len(first) else 0.0
    if across < FEWEST_SHARED or agreement < max(AGREES, CHANCE / max(1, len(first)) ** 0.5):
        return None
    return SharedKey(across, float(test.isin(values).mean()) if len(test) else 0.0, agreement)


def _agreement(one: FloatArray, other: FloatArray, every: FloatArray, *, has_classes: bool) -> float:
    """1 less the mean squared difference (of classes: the share of unequal ones) over that of rows at random."""
    if has_classes:
        shares = np.unique(every, return_counts=True)[1] / len(every)
        within, at_random = float((one != other).mean()), 1.0 - float((shares**2).sum())
    else:
        within, at_random = float(((one - other) ** 2).mean()), 2.0 * float(np.var(every))
    return 1.0 - within / at_random if at_random > 0 else 0.0
