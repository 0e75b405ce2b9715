"""The columns that [time] of a spec adds to a table: calendar, and the history of each row's series.

Knows raw tables and the spec; must not know folds or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.series import SeriesHistory
from pipeline.competition.tables.dates import EPOCH, date_format_of, number_format_of, parse_dates
from pipeline.competition.tables.reading import RawTable, as_written, first_true, numbers_of
from pipeline.competition.tables.typed import without_zero_fraction
from pipeline.config.sections import SeriesTime

DAYS_OF_YEAR = 365.25
SIGN = "\x1f"  # between the parts of a key


@dataclass(frozen=True)
class Clock:
    """How a time column is read: dates in a format, or numbers."""

    column: str
    date_format: str  # "" for numbers

    @classmethod
    def of(cls, tables: list[RawTable], column: str) -> Clock:
        """The clock that reads the column of all tables. Raises DataError."""
        parts = [table.column(column) for table in tables]
        if all(np.isfinite(numbers_of(part)).all() for part in parts):
            return cls(column, number_format_of(parts) or "")  # dates such as 20240131, or plain numbers
        return cls(column, date_format_of(parts)[0])

    def read(self, table: RawTable) -> FloatArray:
        """(rows,) days since 1970, or the numbers. Raises DataError for a cell that is no time."""
        series = table.column(self.column)
        if self.date_format:
            times = (parse_dates(series, self.date_format) - EPOCH) / pd.Timedelta(days=1)
            values: FloatArray = np.asarray(times, dtype=np.float64)
        else:
            values = numbers_of(series)
        if (row := first_true(~np.isfinite(values))) is not None:
            what = "is missing" if series.isna().iloc[row] else f"is {series.iloc[row]!r}, not a time like the others"
            raise DataError(
                f"the time {what}", where=table.where(self.column, row), hint="[time] needs it in each row."
            )
        return values


@dataclass(frozen=True)
class TimeColumns:
    """The history of the train rows, and what it says of any rows."""

    spec: SeriesTime
    clock: Clock
    targets: list[str]
    history: SeriesHistory

    @classmethod
    def fit(cls, spec: SeriesTime, train: RawTable, test: RawTable, target: pd.DataFrame) -> TimeColumns:
        """Learn from the train rows; `target` has their numbers. Raises DataError."""
        clock = Clock.of([train, test], spec.date)
        history = SeriesHistory.fit(clock.read(train), series_of(train, spec.key), target.to_numpy(), spec.horizon)
        return cls(spec, clock, [str(name) for name in target.columns], history)

    def read(self, table: RawTable) -> pd.DataFrame:
        """The columns of any rows: float64, RangeIndex."""
        times = self.clock.read(table)
        columns = self.history.columns(times, series_of(table, self.spec.key), self.targets)
        if self.clock.date_format:
            angle = 2.0 * np.pi * (times % DAYS_OF_YEAR) / DAYS_OF_YEAR
            columns[f"{self.spec.date}.year_sine"], columns[f"{self.spec.date}.year_cosine"] = (
                np.sin(angle),
                np.cos(angle),
            )
        return columns


def series_of(table: RawTable, key: Sequence[str]) -> pd.Series:
    """(rows,) the series of each row: the texts of the key columns, joined; `1.0` and `1` are one."""
    joined = pd.Series("", index=table.frame.index, dtype=TEXT)
    for name in key:
        cells = without_zero_fraction(as_written(table.column(name)).astype(TEXT))
        joined = joined + SIGN + cells.fillna("")
    texts: pd.Series = joined.astype(TEXT)
    return texts
