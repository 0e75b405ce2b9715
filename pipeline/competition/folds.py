"""Which fold each train row belongs to, and the train/valid split of every fold.

Knows the fold table of the spec and one value per row; knows nothing of features or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError
from pipeline.config.spec import FOLD_KINDS, FoldKind, Folds

FoldArray = NDArray[np.int64]
Rows = NDArray[np.int64]

LEAST_OF_FOLD = 20  # rows of a sample of the folds
NEVER_VALIDATED = -1  # rows before the first validation block of forward chaining, or outside a holdout


@dataclass(frozen=True)
class Split:
    """Row positions one fit may learn from, and those that score it."""

    train_rows: Rows
    valid_rows: Rows


def assign_folds(
    folds: Folds,
    ids: pd.Series,
    target: FloatArray,
    *,
    classes: Sequence[object],
    columns: pd.DataFrame,
    folder: Path,
) -> FoldArray:
    """`fold_of_row` (rows,): 0..k-1, or -1 for rows that only train.

    `target` holds numbers or class codes, `classes` the labels of the codes ([] for regression), `columns` the fold
    columns the spec names; `folder` is the spec's. Raises DataError when the rows do not allow it.
    """
    if folds.rules.has_number and len(ids) < folds.number:
        raise DataError(
            f"{len(ids)} train rows cannot make {folds.number} folds", where="[folds] number", hint="Use fewer folds."
        )
    if folds.group is not None:
        _check_none_is_missing(columns[folds.group], "group")
    fold_of_row = ASSIGN[folds.kind](_TrainRows(folds, ids, target, classes, columns, folder))
    if folds.group is not None:
        _check_groups(columns[folds.group], fold_of_row)
    return fold_of_row.astype(np.int64)


@dataclass(frozen=True)
class _TrainRows:
    """What folds may be assigned by; see `assign_folds`."""

    folds: Folds
    ids: pd.Series
    target: FloatArray
    classes: Sequence[object]
    columns: pd.DataFrame
    folder: Path

    @property
    def strata(self) -> FloatArray:
        """(rows,) class codes, or quantile bins of the first target. Raises DataError for a class with too few rows."""
        values = self.target if self.target.ndim == 1 else self.target[:, 0]
        if self.classes:
            _check_class_sizes(values, self.classes, self.folds.number)
            return values
        ranks = pd.Series(values).rank(method="first").to_numpy() - 1
        n_bins = max(1, min(self.folds.bins, len(values) // self.folds.number))
        return np.floor(ranks * n_bins / len(values))

    @property
    def groups(self) -> NDArray[Any]:
        """(rows,) values of the group column. Raises DataError when there are too few different ones."""
        groups = self.columns[str(self.folds.group)].to_numpy()
        n_groups = len(pd.unique(groups))
        if n_groups < self.folds.number:
            raise DataError(
                f"{n_groups} groups cannot make {self.folds.number} folds",
                where=f"column {self.folds.group!r}",
                hint="Use fewer folds, or another [folds] kind.",
            )
        return groups

    def split_by(
        self, splitter: str, strata: FloatArray | None = None, groups: NDArray[Any] | None = None
    ) -> FoldArray:
        """The folds of one of scikit-learn's splitters."""
        from sklearn import model_selection

        folds = getattr(model_selection, splitter)(self.folds.number, shuffle=True, random_state=self.folds.seed)
        fold_of_row = np.full(len(self.target), NEVER_VALIDATED)
        for fold, (_, valid) in enumerate(folds.split(np.zeros(len(self.target)), strata, groups)):
            fold_of_row[valid] = fold
        return fold_of_row


def splits_of(fold_of_row: FoldArray, *, is_chained: bool) -> list[Split]:
    """The split of each fold; `is_chained`: it trains on the folds before it alone, and on rows of no fold."""
    rows = np.arange(len(fold_of_row))
    return [
        Split(rows[fold_of_row < fold] if is_chained else rows[fold_of_row != fold], rows[fold_of_row == fold])
        for fold in range(int(fold_of_row.max()) + 1)
    ]


def sample_rows(fold_of_row: FoldArray, target: FloatArray, n_rows: int, seed: int) -> Rows:
    """Positions of `n_rows` rows, in the table's order: as large a share of every fold and of every class in it.

    Numbers are sampled evenly over their range, too. Raises SpecError for a sample that leaves a fold with too few.
    """
    if n_rows >= len(fold_of_row):
        return np.arange(len(fold_of_row))
    values = target if target.ndim == 1 else target[:, 0]
    shuffled = np.random.default_rng(seed).permutation(len(fold_of_row))
    in_order = shuffled[np.lexsort((values[shuffled], fold_of_row[shuffled]))]
    rows: Rows = np.sort(in_order[np.arange(n_rows) * len(in_order) // max(1, n_rows)])
    n_folds = len(np.unique(fold_of_row))
    if n_rows < LEAST_OF_FOLD * n_folds or len(np.unique(fold_of_row[rows])) < n_folds:
        raise SpecError(
            f"{n_rows} of {len(fold_of_row)} rows are too few for {n_folds} folds",
            where="--rows",
            hint=f"Take at least {LEAST_OF_FOLD * n_folds}.",
        )
    return rows


def _contiguous(rows: _TrainRows) -> FoldArray:
    blocks = np.array_split(np.arange(len(rows.ids)), rows.folds.number)
    return np.repeat(np.arange(rows.folds.number), [len(block) for block in blocks])


def _by_column(rows: _TrainRows) -> FoldArray:
    values = rows.columns[str(rows.folds.column)]
    _check_none_is_missing(values, "fold")
    return _given(values, where=f"column {rows.folds.column!r}")


def _holdout(rows: _TrainRows) -> FoldArray:
    """One fold: 0 for the rows that validate, stratified by class, and -1 for those that train."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    folds, target, classes = rows.folds, rows.target, rows.classes
    n_held = round(folds.share * len(target))
    if not 0 < n_held < len(target):
        raise DataError(f"a share of {folds.share:g} holds {n_held} of {len(target)} rows", where="[folds] share")
    if classes:
        counts = np.bincount(target.astype(np.int64), minlength=len(classes))
        if counts.min() < 2 or n_held < len(classes) or len(target) - n_held < len(classes):
            raise DataError(
                f"a share of {folds.share:g} cannot hold a row of every class, and leave one to train on",
                where="[folds] share",
                hint=f"The rarest class is {classes[int(counts.argmin())]!r} with {counts.min()} rows.",
            )
    splitter = (StratifiedShuffleSplit if classes else ShuffleSplit)(1, test_size=n_held, random_state=folds.seed)
    fold_of_row = np.full(len(target), NEVER_VALIDATED)
    fold_of_row[next(splitter.split(np.zeros(len(target)), target))[1]] = 0
    return fold_of_row


def _check_class_sizes(codes: FloatArray, classes: Sequence[object], n_folds: int) -> None:
    counts = np.bincount(codes.astype(np.int64), minlength=len(classes))
    if counts.min() < n_folds:
        raise DataError(
            f"the class {classes[int(counts.argmin())]!r} has {counts.min()} rows, fewer than the {n_folds} folds",
            where="[folds] number",
            hint=f'Use at most {counts.min()} folds, or [folds] kind = "shuffled".',
        )


def _forward_chaining(rows: _TrainRows) -> FoldArray:
    """k + 1 blocks in time order; block 0 only trains, block i + 1 is fold i. Equal times stay together."""
    times, n_folds = rows.columns[str(rows.folds.time)], rows.folds.number
    _check_none_is_missing(times, "time")
    moment = times if pd.api.types.is_numeric_dtype(times) else pd.to_datetime(times, errors="coerce")
    if moment.isna().any():
        row = int(moment.isna().to_numpy().argmax())
        raise DataError(
            f"{str(times.iloc[row])!r} is not a time, or is not written as the first row's",
            where=f"column {times.name!r}, row {row + 1}",
            hint="Write all times one way, e.g. 2024-12-31 23:59:59.",
        )
    codes, uniques = pd.factorize(moment, sort=True)
    if len(uniques) < n_folds + 1:
        raise DataError(
            f"{len(uniques)} distinct times cannot make {n_folds} forward-chaining folds",
            where=f"column {times.name!r}",
            hint="Use fewer folds.",
        )
    rows_up_to = np.cumsum(np.bincount(codes))
    block_of_time = np.minimum((rows_up_to - 1) * (n_folds + 1) // len(times), n_folds)
    block_of_row = block_of_time[codes]
    if len(np.unique(block_of_row)) < n_folds + 1:
        raise DataError(
            f"too many rows share a time to make {n_folds} folds",
            where=f"column {times.name!r}",
            hint="Use fewer folds.",
        )
    return block_of_row.astype(np.int64) - 1


def _check_none_is_missing(values: pd.Series, what: str) -> None:
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax()) + 1
        raise DataError(f"a {what} is missing", where=f"column {values.name!r}, row {row}")


def _given(values: pd.Series, *, where: str) -> FoldArray:
    numbers = pd.to_numeric(values, errors="coerce")
    codes, uniques = pd.factorize(values if numbers.isna().any() else numbers, sort=True)  # 2 before 10, also as text
    if len(uniques) < 2:
        raise DataError("names fewer than two folds", where=where)
    return codes.astype(np.int64)


def _from_file(rows: _TrainRows) -> FoldArray:
    path = rows.folder / str(rows.folds.file)
    if not path.exists():
        raise DataError("the fold file is not there", where=str(path), hint="A csv with the id column and `fold`.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # what pandas raises for an empty or ragged file, or another encoding
        raise DataError(f"cannot be read: {error}", where=str(path)) from error
    if "fold" not in table.columns or len(table.columns) != 2:
        raise DataError("wants two columns, the id and `fold`", where=str(path), hint=f"It has {list(table.columns)}.")
    by_id = table.set_index(next(name for name in table.columns if name != "fold"))["fold"]
    wanted = rows.ids.astype(str)
    if by_id.index.has_duplicates:
        raise DataError(f"the id {by_id.index[by_id.index.duplicated()][0]!r} stands twice", where=str(path))
    absent = ~wanted.isin(by_id.index[by_id != ""])
    if absent.any():
        raise DataError(f"the train id {wanted[absent].iloc[0]!r} has no fold", where=str(path))
    return _given(by_id.loc[wanted].reset_index(drop=True), where=str(path))


def _check_groups(groups: pd.Series, fold_of_row: FoldArray) -> None:
    n_folds = pd.Series(fold_of_row).groupby(groups.to_numpy()).nunique()
    torn = n_folds[n_folds > 1]
    if len(torn):
        raise DataError(
            f"the group {torn.index[0]!r} is in {int(torn.iloc[0])} folds",
            where=f"column {groups.name!r}",
            hint='A group must stay in one fold: mend the folds, or use [folds] kind = "group".',
        )


ASSIGN: dict[FoldKind, Callable[[_TrainRows], FoldArray]] = {
    "contiguous": _contiguous,
    "shuffled": lambda rows: rows.split_by("KFold"),
    "stratified": lambda rows: rows.split_by("StratifiedKFold", rows.strata),
    "group": lambda rows: rows.split_by("GroupKFold", None, rows.groups),
    "stratified_group": lambda rows: rows.split_by("StratifiedGroupKFold", rows.strata, rows.groups),
    "time": _forward_chaining,
    "column": _by_column,
    "file": _from_file,
    "holdout": _holdout,
}
assert ASSIGN.keys() == FOLD_KINDS.keys()
