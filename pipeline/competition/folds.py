"""The train/valid split of every fold, given the fold of each row; times; samples of rows.

Must not know how folds are assigned, features or models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray, sampled
from pipeline.base.errors import DataError, SpecError
from pipeline.competition.tables.reading import first_true
from pipeline.config.sections import Folds

FoldArray = NDArray[np.int64]
Rows = NDArray[np.int64]

MIN_ROWS_PER_FOLD = 20  # in a sample of the rows
MOMENT = "moment"  # column of the stored train rows: the time that [folds] names
NEVER_VALIDATED = -1  # rows before the first block of forward chaining, outside a holdout, or of [[extra_rows]]


@dataclass(frozen=True)
class Split:
    """Positions of the rows that a model is fitted on and of those that validate it."""

    train_rows: Rows
    valid_rows: Rows

    def sampled(self, n_rows: int | None, seed: int) -> Split:
        """The same split with at most `n_rows` of its train rows, drawn by chance, in their order; None: all."""
        if n_rows is None or len(self.train_rows) <= n_rows:
            return self
        drawn = sampled(len(self.train_rows), n_rows, np.random.default_rng(seed))
        return Split(self.train_rows[drawn], self.valid_rows)


@dataclass(frozen=True)
class Window:
    """Which of the earlier rows a fold trains on."""

    moments: FloatArray  # (rows,) as `moments_of` gives them
    gap: float
    max_train: float | None  # None: all before the gap

    def trains(self, valid_rows: Rows) -> NDArray[np.bool_]:
        """(rows,) whether a row may train the fold that these rows validate."""
        end = self.moments[valid_rows].min() - self.gap
        begin = -np.inf if self.max_train is None else end - self.max_train
        is_train: NDArray[np.bool_] = (self.moments < end) & (self.moments >= begin)
        return is_train


def with_unvalidated(fold_of_row: FoldArray, n_extra: int) -> FoldArray:
    """The folds of all rows, where `n_extra` rows that only train follow those that have folds."""
    return np.append(fold_of_row, np.full(n_extra, NEVER_VALIDATED, dtype=np.int64))


def splits_of(fold_of_row: FoldArray, *, is_chained: bool, window: Window | None = None) -> list[Split]:
    """The split of each fold. With `is_chained` a fold trains only on earlier folds and on rows without a fold.

    A `window` leaves some of them out.
    """
    splits = []
    for fold in range(int(fold_of_row.max()) + 1):
        is_train, valid_rows = (
            fold_of_row < fold if is_chained else fold_of_row != fold,
            np.flatnonzero(fold_of_row == fold),
        )
        if window is not None and len(valid_rows):
            is_train &= window.trains(valid_rows)
        splits.append(Split(np.flatnonzero(is_train), valid_rows))
    return splits


def window_of(folds: Folds, moments: FloatArray | None) -> Window | None:
    """The window of [folds], for the times of the rows; None if a fold trains on all earlier rows."""
    if moments is None or not (folds.gap or folds.max_train):
        return None
    return Window(moments, folds.gap, folds.max_train)


def moments_of(times: pd.Series) -> FloatArray:
    """(rows,) days since 1970 of dates, numbers as they are. Raises DataError for a missing time."""
    where = f"column {times.name!r}"
    refuse_missing(times, "time")
    if pd.api.types.is_numeric_dtype(times):
        return times.to_numpy(dtype=np.float64)
    dates = pd.to_datetime(times, errors="coerce")
    if (row := first_true(dates.isna())) is not None:
        raise DataError(
            f"{str(times.iloc[row])!r} is not a time, or not in the format of the first row",
            where=f"{where}, row {row + 1}",
            hint="Write all times in one format, such as 2024-12-31 23:59:59.",
        )
    return np.asarray((dates - pd.Timestamp(0)) / pd.Timedelta(days=1), dtype=np.float64)


def sample_rows(fold_of_row: FoldArray, target: FloatArray, n_rows: int, seed: int) -> Rows:
    """Sorted positions of `n_rows` rows, sampled in proportion from each fold and each class (or target range) in it.

    Raises SpecError if a fold is left with too few rows.
    """
    if n_rows >= len(fold_of_row):
        return np.arange(len(fold_of_row))
    values = first_target(target)
    shuffled = np.random.default_rng(seed).permutation(len(fold_of_row))
    in_order = shuffled[np.lexsort((values[shuffled], fold_of_row[shuffled]))]
    rows: Rows = np.sort(in_order[np.arange(n_rows) * len(in_order) // max(1, n_rows)])
    n_folds = len(np.unique(fold_of_row))
    if n_rows < MIN_ROWS_PER_FOLD * n_folds or len(np.unique(fold_of_row[rows])) < n_folds:
        raise SpecError(
            f"{n_rows} of {len(fold_of_row)} rows are too few for {n_folds} folds",
            where="--rows",
            hint=f"Use at least {MIN_ROWS_PER_FOLD * n_folds} rows.",
        )
    return rows


def first_target(target: FloatArray) -> FloatArray:
    """(rows,) the target, or the first of several."""
    return target if target.ndim == 1 else target[:, 0]


def refuse_missing(values: pd.Series, what: str) -> None:
    """Raise DataError for a missing value of a column that folds are made of; `what` names its values."""
    if (row := first_true(values.isna())) is not None:
        raise DataError(f"the {what} is missing", where=f"column {values.name!r}, row {row + 1}")
