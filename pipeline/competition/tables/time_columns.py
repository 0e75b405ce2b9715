"""The columns that [time] of a spec adds to a table or leaves out: calendar, and the history of each row's series.

Knows raw tables and the spec; must not know folds or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.target_transforms import TargetTransform, transform_target
from pipeline.base.text import TEXT
from pipeline.competition.series import SeriesHistory
from pipeline.competition.tables.dates import EPOCH, date_format_of, number_format_of, parse_dates
from pipeline.competition.tables.public_holidays import (
    checked_code,
    code_of,
    holiday_columns,
    holiday_columns_by_row,
)
from pipeline.competition.tables.reading import RawTable, as_written, first_true, listed, numbers_of
from pipeline.competition.tables.typed import ColumnRecipe, part_of, without_zero_fraction
from pipeline.config.sections import SeriesTime
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Role

DAYS_OF_YEAR = 365.25
MONTH_EDGE = 3  # days at the begin and the end of a month
TRENDS = ("year", "elapsed_days")  # parts of a date that grow beyond those of train rows
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
    """The history of the train rows, on the scale of the target's transform, and what it says of any rows."""

    spec: SeriesTime
    transform: TargetTransform
    clock: Clock
    targets: list[str]
    history: SeriesHistory
    unknown: list[str]  # texts of the column of countries that are none

    @classmethod
    def fit(cls, spec: CompetitionSpec, train: RawTable, test: RawTable, target: pd.DataFrame) -> TimeColumns:
        """Learn from the train rows; `target` has their numbers. Raises DataError."""
        assert spec.time is not None
        time, clock = spec.time, Clock.of([train, test], spec.time.date)
        values = transform_target(spec.target_transform, target.to_numpy(dtype=np.float64))
        history = SeriesHistory.fit(clock.read(train), series_of(train, time.key), values, time.horizon)
        unknown = _check_countries(time, clock, [train, test])
        return cls(time, spec.target_transform, clock, [str(name) for name in target.columns], history, unknown)

    def read(self, table: RawTable) -> pd.DataFrame:
        """The columns of any rows: float64, RangeIndex."""
        times = self.clock.read(table)
        columns = self.history.columns(times, series_of(table, self.spec.key), self.targets)
        if not self.clock.date_format:
            return columns
        of_days = _calendar(times) | _holidays(self.spec, table, times)
        return columns.assign(**{f"{self.spec.date}.{name}": part for name, part in of_days.items()})

    def role_of(self, column: str) -> Role:
        """What one of the columns is."""
        return "past" if any(column.startswith(f"{target}.") for target in self.targets) else "number"

    def note(self, n_columns: int, trends: Sequence[str]) -> str:
        """What was added and left out, for the user."""
        scale = f", as {self.transform} of the target" if self.transform in ("log", "log1p") else ""
        left_out = f"; left out, as they grow beyond those of train: {', '.join(trends)}" if trends else ""
        n_series = len(self.history.codes)
        no_country = f"; no countries, and without holidays: {listed(self.unknown, 5)}" if self.unknown else ""
        what = f"{n_columns} columns of the calendar and the past of {n_series} series"
        return f"[time]: {what}{scale}{left_out}{no_country}"


def trends_of(spec: CompetitionSpec, recipes: Sequence[ColumnRecipe]) -> list[str]:
    """The features that only tell how late a row is, and that models of [time] do not see."""
    if spec.time is None or spec.time.trend:
        return []
    return [
        name
        for recipe in recipes
        if recipe.source == spec.time.date and recipe.role == "number"
        for name in recipe.features
        if recipe.kind != "date" or part_of(name) in TRENDS
    ]


def _calendar(times: FloatArray) -> dict[str, FloatArray]:
    """What the parts of a date do not tell of days since 1970: the place in the year, and the edges of months."""
    days = pd.Series(EPOCH + pd.to_timedelta(times, unit="D"))
    angle = 2.0 * np.pi * (times % DAYS_OF_YEAR) / DAYS_OF_YEAR
    later = days + pd.Timedelta(days=MONTH_EDGE)
    return {
        "year_sine": np.sin(angle),
        "year_cosine": np.cos(angle),
        "day_of_year": days.dt.day_of_year.to_numpy(dtype=np.float64),
        "week": days.dt.isocalendar().week.to_numpy(dtype=np.float64),
        "is_month_begin": (days.dt.day <= MONTH_EDGE).to_numpy(dtype=np.float64),
        "is_month_end": (later.dt.day <= MONTH_EDGE).to_numpy(dtype=np.float64),
    }


def _check_countries(spec: SeriesTime, clock: Clock, tables: Sequence[RawTable]) -> list[str]:
    """The texts of the column of countries that are none. Raises DataError for codes that are none."""
    if not clock.date_format and spec.has_holidays:
        hint = "Remove `holidays` and `country` from the spec."
        raise DataError(f"the times in {spec.date!r} are numbers, which have no holidays", where="[time]", hint=hint)
    for code in spec.holidays:
        checked_code(code)
    if spec.country is None:
        return []
    texts = sorted({str(text) for table in tables for text in table.column(spec.country).dropna().unique()})
    unknown = [text for text in texts if code_of(text) is None]
    if len(unknown) == len(texts):
        hint = "Name countries in English, or by their codes."
        raise DataError(
            f"no text is a country, such as {listed(texts, 3)}", where=tables[0].where(spec.country), hint=hint
        )
    return unknown


def _holidays(spec: SeriesTime, table: RawTable, times: FloatArray) -> dict[str, FloatArray]:
    """The columns of public holidays that the spec asks for: those of each of several countries have its code."""
    if spec.country is not None:
        return holiday_columns_by_row(times, table.column(spec.country))
    found = {code: holiday_columns(times, code) for code in map(checked_code, spec.holidays)}
    return {
        name if len(found) == 1 else f"{code}_{name}": values
        for code, columns in found.items()
        for name, values in columns.items()
    }


def series_of(table: RawTable, key: Sequence[str]) -> pd.Series:
    """(rows,) the series of each row: the texts of the key columns, joined; `1.0` and `1` are one."""
    joined = pd.Series("", index=table.frame.index, dtype=TEXT)
    for name in key:
        cells = without_zero_fraction(as_written(table.column(name)).astype(TEXT))
        joined = joined + SIGN + cells.fillna("")
    texts: pd.Series = joined.astype(TEXT)
    return texts
