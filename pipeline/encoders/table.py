"""Encoders: what is learned from the rows a model may see, and the numbers it turns a table into.

Knows typed frames (see `pipeline.competition.tables`) and column roles; knows nothing of folds, files or models. An
encoder is a pydantic model, so that it is stored as JSON and never as a pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.encoders.texts import TextColumn, fit_text

View = Literal["onehot", "ordinal"]

MISSING_CODE, UNSEEN_CODE, FIRST_LEVEL_CODE = 0, 1, 2
RARE = "(rare)"
SMOOTH_CLIP_AT = 3.0  # "Better by Default" (NeurIPS 2024), robust scaling + smooth clipping
PRIOR_ROWS = 10.0  # rows of the overall mean that a level's target mean is shrunk by
TARGET_ENCODING_FOLDS = 5


class _Fitted(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


class NumberColumn(_Fitted):
    """A numeric column, or an ordered one read as its level's number."""

    name: str
    levels: list[str] | None = None
    is_log1p: bool = False
    centre: float
    scale: float
    has_indicator: bool = False

    def raw(self, frame: pd.DataFrame) -> FloatArray:
        """(rows,) the column as numbers, missing as NaN, before scaling."""
        column = frame[self.name]
        if self.levels is not None:
            codes = _codes(column, self.levels)
            values = np.where(codes >= 0, codes, np.nan)
        else:
            values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return cast(FloatArray, np.sign(values) * np.log1p(np.abs(values))) if self.is_log1p else values


class CategoryColumn(_Fitted):
    """A category and the levels seen in the fit rows, sorted; with `pools_rare`, the last level is `(rare)`."""

    name: str
    vocabulary: list[str]
    pools_rare: bool = False

    def read(self, frame: pd.DataFrame) -> NDArray[np.intp]:
        """(rows,) codes as in `Encoded`."""
        is_missing = frame[self.name].isna().to_numpy()
        codes = _codes(frame[self.name], self.vocabulary) + FIRST_LEVEL_CODE
        last = FIRST_LEVEL_CODE + len(self.vocabulary) - 1
        codes[codes < FIRST_LEVEL_CODE] = last if self.pools_rare else UNSEEN_CODE
        codes[is_missing] = MISSING_CODE
        return codes


class TargetMeans(_Fitted):
    """Shrunk target means of a category's levels in the fit rows; (outputs,) numbers a level."""

    name: str
    prior: list[float]
    means: dict[str, list[float]]

    def read(self, column: pd.Series) -> FloatArray:
        """(rows, outputs); missing and unseen levels get the prior."""
        table = np.array([*self.means.values(), self.prior], dtype=np.float64)
        by_row: FloatArray = table[_codes(column, list(self.means))]  # -1, the last row, for the others
        return by_row


class LevelCounts(_Fitted):
    """How many of the fit rows hold each level of a column of text."""

    name: str
    counts: dict[str, int]

    def read(self, column: pd.Series, *, others: int) -> FloatArray:
        """(rows,) rows with the same level, the row itself included: `others` more than counted; NaN for missing."""
        table = np.array([*self.counts.values(), 0], dtype=np.float64)
        found = np.maximum(table[_codes(column, list(self.counts))] + others, 1.0)
        return np.where(column.isna().to_numpy(), np.nan, found)


@dataclass(frozen=True)
class Encoded:
    """A table as numbers: a dense part, and categories as codes until `values` writes them out as the view wants them.

    `dense` (rows, dense_names) float32 holds numbers, then target means. `codes` (rows, categories) are MISSING_CODE,
    UNSEEN_CODE, or FIRST_LEVEL_CODE + the position in the category's vocabulary.
    """

    view: View
    dense: NDArray[np.float32]
    dense_names: list[str]
    n_numbers: int  # dense columns before the categories in `values`; the others follow them
    codes: NDArray[np.int32]
    vocabularies: dict[str, list[str]]  # category -> levels, in the order of `codes`

    @property
    def cardinality(self) -> dict[str, int]:
        """Ordinal view: column -> number of codes; empty in the onehot view."""
        if self.view == "onehot":
            return {}
        return {name: len(levels) + FIRST_LEVEL_CODE for name, levels in self.vocabularies.items()}

    @property
    def onehot_names(self) -> list[list[str]]:
        """Of every category the names of its one-hot columns: its levels, then the one for missing."""
        return [[f"{name}={level}" for level in (*levels, "nan")] for name, levels in self.vocabularies.items()]

    @cached_property
    def names(self) -> list[str]:
        """The columns of `values`."""
        of_categories = list(self.vocabularies) if self.view == "ordinal" else chain.from_iterable(self.onehot_names)
        return [*self.dense_names[: self.n_numbers], *of_categories, *self.dense_names[self.n_numbers :]]

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(rows, names): categories as codes (ordinal view), or as one-hot columns, all zeros for an unseen level."""
        order: Literal["C", "F"] = "C" if self.view == "ordinal" else "F"
        whole = np.zeros((len(self.dense), len(self.names)), dtype=np.float32, order=order)
        whole[:, : self.n_numbers] = self.dense[:, : self.n_numbers]
        n_means = self.dense.shape[1] - self.n_numbers
        whole[:, len(self.names) - n_means :] = self.dense[:, self.n_numbers :]
        if self.view == "ordinal":
            whole[:, self.n_numbers : len(self.names) - n_means] = self.codes
            return whole
        start = self.n_numbers
        for codes, levels in zip(self.codes.T, self.vocabularies.values(), strict=True):
            rows = np.flatnonzero(codes != UNSEEN_CODE)
            column = np.where(codes == MISSING_CODE, len(levels), codes - FIRST_LEVEL_CODE)
            whole[rows, start + column[rows]] = 1.0
            start += len(levels) + 1
        return whole

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows of `values`, in the same order in memory."""
        return self.values[rows] if self.view == "ordinal" else np.take(self.values.T, rows, axis=1).T


class TableEncoder(_Fitted):
    """Everything `fit_encoder` learned. `transform` never looks at more than the row it transforms."""

    view: View
    scaling: Literal["standard", "robust", "pixels", "none"]
    numbers: list[NumberColumn]
    categories: list[CategoryColumn]
    target_means: list[TargetMeans]
    texts: list[TextColumn] = []
    counts: list[LevelCounts] = []
    counts_every_row: bool = False  # whether the rows to come were among those counted (scope train+test)

    def expanded(self, frame: pd.DataFrame, *, is_counted: bool = False) -> pd.DataFrame:
        """The frame with the features of its texts and the counts of levels; `is_counted`: of the fit rows."""
        return self.with_counts(self.with_texts(frame), is_counted=is_counted)

    def with_texts(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the features of its texts."""
        if not self.texts:
            return frame
        made: dict[str, Any] = {}
        for text in self.texts:
            made |= text.expand(_column(frame, text.name))
        return pd.concat([frame, pd.DataFrame(made, index=frame.index)], axis=1)

    def with_counts(self, wide: pd.DataFrame, *, is_counted: bool) -> pd.DataFrame:
        """A frame `with_texts` and the counts of levels."""
        if not self.counts:
            return wide
        others = 0 if is_counted or self.counts_every_row else 1
        counted = {_count_name(c.name): c.read(_column(wide, c.name), others=others) for c in self.counts}
        return pd.concat([wide, pd.DataFrame(counted, index=wide.index)], axis=1)

    def transform(self, frame: pd.DataFrame, *, is_counted: bool = False) -> Encoded:
        """Encode every row of a typed frame; `is_counted`: they are the fit rows, each among its level's count.

        Raises DataError when a column is not there.
        """
        frame = self.expanded(frame, is_counted=is_counted)
        for name in [*(c.name for c in self.numbers), *(c.name for c in self.categories)]:
            _column(frame, name)
        blocks: list[NDArray[np.float32]] = []
        names: list[str] = []
        for number in self.numbers:
            values = number.raw(frame)
            blocks.append(self.scaled(number, values))
            names.append(number.name)
            if number.has_indicator:
                blocks.append(np.isnan(values).astype(np.float32))
                names.append(f"{number.name}_missing")
        n_numbers = len(names)
        for means in self.target_means:
            blocks.append(means.read(frame[means.name]).astype(np.float32))
            names.extend(_target_names(means))
        dense = np.column_stack(blocks) if blocks else np.zeros((len(frame), 0), dtype=np.float32)
        codes = np.empty((len(frame), len(self.categories)), dtype=np.int32)
        for position, category in enumerate(self.categories):
            codes[:, position] = category.read(frame)
        vocabularies = {category.name: category.vocabulary for category in self.categories}
        return Encoded(self.view, dense, names, n_numbers, codes, vocabularies)

    def transform_levels(self, frame: pd.DataFrame) -> tuple[NDArray[np.uint8], float] | None:
        """What `transform` makes as whole numbers 0..255 and the unit they are counted in; None where it is no such.

        The rows must hold whole numbers in this range that the encoder does nothing to but scale, all alike.
        """
        units = {number.scale for number in self.numbers}
        is_more = any(n.is_log1p or n.has_indicator or n.levels is not None or n.centre != 0.0 for n in self.numbers)
        if self.scaling != "pixels" or len(units) != 1 or is_more:
            return None
        if self.categories or self.target_means or self.texts or self.counts:
            return None
        table = np.empty((len(frame), len(self.numbers)), dtype=np.uint8)
        for position, number in enumerate(self.numbers):
            values = number.raw(frame)
            if not (np.isfinite(values).all() and values.min(initial=0.0) >= 0.0 and values.max(initial=0.0) <= 255.0):
                return None
            table[:, position] = values
            if not np.array_equal(table[:, position], values):
                return None
        return table, 1.0 / units.pop()

    def column_names(self) -> list[str]:
        """The names of the encoded columns, in order."""
        made = {name for text in self.texts for name in text.roles} | {_count_name(c.name) for c in self.counts}
        read = [text.name for text in self.texts] + [number.name for number in self.numbers]
        read += [category.name for category in self.categories] + [counts.name for counts in self.counts]
        columns = [name for name in dict.fromkeys(read) if name not in made]
        return self.transform(pd.DataFrame({name: pd.Series(dtype="str") for name in columns})).names

    def scaled(self, number: NumberColumn, values: FloatArray) -> NDArray[np.float32]:
        """A column's raw numbers as they are encoded."""
        if self.scaling == "none":
            return values.astype(np.float32)
        scaled = (values - number.centre) / number.scale
        if self.scaling == "robust":
            scaled = scaled / np.sqrt(1.0 + (scaled / SMOOTH_CLIP_AT) ** 2)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


Encode = Callable[[TableEncoder, pd.DataFrame], Encoded]


class Encodings:
    """Tables encoded once for all encoders of one state: models of the same folds and feature steps share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[pd.DataFrame, Encoded]] = {}

    def __call__(self, encoder: TableEncoder, frame: pd.DataFrame) -> Encoded:
        """`encoder.transform(frame)`; nobody may write into it."""
        key = id(frame), encoder.model_dump_json()
        if key not in self._known:
            self._known[key] = frame, encoder.transform(frame)  # the frame is kept: its id is not given away
        return self._known[key][1]


def fit_encoder(
    view: View,
    steps: FeatureSteps,
    roles: Mapping[str, Role],
    ordered: Mapping[str, list[str]],
    frame: pd.DataFrame,
    *,
    target_frame: pd.DataFrame | None = None,
    target: FloatArray | None = None,
    is_wide: bool = False,
) -> TableEncoder:
    """Learn an encoder from the rows of `frame`; with target encoding, also from `target` of `target_frame`'s rows.

    `target` is (rows, outputs): numbers, or class indicators. `is_wide`: `frame` holds all train and test rows.
    """
    bare, wide = _fit_texts(steps, roles, frame, is_wide)
    has_own_target = target_frame is frame
    frame = bare.with_counts(wide, is_counted=True)
    if target_frame is not None:
        target_frame = frame if has_own_target else bare.expanded(target_frame, is_counted=True)
    keys = {name for text in bare.texts for name, part in text.roles.items() if part == "key"}
    made: dict[str, Role] = {_count_name(counts.name): "number" for counts in bare.counts}
    for text in bare.texts:
        made |= {name: "number" if part == "number" else "category" for name, part in text.roles.items()}
    numbers, categories, target_means = [], [], []
    for name, role in {**roles, **made}.items():
        if role == "text":
            continue
        if name in keys:
            if target_frame is not None and target is not None and len(target) <= steps.key_target_means:
                target_means.append(_fit_target_means(name, target_frame[name], target))
            continue
        levels = ordered.get(name) if role == "ordered" and steps.ordered_mapping else None
        if role == "number" or levels is not None or (steps.codes_as_numbers and _is_code(frame[name])):
            numbers.append(_fit_number(name, levels, steps, frame))
            continue
        category = _fit_category(name, view, steps, frame)
        categories.append(category)
        if steps.target_encoding is not None and len(category.vocabulary) >= steps.target_encoding:
            assert target_frame is not None
            assert target is not None
            target_means.append(_fit_target_means(name, target_frame[name], target))
    if steps.scaling == "pixels":
        numbers = _on_one_scale(numbers, frame)
    fitted = {"numbers": numbers, "categories": categories, "target_means": target_means}
    return bare.model_copy(update={"view": view, "scaling": steps.scaling, **fitted})


def _fit_texts(
    steps: FeatureSteps, roles: Mapping[str, Role], frame: pd.DataFrame, is_wide: bool
) -> tuple[TableEncoder, pd.DataFrame]:
    """An encoder that only expands (texts into parts, how often levels and keys are seen); the frame with the parts."""
    texts = [fit_text(name, frame[name]) for name, role in roles.items() if role == "text" and steps.text_parts]
    bare = TableEncoder(
        view="onehot",
        scaling="none",
        numbers=[],
        categories=[],
        target_means=[],
        texts=texts,
        counts_every_row=is_wide,
    )
    wide = bare.with_texts(frame)
    counted = [name for text in texts for name, part in text.roles.items() if part == "key"]
    if steps.category_counts:
        counted += [name for name, role in roles.items() if role == "category"]
    counts = []
    for name in counted:
        levels = wide[name].value_counts().sort_index()
        counts.append(LevelCounts(name=name, counts={str(level): int(count) for level, count in levels.items()}))
    return bare.model_copy(update={"counts": counts}), wide


def correct_fit_rows(
    encoder: TableEncoder,
    dense: NDArray[np.float32],
    names: Sequence[str],
    frame: pd.DataFrame,
    fit_rows: NDArray[np.int64],
    target: FloatArray,
    seed: int,
) -> None:
    """Replace, in place, what `fit_rows` must not read as other rows do.

    Target means leave the row's own part out; else a row would meet its own target among its features. Counts of
    levels already hold the row. `dense` (rows, names) holds the rows of `frame` as in `Encoded`, its columns in any
    order; `target` (rows, outputs) those of `frame`.
    """
    if not encoder.counts and not encoder.target_means:
        return
    own = encoder.expanded(frame.iloc[fit_rows], is_counted=True)
    counts = {_count_name(c.name) for c in encoder.counts} if not encoder.counts_every_row else set()
    for number in encoder.numbers:
        if number.name in counts:
            dense[fit_rows, names.index(number.name)] = encoder.scaled(number, number.raw(own))
    if not encoder.target_means:
        return
    from sklearn.model_selection import KFold

    n_parts = min(TARGET_ENCODING_FOLDS, len(fit_rows))
    splitter = KFold(n_parts, shuffle=True, random_state=seed % 2**32)
    for means in encoder.target_means:
        columns = [names.index(name) for name in _target_names(means)]
        levels = own[means.name]
        for inside, outside in splitter.split(fit_rows):
            part = _fit_target_means(means.name, levels.iloc[inside], target[fit_rows[inside]])
            dense[np.ix_(fit_rows[outside], columns)] = part.read(levels.iloc[outside])


def _codes(column: pd.Series, levels: list[str]) -> NDArray[np.intp]:
    """(rows,) position of each value in `levels`, -1 for missing and for other values."""
    codes: NDArray[np.intp] = pd.Index(levels, dtype="str").get_indexer(pd.Index(column))
    return codes


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise DataError(f"the column {name!r} is not there", hint=did_you_mean(name, frame.columns))
    return frame[name]


def _count_name(name: str) -> str:
    return f"{name.removesuffix('.key')}.count"


def _target_names(means: TargetMeans) -> list[str]:
    return [f"{means.name}_target_{output}" for output in range(len(means.prior))]


def _is_code(column: pd.Series) -> bool:
    """Whether every known value is written with digits."""
    return bool(column.dropna().astype(str).str.fullmatch(r"-?\d+").all())


def _fit_number(name: str, levels: list[str] | None, steps: FeatureSteps, frame: pd.DataFrame) -> NumberColumn:
    column = NumberColumn(name=name, levels=levels, centre=0.0, scale=1.0)
    values = column.raw(frame)
    if steps.log1p_skewed is not None and levels is None:
        skew = cast(float, pd.Series(values, dtype=np.float64).skew())
        if abs(skew) > steps.log1p_skewed:
            column = column.model_copy(update={"is_log1p": True})
            values = column.raw(frame)
    has_indicator = steps.missing_indicators and bool(np.isnan(values).any())
    if steps.scaling == "pixels":  # `_on_one_scale` scales them
        return column.model_copy(update={"has_indicator": has_indicator})
    known = pd.Series(values[~np.isnan(values)])
    centre = float(known.mean()) if len(known) else 0.0
    is_constant = bool(known.nunique() < 2)  # the computed deviation of equal numbers need not be 0
    scale = 0.0 if is_constant else float(known.std())
    if steps.scaling == "robust" and len(known):
        quarter, centre, three_quarters = (float(q) for q in known.quantile([0.25, 0.5, 0.75]))
        spread = three_quarters - quarter
        scale = spread if spread > 0 else float(known.max() - known.min()) / 2.0
    update = {"centre": centre, "scale": scale if scale > 0 else 1.0, "has_indicator": has_indicator}
    return column.model_copy(update=update)


def _on_one_scale(numbers: list[NumberColumn], frame: pd.DataFrame) -> list[NumberColumn]:
    """The columns scaled by the largest magnitude of them all; 0 stays 0."""
    highest = max((float(np.nan_to_num(np.abs(number.raw(frame))).max(initial=0.0)) for number in numbers), default=0.0)
    return [number.model_copy(update={"centre": 0.0, "scale": highest or 1.0}) for number in numbers]


def _fit_category(name: str, view: View, steps: FeatureSteps, frame: pd.DataFrame) -> CategoryColumn:
    most = steps.max_levels if view == "onehot" else len(frame)
    counts = frame[name].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    kept = [str(level) for level in counts.index[counts >= max(steps.rare_min_count, 1)][:most]]
    pools_rare = steps.rare_min_count > 0 or len(counts) > most
    return CategoryColumn(name=name, vocabulary=sorted(kept) + [RARE] * pools_rare, pools_rare=pools_rare)


def _fit_target_means(name: str, levels: pd.Series, target: FloatArray) -> TargetMeans:
    prior = target.mean(axis=0)
    table = pd.DataFrame(target).groupby(levels.to_numpy(dtype=object), dropna=True)
    sums, counts = table.sum(), table.size().to_numpy()[:, None]
    means = (sums.to_numpy() + PRIOR_ROWS * prior) / (counts + PRIOR_ROWS)
    by_level = {str(level): row for level, row in zip(sums.index, means.tolist(), strict=True)}
    return TargetMeans(name=name, prior=prior.tolist(), means=by_level)
