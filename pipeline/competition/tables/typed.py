"""Raw columns -> typed feature columns, by one recipe per column, which also types new rows.

Must not know: targets, ids, how a recipe is decided, or what is learned from the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.progress import progress_bar
from pipeline.base.text import TEXT
from pipeline.competition.tables.dates import DATE_PARTS, date_parts, parse_dates
from pipeline.competition.tables.markers import are_markers
from pipeline.competition.tables.notations import PLAIN, Notation
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
from pipeline.config.types import Role

Kind = Literal["number", "flag", "category", "code", "ordered", "date", "text"]

FLAG_WORDS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}


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
    missing: list[str] = field(default_factory=list)  # more texts or numbers that mark a missing cell
    notation: Notation = PLAIN  # of a number
    is_stripped: bool = False  # blanks around the levels of a category are left out

    @property
    def role(self) -> Role:
        """The role of the feature columns."""
        roles: dict[Kind, Role] = {"category": "category", "code": "category", "ordered": "ordered", "text": "text"}
        return roles.get(self.kind, "number")

    @property
    def markers(self) -> frozenset[str]:
        """The texts that mark a missing value in this column."""
        return frozenset([""]) if self.na_is_category else MISSING_MARKERS

    def cells(self, raw: RawTable) -> pd.Series:
        """The raw column, with NaN for missing cells."""
        series = raw.column(self.source, markers=self.markers)
        if is_text(series) and self.is_stripped:
            series = series.str.strip()
            series = series.mask(series.isin(self.markers))
        if not self.missing:
            return series
        if is_text(series):
            return series.mask(series.str.strip().isin([text.strip() for text in self.missing]))
        return series.mask(series.isin(self.missing_numbers))

    @property
    def missing_numbers(self) -> FloatArray:
        """The numbers among `missing`."""
        numbers = numbers_of(pd.Series(self.missing, dtype=TEXT))
        return numbers[~np.isnan(numbers)]


def type_new_rows(raw: RawTable, recipes: Iterable[ColumnRecipe], *, has_other_levels: bool = False) -> pd.DataFrame:
    """The rows of `raw`, in order, as typed features: float64 numbers, `str` categories, NaN for missing.

    `has_other_levels`: an ordered category may have levels that the spec does not know, which models read as unseen.
    Raises DataError for a missing column or a value that does not fit its column's type.
    """
    recipes = list(recipes)
    if not mapped.is_large(len(raw.frame), len(recipes)):
        typed = dict(_typed(raw, recipes, has_other_levels=has_other_levels))
        return pd.DataFrame(typed, index=pd.RangeIndex(len(raw.frame)))
    file, sources = mapped.ColumnFile(raw.path.parent), [recipe.source for recipe in recipes for _ in recipe.features]
    with progress_bar(f"typing {raw.path.name}") as update:
        for number, (name, values) in enumerate(_typed(raw, recipes, has_other_levels=has_other_levels), start=1):
            file.add(name, pd.Series(values, copy=False))
            mapped.release()
            update(number / len(sources), f"{sources[number - 1]!r}, {len(raw.frame):,} rows")
    return file.frame()


def _typed(
    raw: RawTable, recipes: Iterable[ColumnRecipe], *, has_other_levels: bool
) -> Iterator[tuple[str, FloatArray | pd.Series]]:
    """The name and values of each feature."""
    names = set[str]()
    for recipe in recipes:
        if recipe.source not in raw.frame.columns:
            raise DataError(
                f"there is no column {recipe.source!r}",
                where=raw.where(),
                hint=did_you_mean(recipe.source, raw.frame.columns),
            )
        for name, values in _apply(recipe, raw, has_other_levels=has_other_levels).items():
            if name in names:
                raise DataError(f"two features would be named {name!r}", where=raw.where(recipe.source))
            names.add(name)
            yield name, values


def _apply(recipe: ColumnRecipe, raw: RawTable, *, has_other_levels: bool) -> dict[str, FloatArray | pd.Series]:
    series = recipe.cells(raw)
    if recipe.kind == "date":
        return _dates(recipe, raw, series)
    if recipe.kind in ("number", "flag"):
        return {recipe.features[0]: _numbers(recipe, raw, series)}
    text = as_written(series).astype(TEXT)
    if recipe.kind in ("code", "ordered"):
        text = without_zero_fraction(text)
    if recipe.kind == "ordered" and not has_other_levels:
        _refuse_unknown_levels(recipe, raw, text)
    return {recipe.features[0]: text}


def _numbers(recipe: ColumnRecipe, raw: RawTable, series: pd.Series) -> FloatArray:
    numbers = recipe.notation.read(series)
    present = series.notna().to_numpy()
    if recipe.missing:
        is_missing = np.isin(numbers, recipe.missing_numbers)
        numbers, present = np.where(is_missing, np.nan, numbers), present & ~is_missing
    if recipe.kind == "flag" and is_text(series):
        flags = series.map(FLAG_WORDS).to_numpy(dtype=np.float64)
        numbers = np.where(np.isnan(flags), numbers, flags)
    if recipe.kind == "flag":
        wrong, expected = present & ~np.isin(numbers, (0.0, 1.0)), "True or False"
    else:
        wrong, expected = present & ~(np.abs(numbers) <= LARGEST), "a finite number"
    wrong = _without_markers(recipe, series, wrong)
    if (row := first_true(wrong)) is not None:
        more = f" ({int(wrong.sum())} such values)" if wrong.sum() > 1 else ""
        listed = f"[columns.missing] {recipe.source!r} = [{str(series.iloc[row])!r}] in the spec reads it as missing"
        if recipe.kind == "number" and np.isfinite(numbers[row]):
            raise DataError(
                f"{_shown(series.iloc[row])} is {TOO_LARGE}{more}",
                where=raw.where(recipe.source, row),
                hint=f"Correct the value, leave the cell empty, or list {recipe.source!r} in columns.drop; {listed}.",
            )
        raise DataError(
            f"{_shown(series.iloc[row])} is not {expected}, unlike most of the column{more}",
            where=raw.where(recipe.source, row),
            hint=f"Correct the value; {listed}. If {recipe.source!r} is a category, list it in columns.categories.",
        )
    return numbers


def _dates(recipe: ColumnRecipe, raw: RawTable, series: pd.Series) -> dict[str, FloatArray | pd.Series]:
    times = parse_dates(series, recipe.date_format)
    wrong = _without_markers(recipe, series, (times.isna() & series.notna()).to_numpy())
    if (row := first_true(wrong)) is not None:
        example = next((str(v) for v in series[times.notna()].head(1)), "2011-01-31 23:00:00")
        raise DataError(
            f"{_shown(series.iloc[row])} is not a date like {example!r}",
            where=raw.where(recipe.source, row),
            hint=f"Correct the value, or remove {recipe.source!r} from columns.dates in the spec.",
        )
    parts = date_parts(times)
    return {name: parts[part_of(name)] for name in recipe.features}


def part_of(feature: str) -> str:
    """Which of DATE_PARTS a feature of a date is."""
    return next(part for part in DATE_PARTS if feature.endswith(f"_{part}"))


def _without_markers(recipe: ColumnRecipe, series: pd.Series, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The wrong cells that do not stand for a missing one."""
    if not wrong.any() or not is_text(series):
        return wrong
    rows = np.flatnonzero(wrong)
    is_marker = are_markers(series.iloc[rows], of_dates=recipe.kind == "date").to_numpy(dtype=np.bool_)
    wrong = wrong.copy()
    wrong[rows[is_marker]] = False
    return wrong


def without_zero_fraction(text: pd.Series) -> pd.Series:
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
