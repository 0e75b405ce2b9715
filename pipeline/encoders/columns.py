"""The fitted state of one column: scaling of a number; levels of a category, their target means and counts.

Knows one column's fit rows; must not know folds, files or models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.config.run import FeatureSteps
from pipeline.encoders.encoded import FIRST_LEVEL_CODE, MISSING_CODE, UNSEEN_CODE, View

RARE = "(rare)"
MADE = ("_missing", "_target_", ".", "=")  # what follows a column's name in the names of columns made from it
PRIOR_ROWS = 10.0  # weight, in rows, of the overall mean that target means of levels are shrunk towards


class Fitted(BaseModel):
    """Fitted state: immutable, stored as JSON."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


class FittedColumn(Fitted):
    """What was learned from one column."""

    name: str
    stem: str | None = None  # what the names of columns made from it begin with, if not its name; see `stems_of`

    @property
    def prefix(self) -> str:
        """What the names of columns made from it begin with."""
        return self.name if self.stem is None else self.stem


class NumberColumn(FittedColumn):
    """A numeric column, or an ordered one read as the positions of its levels."""

    levels: list[str] | None = None
    is_log1p: bool = False
    centre: float
    scale: float
    offset: float = 0.0  # subtracted from unscaled numbers that float32 would make equal
    has_indicator: bool = False
    is_linear: bool = False  # no value is bent or clipped, as those of the target and of embeddings are not

    def raw(self, frame: pd.DataFrame) -> FloatArray:
        """(rows,) numbers before scaling, NaN for missing."""
        column = frame[self.name]
        if self.levels is not None:
            codes = level_codes(column, self.levels)
            values = np.where(codes >= 0, codes, np.nan)
        else:
            values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return cast(FloatArray, np.sign(values) * np.log1p(np.abs(values))) if self.is_log1p else values

    @classmethod
    def fit(
        cls,
        name: str,
        levels: list[str] | None,
        steps: FeatureSteps,
        frame: pd.DataFrame,
        stem: str | None = None,
        *,
        is_linear: bool = False,
    ) -> NumberColumn:
        """Learn from the fit rows; `levels`: those of an ordered column, lowest first."""
        column = cls(name=name, stem=stem, levels=levels, centre=0.0, scale=1.0, is_linear=is_linear)
        values = column.raw(frame)
        if steps.log1p_skewed is not None and levels is None and not is_linear:
            skew = cast(float, pd.Series(values, dtype=np.float64).skew())
            if abs(skew) > steps.log1p_skewed:
                column = column.model_copy(update={"is_log1p": True})
                values = column.raw(frame)
        has_indicator = steps.missing_indicators and bool(np.isnan(values).any())
        if steps.scaling == "pixels":  # `on_one_scale` scales them
            return column.model_copy(update={"has_indicator": has_indicator})
        known = pd.Series(values[~np.isnan(values)])
        if steps.scaling == "none":
            column = column.model_copy(update={"offset": _offset_of(values[~np.isnan(values)])})
        centre = float(known.mean()) if len(known) else 0.0
        is_constant = not len(known) or bool(
            (known == known.iloc[0]).all()
        )  # rounding can make the deviation of equal numbers positive
        scale = 0.0 if is_constant else float(known.std())
        if steps.scaling == "robust" and len(known) and not is_linear:
            quarter, centre, three_quarters = (float(q) for q in known.quantile([0.25, 0.5, 0.75]))
            spread = three_quarters - quarter
            scale = spread if spread > 0 else float(known.max() - known.min()) / 2.0
        update = {"centre": centre, "scale": scale if scale > 0 else 1.0, "has_indicator": has_indicator}
        return column.model_copy(update=update)


class CategoryColumn(FittedColumn):
    """A category: the levels of the fit rows, sorted; with `pools_rare`, the last level is `(rare)`."""

    vocabulary: list[str]
    pools_rare: bool = False

    def read(self, frame: pd.DataFrame) -> NDArray[np.intp]:
        """(rows,) codes as in `Encoded`."""
        codes = level_codes(frame[self.name], self.vocabulary) + FIRST_LEVEL_CODE
        rare = FIRST_LEVEL_CODE + len(self.vocabulary) - 1
        codes[codes < FIRST_LEVEL_CODE] = rare if self.pools_rare else UNSEEN_CODE
        codes[frame[self.name].isna().to_numpy()] = MISSING_CODE
        return codes

    @classmethod
    def fit(
        cls, name: str, view: View, steps: FeatureSteps, frame: pd.DataFrame, stem: str | None = None
    ) -> CategoryColumn:
        """Learn the levels of the fit rows."""
        most = steps.max_levels if view == "onehot" else len(frame)
        counts = frame[name].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        kept = [str(level) for level in counts.index[counts >= max(steps.rare_min_count, 1)][:most]]
        pools_rare = steps.rare_min_count > 0 or len(counts) > most
        kept = [level for level in kept if not (pools_rare and level == RARE)]  # a level of this name is pooled, too
        return cls(name=name, stem=stem, vocabulary=sorted(kept) + [RARE] * pools_rare, pools_rare=pools_rare)


class TargetMeans(FittedColumn):
    """Shrunk target means of a category's levels in the fit rows: (outputs,) per level."""

    prior: list[float]
    means: dict[str, list[float]]

    @property
    def columns(self) -> list[str]:
        """The names of the encoded columns."""
        return [f"{self.prefix}_target_{output}" for output in range(len(self.prior))]

    def read(self, column: pd.Series) -> FloatArray:
        """(rows, outputs) means; the prior for missing and unseen levels."""
        table = np.array([*self.means.values(), self.prior], dtype=np.float64)
        by_row: FloatArray = table[level_codes(column, list(self.means))]  # -1: the last row
        return by_row

    @classmethod
    def fit(cls, name: str, levels: pd.Series, target: FloatArray, stem: str | None = None) -> TargetMeans:
        """Learn from (rows,) levels and (rows, outputs) target."""
        prior = target.mean(axis=0)
        table = pd.DataFrame(target).groupby(levels.to_numpy(dtype=object), dropna=True)
        sums, counts = table.sum(), table.size().to_numpy()[:, None]
        means = (sums.to_numpy() + PRIOR_ROWS * prior) / (counts + PRIOR_ROWS)
        by_level = {str(level): row for level, row in zip(sums.index, means.tolist(), strict=True)}
        return cls(name=name, stem=stem, prior=prior.tolist(), means=by_level)


class LevelCounts(FittedColumn):
    """The number of fit rows with each level of a category or text key."""

    counts: dict[str, int]

    @property
    def column(self) -> str:
        """The name of the encoded column."""
        return f"{self.prefix.removesuffix('.key')}.count"

    def read(self, column: pd.Series, *, is_counted: bool) -> FloatArray:
        """(rows,) counts of each row's level, the row itself included; NaN for missing.

        `is_counted`: the rows were among the fit rows.
        """
        table = np.array([*self.counts.values(), 0], dtype=np.float64)
        found = np.maximum(table[level_codes(column, list(self.counts))] + float(not is_counted), 1.0)
        return np.where(column.isna().to_numpy(), np.nan, found)

    @classmethod
    def fit(cls, name: str, column: pd.Series, stem: str | None = None) -> LevelCounts:
        """Count the levels of the fit rows."""
        levels = column.value_counts().sort_index()
        return cls(name=name, stem=stem, counts={str(level): int(count) for level, count in levels.items()})


def stems_of(names: Iterable[str]) -> dict[str, str]:
    """Columns -> what the names of columns made from them begin with, if it cannot be their own name.

    With columns `a` and `a_missing`, the indicator of `a` is called `a'_missing`.
    """
    known = set(names)
    begun = {name[: found.start()] for name in known for found in re.finditer("|".join(map(re.escape, MADE)), name)}
    stems: dict[str, str] = {}
    for name in sorted(known & begun):
        stem = name
        while stem in begun or stem in known or stem in stems.values():
            stem += "'"
        stems[name] = stem
    return stems


def _offset_of(values: FloatArray) -> float:
    """What to subtract so that numbers far from 0, such as seconds since 1970, stay distinct in float32; usually 0."""
    if not len(values) or np.abs(values).max() <= 2.0 * np.ptp(values):
        return 0.0
    rounded = values.astype(np.float32)
    if (rounded == values).all() or len(np.unique(rounded)) == len(np.unique(values)):
        return 0.0
    return float(np.floor(np.median(values)))


def on_one_scale(numbers: list[NumberColumn], frame: pd.DataFrame) -> list[NumberColumn]:
    """Scale all columns by the largest magnitude among them; 0 stays 0."""
    highest = max((float(np.nan_to_num(np.abs(number.raw(frame))).max(initial=0.0)) for number in numbers), default=0.0)
    return [number.model_copy(update={"centre": 0.0, "scale": highest or 1.0}) for number in numbers]


def level_codes(column: pd.Series, levels: list[str]) -> NDArray[np.intp]:
    """(rows,) position of each value in `levels`; -1 for missing and other values."""
    texts, known = (pa.array(values, type=pa.large_string()) for values in (column.astype(TEXT), levels))
    found = pc.fill_null(pc.index_in(texts, value_set=known, skip_nulls=True), -1)
    codes: NDArray[np.intp] = found.to_numpy(zero_copy_only=False).astype(np.intp)
    return codes
