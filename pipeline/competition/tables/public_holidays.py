"""Public holidays of countries as numbers of a day, by the package `holidays` (the extra of that name).

Knows days and countries; must not know files, specs or targets.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, PipelineError, did_you_mean
from pipeline.competition.tables.dates import EPOCH

PACKAGE = "holidays"
INSTALL = f"pip install -c constraints.txt -e '.[{PACKAGE}]'"
FURTHEST = 14.0  # days to or since a holiday; further ones tell nothing
FEATURES = ("is_holiday", "days_to_holiday", "days_since_holiday", "is_weekend")


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec(PACKAGE) is not None


def version() -> str:
    """The package's version, on which the days depend. Raises PipelineError."""
    return str(_library().__version__)


def code_of(country: str) -> str | None:
    """The code of a country by its English name or a code: `Germany`, `DE` and `DEU` are `DE`."""
    return _codes().get(_letters(country))


def checked_code(text: str) -> str:
    """The code of a country, or of a part of it such as `US-CA`. Raises DataError if the package does not know it."""
    if code := code_of(text):
        return code
    country, _, part = text.partition("-")
    code = code_of(country)
    parts = [] if code is None else list(_library().country_holidays(code).subdivisions)
    if code is not None and part in parts:
        return f"{code}-{part}"
    hint = did_you_mean(part, parts) if code else did_you_mean(text, set(_codes().values())) or "Write codes: US, DE."
    what = f"the package {PACKAGE!r} knows no part {part!r} of {code}" if code else f"{text!r} is no country"
    raise DataError(what, where="[time] holidays", hint=hint)


def holiday_columns(days: FloatArray, code: str) -> dict[str, FloatArray]:
    """FEATURES of (rows,) days since 1970; a part of a day counts as the day."""
    days = np.floor(days)
    first, last = (EPOCH + pd.Timedelta(days=day) for day in (days.min() - FURTHEST, days.max() + FURTHEST))
    country, _, part = code.partition("-")
    calendar = _library().country_holidays(country, subdiv=part or None, years=range(first.year, last.year + 1))
    dates = pd.DatetimeIndex(pd.to_datetime(sorted(calendar)))
    known = np.concatenate([[-np.inf], np.asarray((dates - EPOCH) / pd.Timedelta(days=1)), [np.inf]])
    to_next = known[np.searchsorted(known, days)] - days
    since_last = days - known[np.searchsorted(known, days, side="right") - 1]
    weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    values = (
        since_last == 0,
        np.minimum(to_next, FURTHEST),
        np.minimum(since_last, FURTHEST),
        np.isin(weekday, list(calendar.weekend)),
    )
    return {name: np.asarray(column, dtype=np.float64) for name, column in zip(FEATURES, values, strict=True)}


def holiday_columns_by_row(days: FloatArray, countries: pd.Series) -> dict[str, FloatArray]:
    """FEATURES of (rows,) days in the country of each row; NaN where it is none that the package knows."""
    found = {name: np.full(len(days), np.nan) for name in FEATURES}
    for text, rows in countries.groupby(countries).indices.items():
        if (code := code_of(str(text))) is not None:
            for name, values in holiday_columns(days[rows], code).items():
                found[name][rows] = values
    return found


@cache
def _codes() -> dict[str, str]:
    """The letters of each name and code -> the code."""
    _library()
    entries = importlib.import_module(f"{PACKAGE}.registry").COUNTRIES.values()
    return {_letters(name): entry[1] for entry in entries for name in entry}


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text)).lower()


def _library() -> ModuleType:
    """The package. Raises PipelineError that says how to install it."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise PipelineError(
            f"public holidays need the package {PACKAGE!r}, which cannot be imported: {error}",
            where="[time]",
            hint=f"Install it with {INSTALL}, or remove the countries from [time] in the spec.",
        ) from error
