"""Further tables joined onto train, test or new rows by keys: columns of one row a key, aggregates of several.

Knows [[tables]] of the spec and raw cells; must not know targets, types or roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError, did_you_mean
from pipeline.competition.tables.deciding import numbers_in
from pipeline.competition.tables.reading import (
    RawTable,
    as_written,
    find_raw,
    first_true,
    inferred,
    is_text,
    listed,
    read_raw,
)
from pipeline.config.sections import JoinedTable

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Joined:
    """The tables with their new columns, what was joined, and the share of each table's rows that have a match."""

    onto: list[RawTable]
    notes: list[str]
    shares: list[float]


def join_tables(raw: Path, tables: Sequence[JoinedTable], onto: list[RawTable]) -> tuple[list[RawTable], list[str]]:
    """Join the files in the folder `raw` onto train and test. Raises DataError, also if no row has a match."""
    notes: list[str] = []
    for table in tables:
        if table.onto is not None:
            continue
        other, said = _with_own_tables(raw, table, tables)
        notes += said
        done = join(other, table, onto)
        for into, share in zip(onto, done.shares, strict=True):
            if share == 0.0 and len(into.frame):
                keys = [as_written(one.frame[name]).iloc[0] for name in table.by for one in (into, other)]
                raise DataError(
                    f"no row of {into.path.name} has its {listed(table.by)} here",
                    where=other.where(),
                    hint=f"The first values are {listed(keys)}. Remove the table from the spec, or name another key.",
                )
        onto, notes = done.onto, [*notes, *done.notes]
    return onto, notes


def join_new_rows(raw: Path, tables: Sequence[JoinedTable], rows: RawTable) -> tuple[RawTable, list[str]]:
    """Join the files onto other rows; those without a match have missing values, which is told. Raises DataError."""
    notes = []
    for table in tables:
        if table.onto is not None:
            continue
        other, _ = _with_own_tables(raw, table, tables)
        done = join(other, table, [rows])
        (rows,) = done.onto
        notes += [note for note in done.notes if "no row" in note]
    return rows, notes


def _with_own_tables(raw: Path, table: JoinedTable, tables: Sequence[JoinedTable]) -> tuple[RawTable, list[str]]:
    """Read a table, with the tables that are joined onto it, and so on; what is told of them. Raises DataError."""
    whole = read_raw(find_raw(raw, table.file))
    notes = list(whole.notes)
    for child in tables:
        if child.onto == table.prefix:
            other, said = _with_own_tables(raw, child, tables)
            done = join(other, child, [whole])
            if done.shares == [0.0]:
                what = f"no row of {whole.path.name} has its {listed(child.by)} here"
                hint = "Remove the table from the spec, or name another key."
                raise DataError(what, where=other.where(), hint=hint)
            (whole,) = done.onto
            notes += [*said, *done.notes]
    return whole, notes


def join(other: RawTable, table: JoinedTable, onto: list[RawTable]) -> Joined:
    """Join one file. Raises DataError for a missing column or one whose new name exists already."""
    for raw in (other, *onto):
        _refuse_lacking(raw, table.by, f"of the key of [[tables]] {table.file!r}")
    if len(other.frame) == 0:
        raise DataError("has no rows", where=other.where())
    columns = table.columns or [str(name) for name in other.frame.columns if name not in table.by and name != ""]
    _refuse_lacking(other, columns, f"which [[tables]] {table.file!r} joins")
    *codes, their_codes = _codes([raw.frame for raw in (*onto, other)], table.by)
    has_key = their_codes >= 0
    is_unique = len(np.unique(their_codes[has_key])) == int(has_key.sum())
    converted = list[str]()
    if is_unique:
        extra = other.frame.loc[has_key, columns].add_prefix(f"{table.prefix}.")
        keys = their_codes[has_key]
    else:
        extra, keys, converted = _aggregated(other, columns, their_codes, table)
    extra = extra.reset_index(drop=True)
    place = np.full(max(int(part.max(initial=-1)) for part in (*codes, their_codes)) + 2, -1)  # the last: no key
    place[keys] = np.arange(len(keys))
    places = [place[part] for part in codes]
    same = [] if not is_unique else [name for name in columns if _is_same(name, other.frame[has_key], onto, places)]
    extra = extra.drop(columns=[f"{table.prefix}.{name}" for name in same])
    count = "" if is_unique else f"{table.prefix}.count"  # 0 where there is no row
    done = [_with_columns(raw, extra, rows, table, count) for raw, rows in zip(onto, places, strict=True)]
    notes = _notes(other, table, extra, same, onto, places, is_unique=is_unique)
    return Joined(done, [*notes, *converted], list(map(_share, places)))


def _share(places: Codes) -> float:
    return float((places >= 0).mean()) if len(places) else 0.0


def _refuse_lacking(raw: RawTable, columns: list[str], which: str) -> None:
    known = [str(name) for name in raw.frame.columns]
    for name in columns:
        if name not in known:
            raise DataError(f"there is no column {name!r}, {which}", where=raw.where(), hint=did_you_mean(name, known))


def _codes(frames: list[pd.DataFrame], by: list[str]) -> list[Codes]:
    """One whole number for each key, equal for equal keys of all frames; -1 where a part of the key is missing."""
    codes: Codes | None = None
    for name in by:
        text = pd.concat([as_written(frame[name]) for frame in frames], ignore_index=True)
        part, values = pd.factorize(text.mask(text == ""))
        numbers = inferred(pd.Series(values))  # 1 and 1.0 are one key, if all of them are numbers
        if not is_text(numbers):
            same, _ = pd.factorize(numbers)
            part = np.append(same, -1)[part]
        part = part.astype(np.int64)
        if codes is None:
            codes = part
        else:
            pairs = np.where((codes < 0) | (part < 0), -1, codes * (int(part.max(initial=0)) + 1) + part)
            known, codes = np.unique(pairs, return_inverse=True)
            codes = codes.astype(np.int64) - int(known[0] == -1)
    assert codes is not None
    return [np.asarray(one) for one in np.split(codes, np.cumsum([len(frame) for frame in frames])[:-1])]


def _aggregated(
    other: RawTable, columns: list[str], codes: Codes, table: JoinedTable
) -> tuple[pd.DataFrame, Codes, list[str]]:
    """A row for each key: its aggregates, and the keys; what was converted. Cells tell what a column holds."""
    is_kept = codes >= 0
    codes = codes[is_kept]
    keys, group = np.unique(codes, return_inverse=True)
    found: dict[str, pd.Series] = {}
    converted: list[str] = []
    if "count" in table.aggregates:
        found[f"{table.prefix}.count"] = pd.Series(np.bincount(group), dtype="float64")
    for name in columns:
        cells = other.column(name)[is_kept].reset_index(drop=True)
        read = numbers_in(cells)
        numbers, is_number = pd.Series(np.nan if read is None else read[0], index=cells.index), read is not None
        converted += [f"{table.prefix}.{name}: {read[1]}"] if read is not None and read[1] else []
        values = numbers.mask(np.isinf(numbers)) if is_number else pd.Series(pd.factorize(cells)[0], dtype="float64")
        grouped = values.mask(values < 0).groupby(group) if not is_number else values.groupby(group)
        for how in table.aggregates:
            if how == "last":
                found[f"{table.prefix}.{name}.last"] = _last(numbers if is_number else cells, group, len(keys))
            elif how == "nunique" or (is_number and how != "count"):
                found[f"{table.prefix}.{name}.{how}"] = grouped.agg(how).astype("float64")
    return pd.DataFrame(found), keys, converted


def _last(cells: pd.Series, group: Codes, n_groups: int) -> pd.Series:
    """The last cell of each group that is not missing, in the order of the file."""
    place = np.full(n_groups, -1)
    rows = np.flatnonzero(cells.notna().to_numpy())
    place[group[rows]] = rows  # of equal places the last is kept
    return cells.reindex(place).reset_index(drop=True)


def _is_same(name: str, other: pd.DataFrame, onto: list[RawTable], places: list[Codes]) -> bool:
    """Whether all tables have the column already, with the same cells wherever a row has a match."""
    if any(name not in raw.frame.columns for raw in onto):
        return False
    cells = as_written(other[name]).reset_index(drop=True)
    for raw, rows in zip(onto, places, strict=True):
        own, theirs = as_written(raw.frame[name])[rows >= 0], cells.iloc[rows[rows >= 0]]
        if not (own.fillna("").to_numpy() == theirs.fillna("").to_numpy()).all():
            return False
    return True


def _with_columns(raw: RawTable, extra: pd.DataFrame, rows: Codes, table: JoinedTable, count: str) -> RawTable:
    if taken := [name for name in extra.columns if name in raw.frame.columns]:
        raise DataError(
            f"there is a column {taken[0]!r} already",
            where=raw.where(),
            hint=f"Set `name` of {table.file!r} in [[tables]].",
        )
    new = extra.reindex(rows)
    new.index = raw.frame.index
    if count in new:
        new[count] = new[count].fillna(0.0)
    return replace(raw, frame=pd.concat([raw.frame, new], axis=1))


def _notes(
    other: RawTable,
    table: JoinedTable,
    extra: pd.DataFrame,
    same: list[str],
    onto: list[RawTable],
    places: list[Codes],
    *,
    is_unique: bool,
) -> list[str]:
    how = "columns" if is_unique else "aggregates of several rows a key"
    notes = [f"{other.path.name}: {extra.shape[1]} {how} joined by {listed(table.by)}"]
    if same:
        notes.append(f"{other.path.name}: {listed(same)} not joined: the same as the column of that name")
    for raw, rows in zip(onto, places, strict=True):
        row = first_true(rows < 0)
        if row is not None:
            key = ", ".join(f"{name} = {as_written(raw.frame[name]).iloc[row]}" for name in table.by)
            notes.append(
                f"{int((rows < 0).sum())} of {len(rows)} rows of {raw.path.name} have no row in {other.path.name} "
                f"(the first: {key})"
            )
    return notes
