"""Raw columns -> typed feature columns, by one recipe per column, which also types new rows.

Must not know: targets, ids, or what is learned from the values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.competition.tables.reading import (
    LARGEST,
    MISSING_MARKERS,
    TOO_LARGE,
    RawTable,
    as_written,
    first_true,
    is_text,
    numbers_of,
)
from pipeline.config.spec import Columns
from pipeline.config.types import Role

Kind = Literal["number", "flag", "category", "code", "ordered", "date", "text"]

MIN_NUMBER_SHARE = 0.95  # a column with at least this share of numbers is numeric; other texts in it are mistakes
FLAG_WORDS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
DATE_PARTS = ("year", "month", "day", "weekday", "hour", "elapsed_days")
DATE_FORMATS = (  # tried in this order: ISO, then month before day, as in most of Kaggle's files
    ["ISO8601"]
    + [f"{date}{time}" for date in ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d") for time in ("", " %H:%M", " %H:%M:%S")]
    + ["%m/%d/%y", "%d.%m.%Y", "%d-%m-%Y", "%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y"]
    + ["%m/%d/%Y %I:%M:%S %p", "%a %b %d %H:%M:%S %Y"]
)
EPOCH = pd.Timestamp("1970-01-01")


@dataclass(frozen=True)
class ColumnRecipe:
    """How one raw column becomes the columns `features`.

    A flag is True/False text, which becomes 1/0; a code is a category written with digits.
    """

    source: str
    kind: Kind
    features: list[str]
    levels: list[str] = field(default_factory=list)
    date_format: str = ""
    na_is_category: bool = False

    @property
    def role(self) -> Role:
        """The role of the feature columns."""
        roles: dict[Kind, Role] = {"category": "category", "code": "category", "ordered": "ordered", "text": "text"}
        return roles.get(self.kind, "number")

    @property
    def markers(self) -> frozenset[str]:
        """The texts that mark a missing value in this column."""
        return frozenset([""]) if self.na_is_category else MISSING_MARKERS


def decide_recipe(name: str, tables: list[RawTable], columns: Columns) -> ColumnRecipe:
    """The recipe of one column: set by the spec, or else inferred from its values in all `tables`."""
    keeps_na = name in columns.na_is_category
    if name in columns.dates:
        features = [f"{name}_{part}" for part in DATE_PARTS]
        return ColumnRecipe(name, "date", features, date_format=date_format_of([t.column(name) for t in tables])[0])
    if name in columns.texts:
        return ColumnRecipe(name, "text", [name], na_is_category=keeps_na)
    if name in columns.ordered:
        return ColumnRecipe(name, "ordered", [name], levels=list(columns.ordered[name]), na_is_category=keeps_na)
    if name in columns.categories:
        return ColumnRecipe(name, "code", [name], na_is_category=keeps_na)
    kind: Kind = "category" if keeps_na else _kind_by_values([table.column(name) for table in tables])
    return ColumnRecipe(name, kind, [name], na_is_category=keeps_na)


def type_new_rows(raw: RawTable, recipes: Iterable[ColumnRecipe]) -> pd.DataFrame:
    """The rows of `raw`, in order, as typed features: float64 numbers, `str` categories, NaN for missing.

    Raises DataError for a missing column or a value that does not fit its column's type.
    """
    typed: dict[str, FloatArray | pd.Series] = {}
    for recipe in recipes:
        if recipe.source not in raw.frame.columns:
            raise DataError(
                f"there is no column {recipe.source!r}",
                where=raw.where(),
                hint=did_you_mean(recipe.source, raw.frame.columns),
            )
        for name, values in _apply(recipe, raw).items():
            if name in typed:
                raise DataError(f"two features would be named {name!r}", where=raw.where(recipe.source))
            typed[name] = values
    return pd.DataFrame(typed, index=pd.RangeIndex(len(raw.frame)))


def parse_dates(text: pd.Series, date_format: str) -> pd.Series:
    """Text as times without a zone, converted to UTC if it names one; NaT if missing or not in that format."""
    times = pd.to_datetime(as_written(text), format=date_format, errors="coerce", utc=True)
    return cast(pd.Series, times.dt.tz_localize(None))


def date_format_of(texts: list[pd.Series]) -> tuple[str, float]:
    """The first format that parses the most values, and the share it parses."""
    best, best_share = DATE_FORMATS[0], 0.0
    n_values = sum(int(text.notna().sum()) for text in texts)
    for date_format in DATE_FORMATS:
        n_read = sum(int(parse_dates(text, date_format).notna().sum()) for text in texts)
        if n_read / max(n_values, 1) > best_share:
            best, best_share = date_format, n_read / n_values
        if best_share == 1.0:
            break
    return best, best_share


def _kind_by_values(parts: list[pd.Series]) -> Kind:
    """Number, flag or category; texts among numbers are reported when the column is typed."""
    n_present = sum(int(part.notna().sum()) for part in parts)
    if not any(is_text(part) for part in parts) or n_present == 0:
        return "number"
    numbers = np.concatenate([numbers_of(part) for part in parts])
    n_numbers = int((~np.isnan(numbers)).sum())
    n_flags = sum(int(part.isin(list(FLAG_WORDS)).sum()) for part in parts if is_text(part))
    if n_flags and n_flags + n_numbers == n_present and np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
        return "flag"
    return "number" if n_numbers >= MIN_NUMBER_SHARE * n_present else "category"


def _apply(recipe: ColumnRecipe, raw: RawTable) -> dict[str, FloatArray | pd.Series]:
    series = raw.column(recipe.source, markers=recipe.markers)
    if recipe.kind == "date":
        return _dates(recipe, raw, series)
    if recipe.kind in ("number", "flag"):
        return {recipe.features[0]: _numbers(recipe, raw, series)}
    text = as_written(series).astype(TEXT)
    if recipe.kind in ("code", "ordered"):
        text = _without_zero_fraction(text)
    if recipe.kind == "ordered":
        _refuse_unknown_levels(recipe, raw, text)
    return {recipe.features[0]: text}


def _numbers(recipe: ColumnRecipe, raw: RawTable, series: pd.Series) -> FloatArray:
    numbers = numbers_of(series)
    present = series.notna().to_numpy()
    if recipe.kind == "flag" and is_text(series):
        flags = series.map(FLAG_WORDS).to_numpy(dtype=np.float64)
        numbers = np.where(np.isnan(flags), numbers, flags)
    if recipe.kind == "flag":
        wrong, expected = present & ~np.isin(numbers, (0.0, 1.0)), "True or False"
    else:
        wrong, expected = present & ~(np.abs(numbers) <= LARGEST), "a finite number"
    if (row := first_true(wrong)) is not None:
        more = f" ({int(wrong.sum())} such values)" if wrong.sum() > 1 else ""
        if recipe.kind == "number" and np.isfinite(numbers[row]):
            raise DataError(
                f"{_shown(series.iloc[row])} is {TOO_LARGE}{more}",
                where=raw.where(recipe.source, row),
                hint=f"Correct the value, leave the cell empty, or list {recipe.source!r} in columns.drop of the spec.",
            )
        raise DataError(
            f"{_shown(series.iloc[row])} is not {expected}, unlike most of the column{more}",
            where=raw.where(recipe.source, row),
            hint=f"Correct the value. If {recipe.source!r} is a category, list it in columns.categories of the spec.",
        )
    return numbers


def _dates(recipe: ColumnRecipe, raw: RawTable, series: pd.Series) -> dict[str, FloatArray | pd.Series]:
    times = parse_dates(series, recipe.date_format)
    wrong = (times.isna() & series.notna()).to_numpy()
    if (row := first_true(wrong)) is not None:
        example = next((str(v) for v in series[~wrong].dropna().head(1)), "2011-01-31 23:00:00")
        raise DataError(
            f"{_shown(series.iloc[row])} is not a date like {example!r}",
            where=raw.where(recipe.source, row),
            hint=f"Correct the value, or remove {recipe.source!r} from columns.dates in the spec.",
        )
    parts = {
        "year": times.dt.year,
        "month": times.dt.month,
        "day": times.dt.day,
        "weekday": times.dt.day_of_week,
        "hour": times.dt.hour,
        "elapsed_days": (times - EPOCH) / pd.Timedelta(days=1),
    }
    named = {f"{recipe.source}_{part}": values.to_numpy(dtype=np.float64) for part, values in parts.items()}
    return {name: values for name, values in named.items() if name in recipe.features}


def _without_zero_fraction(text: pd.Series) -> pd.Series:
    """`20.0` as `20`: pandas writes whole numbers so if some are missing."""
    fractions = text.str.match(r"^-?\d+\.0+$")
    return text.mask(fractions.eq(True), text.str.replace(r"\.0+$", "", regex=True))


def _refuse_unknown_levels(recipe: ColumnRecipe, raw: RawTable, text: pd.Series) -> None:
    if (row := first_true(text.notna() & ~text.isin(recipe.levels))) is not None:
        raise DataError(
            f"{_shown(text.iloc[row])} is not among its levels in columns.ordered of the spec",
            where=raw.where(recipe.source, row),
            hint=did_you_mean(str(text.iloc[row]), recipe.levels),
        )


def _shown(value: Any) -> str:
    """The value as the file has it."""
    return repr(value) if isinstance(value, str) else str(value)
