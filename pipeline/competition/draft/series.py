"""Whether the table holds time series: the columns that name a series, and how far ahead test is.

Knows the raw tables; must not know how the spec is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.tables.reading import RawTable
from pipeline.competition.tables.time_columns import Clock, series_of

FEWEST_TIMES = 20  # of a series, on average
KNOWN_SERIES = 0.9  # share of the test rows whose series train has


@dataclass(frozen=True)
class DraftSeries:
    """The series of a table; the horizon is in days or in the unit of a numeric time."""

    date: str
    key: list[str]
    horizon: float
    evidence: str


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
    return DraftSeries(date, key, horizon, f"{named}, each with one row a {date!r}; test ends {horizon:g} after train")


def _key_of(train: RawTable, times: FloatArray, names: Sequence[str]) -> list[str] | None:
    """The fewest columns that, with the time, tell all rows apart; None if there are none."""
    most = int(np.unique(times, return_counts=True)[1].max())  # rows of one time: as many series, at most
    sizes = {name: int(train.frame[name].nunique()) for name in names}
    candidates = sorted((name for name in names if 1 < sizes[name] <= most), key=lambda name: -sizes[name])
    key: list[str] = []
    n_apart = _n_apart(train, times, key)
    for name in candidates:
        if n_apart < len(times) and (n_now := _n_apart(train, times, [*key, name])) > n_apart:
            key, n_apart = [*key, name], n_now
    if n_apart < len(times):
        return None
    for name in [*key]:
        rest = [other for other in key if other != name]
        key = rest if _n_apart(train, times, rest) == len(times) else key
    return [name for name in names if name in key]


def _n_apart(train: RawTable, times: FloatArray, key: Sequence[str]) -> int:
    rows = pd.DataFrame({"series": series_of(train, key).to_numpy(), "time": times})
    return int((~rows.duplicated()).sum())
