"""How the numbers of a column are written as texts: separators, signs of currencies, units, durations, times of day.

Knows texts only; must not know columns or files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.competition.tables.reading import is_text, numbers_of

Form = Literal["number", "magnitude", "duration", "clock"]

MIN_SHARE = 0.95  # of the cells, which must be written alike
MIN_DISTINCT_SHARE = 0.8  # of the distinct texts: what is one of five levels is no mistake
WHOLE = r"(?:0|[1-9]\d*)"
BLANK = " \u00a0\u202f\u2009"
STYLES = {  # an example -> separator of thousands, decimal sign, pattern; tried in this order
    "1234.5": ("", ".", rf"{WHOLE}(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+"),
    "1,234.5": (",", ".", rf"[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}(?:\.\d*)?|{WHOLE}(?:\.\d*)?|\.\d+"),
    "1.234,5": (".", ",", rf"[1-9]\d{{0,2}}(?:\.\d{{3}})+(?:,\d*)?|{WHOLE}(?:,\d*)?|,\d+"),
    "1 234.5": (BLANK, ".", rf"[1-9]\d{{0,2}}(?:[{BLANK}]\d{{3}})+(?:\.\d*)?|{WHOLE}(?:\.\d*)?"),
    "1 234,5": (BLANK, ",", rf"[1-9]\d{{0,2}}(?:[{BLANK}]\d{{3}})+(?:,\d*)?|{WHOLE}(?:,\d*)?"),
    "1'234.5": ("'’", ".", rf"[1-9]\d{{0,2}}(?:['’]\d{{3}})+(?:\.\d*)?|{WHOLE}(?:\.\d*)?"),
}
CURRENCY = (
    r"(?:US|R|C|CA|A|AU|HK|S|NT|NZ)?\$|[€£¥₹₽₩₺₫₱฿₴₦₪]|Rs\.?|kr\.?|zł"
    r"|USD|EUR|GBP|JPY|CHF|INR|CAD|AUD|BRL|CNY|RUB|SEK|NOK|DKK|PLN|CZK|HUF|MXN|ZAR|SGD|HKD|KRW|TRY"
)
UNIT = r"[^\d\s()'.,+-][^\d()]{0,14}|\+"
CELL = re.compile(rf"(\()?\s*[-+−]?\s*({CURRENCY})?\s*[-+−]?((?:\d|[.,]\d)(?:[\d.,'’{BLANK}]*[\d.])?)\s*({UNIT})?(\))?")
MAGNITUDES = {"k": 1e3, "m": 1e6, "mn": 1e6, "mm": 1e6, "b": 1e9, "bn": 1e9, "t": 1e12}
DAYS = {  # of a unit of time, and how it is written
    "year": (365.25, r"y|yrs?|years?"),
    "month": (365.25 / 12, r"mos?|mths?|months?"),
    "week": (7.0, r"w|wks?|weeks?"),
    "day": (1.0, r"d|days?"),
    "hour": (1 / 24, r"h|hrs?|hours?"),
    "minute": (1 / 1440, r"mins?|minutes?"),
    "second": (1 / 86400, r"s|secs?|seconds?"),
}
TIME_SPAN = r"\d+(?:\.\d+)?\s*(?:" + "|".join(written for _, written in DAYS.values()) + ")"
DURATION = rf"(?i)^[+-]?{TIME_SPAN}(?:(?:\s*,?\s*|\s+and\s+){TIME_SPAN})*$"
CLOCK = (
    r"^(?P<sign>-)?(?:(?P<days>-?\d+) days?,? )?(?P<hours>\d{1,3}):(?P<minutes>[0-5]\d)"
    r"(?::(?P<seconds>[0-5]\d(?:\.\d+)?))?(?P<half>\s?[AaPp]\.?[Mm]\.?)?$"
)


@dataclass(frozen=True)
class Notation:
    """How a column writes its numbers. The default is that of plain numbers."""

    form: Form = "number"
    style: str = "1234.5"  # a key of STYLES
    currency: str = ""
    unit: str = ""  # without the `s` of a plural

    @property
    def is_plain(self) -> bool:
        """Whether the numbers are written as Python writes them."""
        return self == PLAIN

    @property
    def told(self) -> str:
        """What the user is told of it."""
        if self.form == "duration":
            return "durations, in days"
        if self.form == "clock":
            return "times, in hours"
        thousands, decimal, _ = STYLES[self.style]
        parts = [f"in {self.currency or self.unit!r}"] if self.currency or self.unit else []
        parts += [f"thousands separated by {thousands[0]!r}"] if thousands not in ("", ".") else []
        parts += ["decimal commas"] if decimal == "," else []
        parts += ["K, M and B for thousands, millions and billions"] if self.form == "magnitude" else []
        return f"numbers ({', '.join(parts)})" if parts else "numbers"

    def read(self, text: pd.Series) -> FloatArray:
        """The numbers, as float64; NaN for missing and for what is not written so."""
        if self.is_plain or not is_text(text):
            return numbers_of(text)
        encoded = pc.utf8_trim_whitespace(pa.array(text, type=pa.large_string())).dictionary_encode()
        distinct = {"duration": _durations, "clock": _clock_times}.get(self.form, self._numbers)(encoded.dictionary)
        codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
        by_row: FloatArray = np.append(distinct, np.nan)[codes]
        return by_row

    def _numbers(self, text: Any) -> FloatArray:
        """Distinct texts, as an array of Arrow, as numbers."""
        thousands, decimal, body = STYLES[self.style]
        currency = f"(?:{re.escape(self.currency)})?" if self.currency else ""
        unit = f"(?:(?i:{re.escape(self.unit)})s?\\.?)?" if self.unit else ""
        if self.form == "magnitude":
            unit = f"(?P<power>(?i:{'|'.join(MAGNITUDES)}))?"
        start = rf"^(?P<open>\()?\s*(?P<sign>[-+−]?)\s*{currency}\s*(?P<inner>[-+−]?)"
        pattern = rf"{start}(?P<body>{body})\s*{unit}(?P<close>\))?$"
        found = pc.extract_regex(text, pattern)
        part = {name: pc.struct_field(found, name) for name in _names(found)}
        digits = part["body"]
        for sign in thousands:
            digits = pc.replace_substring(digits, sign, "")
        numbers = numbers_of(_series(pc.replace_substring(digits, ",", ".") if decimal == "," else digits))
        is_open, is_closed = (_series(part[name]).fillna("") != "" for name in ("open", "close"))
        minus = sum(_series(part[name]).isin(["-", "−"]).to_numpy(dtype=np.int64) for name in ("sign", "inner"))
        is_negative = (minus + is_open.to_numpy(dtype=np.int64)) % 2 == 1
        if self.form == "magnitude":
            numbers = numbers * _series(part["power"]).str.lower().map(MAGNITUDES).fillna(1.0).to_numpy()
        numbers = np.where(is_negative, -numbers, numbers)
        numbers[(is_open != is_closed).to_numpy()] = np.nan
        return numbers


PLAIN = Notation()


def find_notation(counts: Mapping[str, int]) -> Notation | None:
    """The notation of nearly all of these texts, given how often each occurs; None if there is none."""
    texts = {text.strip(): count for text, count in counts.items()}
    if all(re.fullmatch(r"[^\d]*", text) for text in texts):
        return None
    candidates = [*_affixed(texts), Notation(form="duration"), Notation(form="clock")]
    weights = np.array(list(texts.values()), dtype=np.float64)
    series = _series(pa.array(list(texts), type=pa.large_string()))
    for notation in candidates:
        is_read = ~np.isnan(notation.read(series))
        if weights[is_read].sum() >= MIN_SHARE * weights.sum() and is_read.mean() >= MIN_DISTINCT_SHARE:
            return notation
    return None


def _affixed(texts: Mapping[str, int]) -> list[Notation]:
    """Notations with the currency and unit of nearly all texts, in each style of digits that occurs."""
    cells = [(found, count) for text, count in texts.items() if (found := CELL.fullmatch(text))]
    total = sum(texts.values())
    n_zero = sum(count for cell, count in cells if not cell[2] and not cell[4] and not cell[3].strip("0., "))
    units: dict[tuple[str, str], int] = {}
    for cell, count in cells:
        if cell[2] or cell[4]:
            key = (cell[2] or "", (cell[4] or "").strip().lower().rstrip(".").removesuffix("s"))
            units[key] = units.get(key, 0) + count
    if not units:
        return [Notation(style=style) for style in [*STYLES][1:]]
    if {unit for _, unit in units} <= {"", *MAGNITUDES} and len({unit for _, unit in units}) > 1:
        currencies = {currency for currency, _ in units}
        return [Notation("magnitude", style, *currencies) for style in STYLES] if len(currencies) == 1 else []
    (currency, unit), most = max(units.items(), key=lambda item: item[1])
    if most + n_zero < MIN_SHARE * total:
        return []
    return [Notation("number", style, currency, unit) for style in STYLES]


def _durations(text: Any) -> FloatArray:
    """Days, of texts such as `2 years` or `1 h 30 min`."""
    days = np.zeros(len(text))
    for length, written in DAYS.values():
        amounts = pc.struct_field(pc.extract_regex(text, rf"(?i)(?P<n>\d+(?:\.\d+)?)\s*(?:{written})(?:$|[^a-z])"), "n")
        days += np.nan_to_num(numbers_of(_series(amounts))) * length
    is_duration = pc.match_substring_regex(text, DURATION).to_numpy(zero_copy_only=False).astype(bool)
    is_negative = pc.starts_with(text, "-").to_numpy(zero_copy_only=False).astype(bool)
    return np.where(is_duration, np.where(is_negative, -days, days), np.nan)


def _clock_times(text: Any) -> FloatArray:
    """Hours, of texts such as `01:30:00`, `9:30 PM` or `1 days 02:00:00`."""
    found = pc.extract_regex(text, CLOCK)
    part = {name: _series(pc.struct_field(found, name)) for name in _names(found)}
    hours, minutes = numbers_of(part["hours"]), numbers_of(part["minutes"])
    seconds, days = (np.nan_to_num(numbers_of(part[name])) for name in ("seconds", "days"))
    half = part["half"].str.strip().str.lower().str[0]
    hours = np.where(half.isin(["a", "p"]), hours % 12, hours) + 12.0 * (half == "p").to_numpy()
    total = hours + minutes / 60 + seconds / 3600
    times: FloatArray = np.where((part["sign"] == "-").to_numpy(), -total, total + 24 * days)
    return times


def _names(struct: Any) -> list[str]:
    return [struct.type.field(position).name for position in range(struct.type.num_fields)]


def _series(values: Any) -> pd.Series:
    series: pd.Series = values.to_pandas().astype(TEXT)
    return series
