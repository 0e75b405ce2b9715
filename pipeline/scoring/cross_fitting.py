"""Cross-fitting: every row is changed by what was learned from the other folds' held rows, so its score stays honest.

Knows arrays; knows nothing of what is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

FittedT = TypeVar("FittedT")

N_PARTS = 5  # of a single holdout, which has no other folds


def cross_fitted(
    fit: Callable[[NDArray[np.bool_]], FittedT],
    apply: Callable[[FittedT, FloatArray], FloatArray],
    part_of_row: NDArray[np.int64],
    probability: FloatArray,
) -> tuple[FloatArray, list[FittedT]]:
    """Each part's rows after what `fit(rows)` learned from the rows of all other parts; what was learned, by part."""
    changed = np.full_like(probability, np.nan)
    fitted = []
    for part in np.unique(part_of_row):
        is_inside = part_of_row == part
        fitted.append(fit(~is_inside))
        changed[is_inside] = apply(fitted[-1], probability[is_inside])
    assert np.isfinite(changed).all(), "a row was left out"
    return changed, fitted


def parts_of(fold_of_row: NDArray[np.int64], codes: NDArray[Any]) -> NDArray[np.int64]:
    """The folds; rows of a single fold are dealt out to five parts, class by class in their order."""
    if len(np.unique(fold_of_row)) > 1:
        return fold_of_row
    part_of_row = np.empty(len(codes), dtype=np.int64)
    part_of_row[np.argsort(codes, kind="stable")] = np.arange(len(codes)) % N_PARTS
    return part_of_row
