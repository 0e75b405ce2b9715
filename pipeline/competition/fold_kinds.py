"""The kinds of folds: the fold of each train row, by the rule that [folds] of the spec names.

Knows [folds], ids, target and the columns it names. Must not know features or models.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray, first_target, moments_of, refuse_missing
from pipeline.competition.tables.reading import first_true
from pipeline.config.sections import FOLD_KINDS, FoldKind, Folds

SPLITTERS: dict[FoldKind, str] = {  # of scikit-learn
    "shuffled": "KFold",
    "stratified": "StratifiedKFold",
    "group": "GroupKFold",
    "stratified_group": "StratifiedGroupKFold",
}


@dataclass(frozen=True)
class TrainRows:
    """All that the folds may depend on."""

    ids: pd.Series
    target: FloatArray  # (rows,) or (rows, targets) numbers or class codes
    classes: Sequence[object]  # class labels in code order; [] for regression
    columns: pd.DataFrame  # the columns that [folds] names
    folder: Path  # that of the spec


def assign_folds(folds: Folds, rows: TrainRows) -> FoldArray:
    """`fold_of_row` (rows,): 0..k-1, or -1 for rows that only train. Raises DataError if the rows do not allow it."""
    if folds.rules.has_number:
        _check_enough(len(rows.ids), folds.number, folds.number, "train rows", where="[folds] number")
    if folds.group is not None:
        refuse_missing(rows.columns[folds.group], "group")
    fold_of_row = ASSIGN[folds.kind](folds, rows)
    if folds.group is not None:
        _check_groups(rows.columns[folds.group], fold_of_row)
    return fold_of_row.astype(np.int64)


def _by_scikit_learn(folds: Folds, rows: TrainRows) -> FoldArray:
    from sklearn import model_selection

    strata = _strata(folds, rows) if folds.kind.startswith("stratified") else None
    groups = _groups(folds, rows) if folds.kind.endswith("group") else None
    shuffle: dict[str, Any] = {"shuffle": True, "random_state": folds.seed}
    if strata is not None and groups is not None:
        groups, shuffle = _shuffled_groups(groups, folds.seed), {}
    splitter = getattr(model_selection, SPLITTERS[folds.kind])(folds.number, **shuffle)
    fold_of_row = np.full(len(rows.target), NEVER_VALIDATED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # its rows go to different folds
        for fold, (_, valid) in enumerate(splitter.split(np.zeros(len(rows.target)), strata, groups)):
            fold_of_row[valid] = fold
    return fold_of_row


def _shuffled_groups(groups: NDArray[Any], seed: int) -> NDArray[np.intp]:
    """(rows,) numbers of the groups in random order.

    `StratifiedGroupKFold` without shuffling makes of them what it makes of `groups` with shuffling since scikit-learn
    1.8; before, its shuffled folds were not stratified.
    """
    _, codes = np.unique(groups, return_inverse=True)
    order = np.random.RandomState(seed).permutation(codes.max() + 1)
    return np.argsort(order)[codes]


def _strata(folds: Folds, rows: TrainRows) -> FloatArray:
    """(rows,) class codes or combinations of them, or quantile bins of the first target of numbers."""
    if not rows.classes:
        values = first_target(rows.target)
        ranks = pd.Series(values).rank(method="first").to_numpy() - 1
        n_bins = max(1, min(folds.bins, len(values) // folds.number))
        return np.floor(ranks * n_bins / len(values))
    values = rows.target if rows.target.ndim == 1 else combinations(rows.target, folds.number)
    most = int(np.bincount(values.astype(np.int64)).max())
    if most < folds.number:
        raise DataError(
            f"no {'class' if rows.target.ndim == 1 else 'combination of classes'} has more than {most} rows, fewer "
            f"than the {folds.number} folds",
            where="[folds] number",
            hint=f'Use at most {max(most, 2)} folds, or [folds] kind = "shuffled".',
        )
    return values


def combinations(target: FloatArray, fewest: int) -> FloatArray:
    """(rows,) the combination of 0s and 1s in each row of `target` (rows, targets), numbered.

    One with fewer than `fewest` rows counts as the rarest of its 1s, so that rare ones are divided evenly, too.
    """
    _, codes, counts = np.unique(target, axis=0, return_inverse=True, return_counts=True)
    by_rarity = np.argsort(target.sum(axis=0), kind="stable")
    rarest = by_rarity[target[:, by_rarity].argmax(axis=1)]
    codes = codes.reshape(-1)
    strata = np.where(counts[codes] < fewest, len(counts) + rarest, codes)
    return np.unique(strata, return_inverse=True)[1].astype(np.float64)


def _rarest_class(rows: TrainRows) -> tuple[object, int]:
    """The label of the rarest class and its number of rows."""
    counts = np.bincount(rows.target.astype(np.int64), minlength=len(rows.classes))
    return rows.classes[int(counts.argmin())], int(counts.min())


def _groups(folds: Folds, rows: TrainRows) -> NDArray[Any]:
    groups = rows.columns[str(folds.group)]
    _check_enough(groups.nunique(), folds.number, folds.number, "groups", where=f"column {folds.group!r}")
    return groups.to_numpy()


def _contiguous(folds: Folds, rows: TrainRows) -> FoldArray:
    blocks = np.array_split(np.arange(len(rows.ids)), folds.number)
    return np.repeat(np.arange(folds.number), [len(block) for block in blocks])


def _holdout(folds: Folds, rows: TrainRows) -> FoldArray:
    """0 for the rows that validate, stratified by the class of a single target; -1 for those that train."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    n_rows, n_classes = len(rows.target), len(rows.classes) if rows.target.ndim == 1 else 0
    n_valid = round(folds.share * n_rows)
    if not 0 < n_valid < n_rows:
        raise DataError(f"a share of {folds.share:g} is {n_valid} of {n_rows} rows", where="[folds] share")
    if n_classes:
        rarest, n_rarest = _rarest_class(rows)
        if n_rarest < 2 or n_valid < n_classes or n_rows - n_valid < n_classes:
            raise DataError(
                f"with a share of {folds.share:g} not every class has a row to train on and one to validate",
                where="[folds] share",
                hint=f"The rarest class is {rarest!r} with {n_rarest} rows.",
            )
    splitter = (StratifiedShuffleSplit if n_classes else ShuffleSplit)(1, test_size=n_valid, random_state=folds.seed)
    fold_of_row = np.full(n_rows, NEVER_VALIDATED)
    fold_of_row[next(splitter.split(np.zeros(n_rows), rows.target))[1]] = 0
    return fold_of_row


def _forward_chaining(folds: Folds, rows: TrainRows) -> FoldArray:
    """k + 1 blocks in time order: block 0 only trains, block i + 1 is fold i. Equal times share a block."""
    times, n_folds = rows.columns[str(folds.time)], folds.number
    where, moments = f"column {times.name!r}", moments_of(times)
    if folds.length is not None:
        return _of_length(moments, folds.length, n_folds)
    codes, uniques = pd.factorize(moments, sort=True)
    _check_enough(len(uniques), n_folds + 1, n_folds, "distinct times", where=where)
    rows_up_to = np.cumsum(np.bincount(codes))
    block_of_time = np.minimum((rows_up_to - 1) * (n_folds + 1) // len(times), n_folds)
    block_of_row = block_of_time[codes]
    if len(np.unique(block_of_row)) < n_folds + 1:
        raise DataError(f"too many rows have the same time for {n_folds} folds", where=where, hint="Use fewer folds.")
    return block_of_row.astype(np.int64) - 1


def _of_length(moments: FloatArray, length: float, n_folds: int) -> FoldArray:
    """Folds of one length in time, the last of which ends with the last row; rows before them only train."""
    numbers = n_folds - 1 - np.floor((moments.max() - moments) / length)
    fold_of_row: FoldArray = np.maximum(numbers, NEVER_VALIDATED).astype(np.int64)
    empty = set(range(NEVER_VALIDATED, n_folds)) - set(np.unique(fold_of_row).tolist())
    if empty:
        lacking = "row before the folds to train on" if NEVER_VALIDATED in empty else f"row in fold {min(empty)}"
        raise DataError(
            f"{n_folds} folds of {length:g} leave no {lacking}; the rows cover {np.ptp(moments):g}",
            where="[folds] length",
            hint="Use fewer or shorter folds.",
        )
    return fold_of_row


def _from_column(folds: Folds, rows: TrainRows) -> FoldArray:
    values = rows.columns[str(folds.column)]
    refuse_missing(values, "fold")
    return _numbered(values, where=f"column {folds.column!r}")


def _from_file(folds: Folds, rows: TrainRows) -> FoldArray:
    path = rows.folder / str(folds.file)
    where = str(path)
    if not path.is_file():
        raise DataError("the fold file does not exist", where=where, hint="Write a CSV with the id column and `fold`.")
    try:
        table = pd.read_csv(path, dtype=TEXT, keep_default_na=False)
    except (ValueError, OSError) as error:  # what pandas raises for an empty or ragged file, or another encoding
        raise DataError(f"cannot be read: {error}", where=where) from error
    if "fold" not in table.columns or len(table.columns) != 2:
        raise DataError("needs two columns, the id and `fold`", where=where, hint=f"It has {list(table.columns)}.")
    by_id = table.set_index(next(name for name in table.columns if name != "fold"))["fold"]
    if by_id.index.has_duplicates:
        raise DataError(f"the id {by_id.index[by_id.index.duplicated()][0]!r} appears twice", where=where)
    ids = rows.ids.astype(TEXT)
    if (row := first_true(~ids.isin(by_id.index[by_id != ""]))) is not None:
        raise DataError(f"the train id {ids.iloc[row]!r} has no fold", where=where)
    return _numbered(by_id.loc[ids].reset_index(drop=True), where=where)


def _numbered(values: pd.Series, *, where: str) -> FoldArray:
    """The values a user gave as folds -> 0..k-1, in sorted order."""
    numbers = pd.to_numeric(values, errors="coerce")
    codes, uniques = pd.factorize(values if numbers.isna().any() else numbers, sort=True)  # 2 before 10, also as text
    if len(uniques) < 2:
        raise DataError("has fewer than two folds", where=where)
    return codes.astype(np.int64)


def _check_enough(number: int, least: int, n_folds: int, what: str, *, where: str) -> None:
    if number < least:
        raise DataError(f"{number} {what} are too few for {n_folds} folds", where=where, hint="Use fewer folds.")


def _check_groups(groups: pd.Series, fold_of_row: FoldArray) -> None:
    n_folds = pd.Series(fold_of_row).groupby(groups.to_numpy()).nunique()
    divided = n_folds[n_folds > 1]
    if len(divided):
        raise DataError(
            f"the group {str(divided.index[0])!r} is in {int(divided.iloc[0])} folds",
            where=f"column {groups.name!r}",
            hint='A group must stay in one fold: correct the folds, or use [folds] kind = "group".',
        )


ASSIGN: dict[FoldKind, Callable[[Folds, TrainRows], FoldArray]] = {
    "contiguous": _contiguous,
    **dict.fromkeys(SPLITTERS, _by_scikit_learn),
    "time": _forward_chaining,
    "column": _from_column,
    "file": _from_file,
    "holdout": _holdout,
}
assert ASSIGN.keys() == FOLD_KINDS.keys()
