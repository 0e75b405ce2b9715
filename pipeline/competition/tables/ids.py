"""The id column of each table, as the spec's [ids] say: another name, joined columns, or the row's place.

Knows raw tables; must not know what is predicted.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.tables.reading import RawTable, as_written, listed
from pipeline.config.sections import IdColumns

Column = str | list[str] | None


def with_ids(train: RawTable, test: RawTable, sample: RawTable, name: str, ids: IdColumns) -> list[RawTable]:
    """The three tables with their ids in the column `name`. Raises DataError."""
    sample = _with_ids(sample, name, ids.sample_submission, ids, None)
    in_order = as_written(sample.frame[name]) if ids.test == "" else None
    return [_with_ids(train, name, ids.train, ids, None), _with_ids(test, name, ids.test, ids, in_order), sample]


def new_rows_with_ids(raw: RawTable, name: str, ids: IdColumns) -> RawTable:
    """Other rows to predict, with their ids as test has them; rows without an id are numbered from 1."""
    return _with_ids(raw, name, ids.test, ids, None)


def joined_ids(frame: pd.DataFrame, columns: list[str], separator: str) -> pd.Series:
    """The columns' texts, joined row by row."""
    ids = as_written(frame[columns[0]])
    for name in columns[1:]:
        ids = ids + separator + as_written(frame[name])
    return ids.astype(TEXT)


def _with_ids(raw: RawTable, name: str, column: Column, ids: IdColumns, in_order: pd.Series | None) -> RawTable:
    frame = raw.frame
    if column == "":
        values = pd.Series(range(1, len(frame) + 1)).astype(TEXT) if in_order is None else in_order
        if len(values) != len(frame):
            raise DataError(
                f"has {len(frame)} rows; the sample submission, whose ids belong to them in order, has {len(values)}",
                where=raw.where(),
            )
        return _with_column(raw, name, values)
    if isinstance(column, list):
        if lacking := [one for one in column if one not in frame.columns]:
            raise DataError(f"has no column {listed(lacking)}, of which the spec joins the id", where=raw.where())
        return _with_column(raw, name, joined_ids(frame, column, ids.separator))
    source = name if column is None else column
    if source.startswith("Unnamed: ") and source not in frame.columns:
        source = ""  # pandas' name for an empty header
    if source == name or source not in frame.columns:
        return raw  # which lacks it, if it does: the check of columns says so
    others = frame.drop(columns=name) if name in frame.columns else frame
    return replace(raw, frame=others.rename(columns={source: name}))


def _with_column(raw: RawTable, name: str, values: pd.Series) -> RawTable:
    return replace(raw, frame=raw.frame.assign(**{name: values.to_numpy()}).astype({name: TEXT}))
