"""Encoders: what is learned from the rows a model may see, and the numbers it turns a table into.

Knows typed frames (see `pipeline.competition.tables`) and column roles; knows nothing of folds, files or models. An
encoder is a pydantic model, so that it is stored as JSON and never as a pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.encoders.columns import CategoryColumn, Fitted, LevelCounts, NumberColumn, TargetMeans, on_one_scale
from pipeline.encoders.encoded import Encoded, View
from pipeline.encoders.texts import TextColumn, fit_text

SMOOTH_CLIP_AT = 3.0  # "Better by Default" (NeurIPS 2024), robust scaling + smooth clipping
TARGET_ENCODING_FOLDS = 5


class TableEncoder(Fitted):
    """Everything `fit_encoder` learned. `transform` never looks at more than the row it transforms."""

    view: View
    scaling: Literal["standard", "robust", "pixels", "none"]
    numbers: list[NumberColumn]
    categories: list[CategoryColumn]
    target_means: list[TargetMeans]
    texts: list[TextColumn] = Field(default=[])
    counts: list[LevelCounts] = Field(default=[])
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
        counted = {c.column: c.read(_column(wide, c.name), others=others) for c in self.counts}
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
            names.extend(means.columns)
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
        made = {name for text in self.texts for name in text.roles} | {c.column for c in self.counts}
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
    made: dict[str, Role] = {counts.column: "number" for counts in bare.counts}
    for text in bare.texts:
        made |= {name: "number" if part == "number" else "category" for name, part in text.roles.items()}
    numbers, categories, target_means = [], [], []
    for name, role in {**roles, **made}.items():
        if role == "text":
            continue
        if name in keys:
            if target_frame is not None and target is not None and len(target) <= steps.key_target_means:
                target_means.append(TargetMeans.fit(name, target_frame[name], target))
            continue
        levels = ordered.get(name) if role == "ordered" and steps.ordered_mapping else None
        if role == "number" or levels is not None or (steps.codes_as_numbers and _is_code(frame[name])):
            numbers.append(NumberColumn.fit(name, levels, steps, frame))
            continue
        category = CategoryColumn.fit(name, view, steps, frame)
        categories.append(category)
        if steps.target_encoding is not None and len(category.vocabulary) >= steps.target_encoding:
            assert target_frame is not None
            assert target is not None
            target_means.append(TargetMeans.fit(name, target_frame[name], target))
    if steps.scaling == "pixels":
        numbers = on_one_scale(numbers, frame)
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
    counts = [LevelCounts.fit(name, wide[name]) for name in counted]
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
    counts = {c.column for c in encoder.counts} if not encoder.counts_every_row else set()
    for number in encoder.numbers:
        if number.name in counts:
            dense[fit_rows, names.index(number.name)] = encoder.scaled(number, number.raw(own))
    if not encoder.target_means:
        return
    from sklearn.model_selection import KFold

    n_parts = min(TARGET_ENCODING_FOLDS, len(fit_rows))
    splitter = KFold(n_parts, shuffle=True, random_state=seed % 2**32)
    for means in encoder.target_means:
        columns = [names.index(name) for name in means.columns]
        levels = own[means.name]
        for inside, outside in splitter.split(fit_rows):
            part = TargetMeans.fit(means.name, levels.iloc[inside], target[fit_rows[inside]])
            dense[np.ix_(fit_rows[outside], columns)] = part.read(levels.iloc[outside])


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise DataError(f"the column {name!r} is not there", hint=did_you_mean(name, frame.columns))
    return frame[name]


def _is_code(column: pd.Series) -> bool:
    """Whether every known value is written with digits."""
    return bool(column.dropna().astype(str).str.fullmatch(r"-?\d+").all())
