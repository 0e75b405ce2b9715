"""The table encoder: fitted on the rows that a model may see, it turns any typed table into numbers.

Knows frames and column roles; must not know folds, files or models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base import mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.config.run import FeatureSteps
from pipeline.config.types import NUMERIC, Role
from pipeline.encoders.columns import (
    CategoryColumn,
    Fitted,
    LevelCounts,
    NumberColumn,
    TargetMeans,
    on_one_scale,
    stems_of,
)
from pipeline.encoders.encoded import Encoded, View
from pipeline.encoders.generated import Generated
from pipeline.encoders.generating import choose_generated
from pipeline.encoders.text_components import TextComponents, fit_text_components
from pipeline.encoders.texts import Part, TextColumn, fit_text

LARGEST = float(np.finfo(np.float32).max)  # derived numbers, as those in texts, and scaled ones may exceed it
SMOOTH_CLIP_AT = 3.0  # "Better by Default" (NeurIPS 2024), robust scaling + smooth clipping
TARGET_ENCODING_FOLDS = 5
ROWS_AT_ONCE = 100_000  # of a large table


class TableEncoder(Fitted):
    """Everything `fit_encoder` learned. `transform` encodes each row by itself."""

    view: View
    scaling: Literal["standard", "robust", "pixels", "none"]
    numbers: list[NumberColumn] = Field(default=[])
    categories: list[CategoryColumn] = Field(default=[])
    target_means: list[TargetMeans] = Field(default=[])
    texts: list[TextColumn] = Field(default=[])
    components: list[TextComponents] = Field(default=[])
    generated: Generated = Generated()
    counts: list[LevelCounts] = Field(default=[])
    counts_every_row: bool = False  # the counts include the rows to predict (scope train+test)

    def made_roles(self) -> dict[str, Part]:
        """The columns that `expanded` adds, and how they are used."""
        made: dict[str, Part] = {counts.column: "number" for counts in self.counts}
        for text in self.texts:
            made |= text.roles
        made |= {name: "number" for group in self.components for name in group.names}
        return made | dict.fromkeys(self.generated.numbers, "number")

    def expanded(self, frame: pd.DataFrame, *, are_fit_rows: bool = False) -> pd.DataFrame:
        """Add the features of texts, the generated columns and the counts of levels."""
        return self.with_counts(self.with_generated(self.with_texts(frame)), are_fit_rows=are_fit_rows)

    def with_texts(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Add the features of texts."""
        if not self.texts and not self.components:
            return frame
        made: dict[str, Any] = {}
        for text in self.texts:
            made |= text.expand(_column(frame, text.name))
        for group in self.components:
            made |= group.read(pd.DataFrame({name: _column(frame, name) for name in group.columns}))
        return pd.concat([frame, pd.DataFrame(made, index=frame.index)], axis=1)

    def with_generated(self, wide: pd.DataFrame) -> pd.DataFrame:
        """Add the generated columns to a frame `with_texts`."""
        if not self.generated.columns_read:
            return wide
        for name in sorted(self.generated.columns_read):
            _column(wide, name)
        return pd.concat([wide, pd.DataFrame(self.generated.read(wide), index=wide.index)], axis=1)

    def with_counts(self, wide: pd.DataFrame, *, are_fit_rows: bool) -> pd.DataFrame:
        """Add the counts of levels to a frame `with_generated`."""
        if not self.counts:
            return wide
        is_counted = are_fit_rows or self.counts_every_row
        counted = {c.column: c.read(_column(wide, c.name), is_counted=is_counted) for c in self.counts}
        return pd.concat([wide, pd.DataFrame(counted, index=wide.index)], axis=1)

    def transform(self, frame: pd.DataFrame) -> Encoded:
        """Encode every row of a typed frame. Raises DataError for a missing column."""
        frame = self.expanded(frame)
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
                names.append(f"{number.prefix}_missing")
        n_numbers = len(names)
        for means in self.target_means:
            blocks.append(means.read(frame[means.name]).astype(np.float32))
            names.extend(means.columns)
        dense = np.column_stack(blocks) if blocks else np.zeros((len(frame), 0), dtype=np.float32)
        codes = np.empty((len(frame), len(self.categories)), dtype=np.int32)
        for position, category in enumerate(self.categories):
            codes[:, position] = category.read(frame)
        vocabularies = {category.name: category.vocabulary for category in self.categories}
        prefixes = {category.name: category.prefix for category in self.categories}
        return Encoded(self.view, dense, names, n_numbers, codes, vocabularies, prefixes)

    def values_of(self, frame: pd.DataFrame, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """(rows, columns) the `values` of some rows, by default of all; beside them only a part is in memory."""
        n_rows = len(frame) if rows is None else len(rows)
        order: Literal["C", "F"] = "C" if self.view == "ordinal" else "F"
        whole: NDArray[np.float32] | None = None
        for start in range(0, max(1, n_rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            values = self.transform(frame.iloc[part if rows is None else rows[part]]).values
            if n_rows <= ROWS_AT_ONCE:
                return values
            whole = np.empty((n_rows, values.shape[1]), np.float32, order) if whole is None else whole
            whole[part] = values
            mapped.release()
        assert whole is not None
        return whole

    @property
    def corrects_fit_rows(self) -> bool:
        """Whether the rows that it was fitted on are encoded otherwise than new rows."""
        return bool(self.counts or self.target_means)

    def transform_to_bytes(self, frame: pd.DataFrame) -> tuple[NDArray[np.uint8], float] | None:
        """Bytes and their unit, whose product is what `transform` returns.

        None unless all values are integers from 0 to 255 and encoding only multiplies them by one factor.
        """
        units = {number.scale for number in self.numbers}
        is_more = any(n.is_log1p or n.has_indicator or n.levels is not None or n.centre != 0.0 for n in self.numbers)
        if self.scaling != "pixels" or len(units) != 1 or is_more:
            return None
        is_more = bool(self.texts or self.components or self.generated.columns_read)
        if is_more or self.categories or self.target_means or self.counts:
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
        return self._of_no_rows().names

    def category_positions(self) -> list[int]:
        """The positions of the categories among the encoded columns, in the ordinal view."""
        encoded = self._of_no_rows()
        return [encoded.names.index(name) for name in encoded.cardinality]

    def _of_no_rows(self) -> Encoded:
        read = {column.name for column in (*self.texts, *self.numbers, *self.categories, *self.counts)}
        read |= {name for group in self.components for name in group.columns} | self.generated.columns_read
        made = self.made_roles().keys() | self.generated.keys.keys()
        return self.transform(pd.DataFrame(columns=sorted(read - made), dtype=TEXT))

    def scaled(self, number: NumberColumn, values: FloatArray) -> NDArray[np.float32]:
        """The encoded form of a column's raw numbers."""
        if self.scaling == "none":
            return np.clip(values - number.offset, -LARGEST, LARGEST).astype(np.float32)
        scaled = (values - number.centre) / number.scale
        if self.scaling == "robust" and not number.is_linear:
            scaled = scaled / np.sqrt(1.0 + (scaled / SMOOTH_CLIP_AT) ** 2)
        return np.nan_to_num(np.clip(scaled, -LARGEST, LARGEST), nan=0.0).astype(np.float32)


Encode = Callable[[TableEncoder, pd.DataFrame], Encoded]


class EncodingCache:
    """Encodes a table once for all equal encoders, as models of the same folds and feature steps have."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[pd.DataFrame, Encoded]] = {}

    def __call__(self, encoder: TableEncoder, frame: pd.DataFrame) -> Encoded:
        """`encoder.transform(frame)`, which callers must not modify."""
        key = id(frame), encoder.model_dump_json()
        if key not in self._known:
            self._known[key] = frame, encoder.transform(frame)  # keeping the frame keeps its id unique
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
    has_every_row: bool = False,
    seed: int = 0,
) -> TableEncoder:
    """Learn an encoder from the rows of `frame`, and what depends on `target` from the rows of `target_frame`.

    `target` is (rows, outputs): numbers, or class indicators. `has_every_row`: `frame` holds all train and test rows.
    `seed`: of the sample that generated columns are chosen on.
    """
    stems = stems_of(roles)
    encoder, wide = _fit_texts(view, steps, roles, stems, frame)
    encoder = encoder.model_copy(update={"counts_every_row": has_every_row})
    if steps.generated:
        assert target_frame is not None
        assert target is not None
        known = wide if target_frame is frame else encoder.with_texts(target_frame)
        generated = _fit_generated(steps.generated, {**roles, **encoder.made_roles()}, known, target, seed)
        encoder = encoder.model_copy(update={"generated": generated})
        wide = encoder.with_generated(wide)
    encoder, wide = _with_counts(encoder, steps, roles, stems, wide)
    if target_frame is not None:
        target_frame = wide if target_frame is frame else encoder.expanded(target_frame, are_fit_rows=True)
    numbers, categories, target_means = [], [], []
    for name, role in {**roles, **encoder.made_roles()}.items():
        if role == "text":
            continue
        if role == "key":
            if target_frame is not None and target is not None and len(target) <= steps.key_target_means:
                target_means.append(TargetMeans.fit(name, target_frame[name], target, stems.get(name)))
            continue
        levels = ordered.get(name) if role == "ordered" and steps.ordered_mapping else None
        if role in NUMERIC or levels is not None or (steps.codes_as_numbers and _is_code(wide[name])):
            is_linear = role in ("past", "embedding")
            numbers.append(NumberColumn.fit(name, levels, steps, wide, stems.get(name), is_linear=is_linear))
            continue
        category = CategoryColumn.fit(name, view, steps, wide, stems.get(name))
        categories.append(category)
        if steps.target_encoding is not None and len(category.vocabulary) >= steps.target_encoding:
            assert target_frame is not None
            assert target is not None
            target_means.append(TargetMeans.fit(name, target_frame[name], target, stems.get(name)))
    for name in encoder.generated.averaged:
        assert target_frame is not None
        assert target is not None
        target_means.append(TargetMeans.fit(name, target_frame[name], target))
    if steps.scaling == "pixels":
        numbers = on_one_scale(numbers, wide)
    return encoder.model_copy(update={"numbers": numbers, "categories": categories, "target_means": target_means})


def _fit_texts(
    view: View, steps: FeatureSteps, roles: Mapping[str, Role], stems: Mapping[str, str], frame: pd.DataFrame
) -> tuple[TableEncoder, pd.DataFrame]:
    """An encoder that knows texts, but no columns yet; the frame with the columns they add."""
    names = [name for name, role in roles.items() if role == "text"]
    encoder = TableEncoder(
        view=view,
        scaling=steps.scaling,
        texts=[fit_text(name, frame[name], stems.get(name)) for name in names if steps.text_parts],
        components=fit_text_components(names, frame, steps.text_components, stems),
    )
    return encoder, encoder.with_texts(frame)


def _fit_generated(
    n_columns: int, roles: Mapping[str, Role | Part], frame: pd.DataFrame, target: FloatArray, seed: int
) -> Generated:
    numbers = [name for name, role in roles.items() if role in NUMERIC and role != "embedding"]
    categories = [name for name, role in roles.items() if role in ("category", "ordered")]
    return choose_generated(n_columns, numbers, categories, frame, target, seed)


def _with_counts(
    encoder: TableEncoder, steps: FeatureSteps, roles: Mapping[str, Role], stems: Mapping[str, str], wide: pd.DataFrame
) -> tuple[TableEncoder, pd.DataFrame]:
    """The encoder with counts of levels, and the frame with them."""
    counted = [name for name, role in encoder.made_roles().items() if role == "key"] + encoder.generated.counted
    if steps.category_counts:
        counted += [name for name, role in roles.items() if role == "category"]
    counts = [LevelCounts.fit(name, wide[name], stems.get(name)) for name in counted]
    encoder = encoder.model_copy(update={"counts": counts})
    return encoder, encoder.with_counts(wide, are_fit_rows=True)


def correct_fit_rows(
    encoder: TableEncoder,
    dense: NDArray[np.float32],
    names: Sequence[str],
    frame: pd.DataFrame,
    fit_rows: NDArray[np.int64],
    target: FloatArray,
    seed: int,
) -> None:
    """Correct, in place, the target means and counts of the rows that they were learned from.

    Target means are cross-fitted, so that no row's features contain its own target; counts of levels already include
    the row. `dense` (rows, names) is the dense part of the encoded `frame`, its columns in any order; `target` is
    (rows, outputs).
    """
    if not encoder.corrects_fit_rows:
        return
    own = encoder.expanded(frame.iloc[fit_rows], are_fit_rows=True)
    counts = {c.column for c in encoder.counts}
    for number in encoder.numbers:
        if number.name in counts and not encoder.counts_every_row:
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
            part = TargetMeans.fit(means.name, levels.iloc[inside], target[fit_rows[inside]], means.stem)
            dense[np.ix_(fit_rows[outside], columns)] = part.read(levels.iloc[outside])


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise DataError(f"the column {name!r} is missing", hint=did_you_mean(name, frame.columns))
    return frame[name]


def _is_code(column: pd.Series) -> bool:
    """Whether every known value is an integer in digits."""
    return bool(column.dropna().astype(TEXT).str.fullmatch(r"-?\d+").all())
