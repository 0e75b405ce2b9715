"""Dates as texts or numbers: how a column writes them, and the parts that models see.

Must not know: files, the spec, or which column is a date.
"""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.competition.tables.reading import as_written, numbers_of

DATE_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second", "elapsed_days")
EPOCH = pd.Timestamp("1970-01-01")
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DATE_FORMATS = (  # tried in this order: ISO, then month before day, as in most of Kaggle's files
    ["ISO8601"]
    + [f"{date}{time}" for date in ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d") for time in TIMES]
    + [f"{date}{time}" for date in ("%d.%m.%Y", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y") for time in TIMES[:3]]
    + [f"{date}{time}" for date in ("%m/%d/%y", "%d/%m/%y", "%d-%m-%y", "%y-%m-%d") for time in TIMES[:3]]
    + ["%m-%d-%y", "%y/%m/%d", "%d.%m.%y", "%m/%Y", "%Y/%m", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %H:%M:%S %Z"]
    + ["%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%d%b%Y:%H:%M:%S", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%b %d, %Y"]
    + ["%B %d, %Y", "%B %d %Y", "%A, %B %d, %Y", "%A, %d %B %Y", "%a, %d %b %Y", "%a, %d %b %Y %H:%M:%S %z"]
    + ["%b-%Y", "%b-%y", "%y-%b", "%b %Y", "%B %Y", "%B-%Y", "%Y-%b", "%Y %b", "%Y %B"]
    + ["%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z"]
)
QUARTER = "quarter"  # 2010Q3, Q3 2010
QUARTERS = (r"^(?P<year>\d{4})[-_/ ]?[Qq](?P<quarter>[1-4])$", r"^[Qq](?P<quarter>[1-4])[-_/ ]?(?P<year>\d{4})$")
DIGITS = {8: "%Y%m%d", 6: "%Y%m", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S", 4: "%Y"}  # by their number
UNITS = {"epoch_s": 1e8, "epoch_ms": 1e11, "epoch_us": 1e14, "epoch_ns": 1e17}  # -> the smallest number, of 1973
EXCEL, EXCEL_DAYS = "excel", (25_569, 73_051)  # days since 1899-12-30, from 1970 to 2099
TOLD = {
    **{unit: f"{unit.removeprefix('epoch_')} since 1970" for unit in UNITS},
    EXCEL: "days since 1899-12-30, as in Excel",
    QUARTER: "quarters",
}
N_SAMPLED, N_TRIED = 1_000, 20  # distinct cells; the first few rule out most formats
MIN_SAMPLE_SHARE = 0.9
USUAL_YEARS = (1900, 2100)


def parse_dates(text: pd.Series, date_format: str) -> pd.Series:
    """Text as times without a zone, converted to UTC if it names one; NaT if missing or not in that format."""
    if date_format in UNITS or date_format == EXCEL:
        numbers = pd.Series(numbers_of(text), index=text.index)
        if date_format == EXCEL:
            return _times(numbers, unit="D", origin="1899-12-30")
        return _times(numbers.where(numbers.abs() < 1e19), unit=date_format.removeprefix("epoch_"))
    written = as_written(text)
    if date_format == QUARTER:
        written, date_format = _first_months(written), "%Y-%m"
    return _times(written, format=date_format)


def date_format_of(texts: list[pd.Series]) -> tuple[str, float]:
    """The first format that parses the most values, and the share it parses; a sample rules out most formats."""
    sample = _sampled(texts)
    if not len(sample):
        return DATE_FORMATS[0], 0.0
    shares: dict[str, float] = {}
    for date_format in _possible(sample):
        few = parse_dates(sample.head(N_TRIED), date_format).notna().mean()
        share = float(parse_dates(sample, date_format).notna().mean()) if few > 0.5 else 0.0
        if share > 0:
            shares[date_format] = share
        if share == 1.0 and "%y" not in date_format and not date_format.startswith(("%m/%d", "%d/%m")):
            break
    best, best_share = DATE_FORMATS[0], 0.0
    n_values = sum(int(text.notna().sum()) for text in texts)
    for date_format in sorted(shares, key=lambda one: (-shares[one], _years(sample, one))):
        if shares[date_format] < MIN_SAMPLE_SHARE * max(shares.values()):
            break
        n_read = sum(int(parse_dates(text, date_format).notna().sum()) for text in texts)
        if n_read / n_values > best_share:
            best, best_share = date_format, n_read / n_values
        if best_share == 1.0:
            break
    return best, best_share


def number_format_of(texts: list[pd.Series]) -> str | None:
    """The format of whole numbers that may be dates: `20060826`, seconds since 1970; None if they cannot.

    Other numbers are in these ranges, too: the column's name must tell.
    """
    sample = _sampled(texts)
    numbers = numbers_of(sample)
    if not len(sample) or not (numbers == np.round(numbers)).all():
        return None
    for date_format in _of_numbers(sample):
        if date_format == EXCEL or date_format == "%Y":  # may be any number
            continue
        times = parse_dates(sample, date_format)
        if times.notna().all() and times.dt.year.between(*USUAL_YEARS).all():
            return date_format
    return None


def date_parts(times: pd.Series) -> dict[str, FloatArray]:
    """DATE_PARTS of each time, NaN for missing."""
    parts = {
        "year": times.dt.year,
        "month": times.dt.month,
        "day": times.dt.day,
        "weekday": times.dt.day_of_week,
        "hour": times.dt.hour,
        "minute": times.dt.minute,
        "second": times.dt.second + times.dt.microsecond / 1e6,
        "elapsed_days": (times - EPOCH) / pd.Timedelta(days=1),
    }
    return {name: values.to_numpy(dtype=np.float64) for name, values in parts.items()}


def _sampled(texts: list[pd.Series]) -> pd.Series:
    """Some distinct values as text, from everywhere in the columns."""
    strided = [text.dropna().iloc[:: max(1, len(text) // (4 * N_SAMPLED))] for text in texts]
    return pd.concat([as_written(part) for part in strided], ignore_index=True).drop_duplicates().head(N_SAMPLED)


def _possible(sample: pd.Series) -> list[str]:
    """The formats whose signs occur in the first text, or those of numbers."""
    if not np.isnan(numbers_of(sample)).any():
        return [*_of_numbers(sample), "ISO8601"]
    if sample.str.match("|".join(QUARTERS)).mean() > MIN_SAMPLE_SHARE:
        return [QUARTER]
    first = str(sample.iloc[0])
    return [one for one in DATE_FORMATS if set(re.sub(r"%.|\s|ISO8601", "", one)) <= set(first)]


def _of_numbers(sample: pd.Series) -> list[str]:
    numbers = numbers_of(sample)
    lengths = sample.str.len().unique()
    formats = [DIGITS[int(lengths[0])]] if len(lengths) == 1 and int(lengths[0]) in DIGITS else []
    low, high = float(numbers.min()), float(numbers.max())
    formats += [unit for unit, smallest in UNITS.items() if smallest <= low and high <= 100 * smallest]
    return formats + ([EXCEL] if EXCEL_DAYS[0] <= low and high <= EXCEL_DAYS[1] else [])


def _years(sample: pd.Series, date_format: str) -> int:
    """How many years a format with years of two digits reads: of several that fit, the one with the fewest is right."""
    return int(parse_dates(sample, date_format).dt.year.nunique()) if "%y" in date_format else 0


def _first_months(text: pd.Series) -> pd.Series:
    found = text.str.extract(QUARTERS[0]).fillna(text.str.extract(QUARTERS[1]))
    months = 3 * pd.to_numeric(found["quarter"], errors="coerce") - 2
    written: pd.Series = found["year"] + "-" + months.astype("Int64").astype(TEXT).str.zfill(2)
    return written.where(months.notna())


def _times(values: pd.Series, **how: Any) -> pd.Series:
    times = pd.to_datetime(values, errors="coerce", utc=True, **how)
    return cast(pd.Series, times.dt.tz_localize(None))
