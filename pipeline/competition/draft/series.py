"""Whether the table holds time series: the columns that name a series, and how far ahead test is.

Knows the raw tables; must not know how the spec is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.tables import public_holidays
from pipeline.competition.tables.reading import RawTable
from pipeline.competition.tables.time_columns import Clock, series_of

COUNTRY = "country"  # in the name of a column that may hold them
FEWEST_TIMES = 20  # of a series, on average
KNOWN_SERIES = 0.9  # share of the test rows whose series train has


@dataclass(frozen=True)
class DraftSeries:
    """The series of a table; the horizon is in days or in the unit of a numeric time."""

    date: str
    key: list[str]
    horizon: float
    evidence: str
    country: str = ""  # column with the country of each row
    remark: str = ""  # how holidays could be added


def find_series(files: DraftFiles, date: str, features: Sequence[str]) -> DraftSeries | None:
    """The series, if the column `date` and a few others tell all rows apart and test goes on with them; else None."""
    train, test = files.train, files.test
    try:
        clock = Clock.of([train, test], date)
        times, asked = clock.read(train), clock.read(test)
    except DataError:
        return None
    horizon = float(asked.max() - times.max())
    if horizon <= 0 or len(np.unique(times)) < FEWEST_TIMES:
        return None
    key = _key_of(train, times, [name for name in features if name != date])
    if key is None:
        return None
    series = series_of(train, key)
    n_series = int(series.nunique())
    if len(series) < FEWEST_TIMES * n_series or series_of(test, key).isin(series).mean() < KNOWN_SERIES:
        return None
    named = f"{n_series} series by {' and '.join(map(repr, key))}" if key else "one series"
    evidence = f"{named}, each with one row a {date!r}; test ends {horizon:g} after train"
    country, remark = _holidays(files, features) if clock.date_format else ("", "")
    return DraftSeries(date, key, horizon, evidence, country, remark)


def _holidays(files: DraftFiles, features: Sequence[str]) -> tuple[str, str]:
    """The column all of whose texts are countries, each another one; or else what can be done about holidays."""
    column = next((name for name in features if COUNTRY in name.lower()), "")
    if column and public_holidays.is_installed():
        texts = {str(text) for table in (files.train, files.test) for text in table.column(column).dropna().unique()}
        codes = {public_holidays.code_of(text) for text in texts}
        if len(codes - {None}) == len(texts) > 0:
            return column, ""
    key = f"country = {json.dumps(column, ensure_ascii=False)}" if column else 'holidays = "US"'
    needs = "" if public_holidays.is_installed() else f", after {public_holidays.INSTALL}"
    return "", f"for the public holidays of {'each country' if column else 'a country, by its code'}: {key}{needs}"


def _key_of(train: RawTable, times: FloatArray, names: Sequence[str]) -> list[str] | None:
    """The fewest columns that, with the time, tell all rows apart; None if there are none."""
    moments = pd.factorize(times)[0]
    most = int(np.bincount(moments).max())  # rows of one time: as many series, at most
    sizes = {name: int(train.frame[name].nunique()) for name in names}
    candidates = sorted((name for name in names if 1 < sizes[name] <= most), key=lambda name: -sizes[name])
    codes = {name: pd.factorize(series_of(train, [name]))[0] for name in candidates}
    key: list[str] = []
    n_apart = _n_apart([moments])
    for name in candidates:
        if n_apart < len(times) and (n_now := _n_apart([moments, *(codes[n] for n in [*key, name])])) > n_apart:
            key, n_apart = [*key, name], n_now
    if n_apart < len(times):
        return None
    for name in [*key]:
        rest = [other for other in key if other != name]
        key = rest if _n_apart([moments, *(codes[n] for n in rest)]) == len(times) else key
    return [name for name in names if name in key]


def _n_apart(columns: Sequence[NDArray[np.int64]]) -> int:
    """The number of distinct rows of columns of codes."""
    joint = columns[0]
    for codes in columns[1:]:
        joint = pd.factorize(joint * (codes.max() + 1) + codes)[0]
    return int(joint.max()) + 1
