"""Encoders: what is learned from the rows a model may see, and the numbers it turns a table into.

Knows typed frames (see `pipeline.tables`) and column roles; knows nothing of folds, files or models. An encoder is a
pydantic model, so that it is stored as JSON and never as a pickle.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.model_selection import KFold

from pipeline.config import FeatureSteps
from pipeline.errors import DataError, did_you_mean

FloatArray = NDArray[np.float64]
View = Literal["onehot", "ordinal"]
Role = Literal["number", "category", "ordered"]

MISSING_CODE, UNSEEN_CODE, FIRST_LEVEL_CODE = 0, 1, 2  # ordinal view
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

    def read(self, frame: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Positions in the vocabulary, -1 for unseen and missing rows, and which rows are missing."""
        is_missing = frame[self.name].isna().to_numpy()
        codes = _codes(frame[self.name], self.vocabulary)
        if self.pools_rare:
            codes[(codes < 0) & ~is_missing] = len(self.vocabulary) - 1
        return codes, is_missing


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


@dataclass(frozen=True)
class Encoded:
    """A table as numbers: values (rows, columns) float32, column names, what is known of categories' columns."""

    values: NDArray[np.float32]
    names: list[str]
    cardinality: dict[str, int]  # ordinal view: column -> number of codes; empty in the onehot view
    onehot: dict[str, tuple[int, int]] = field(default_factory=dict)  # category -> its columns, from and below


class TableEncoder(_Fitted):
    """Everything `fit_encoder` learned. `transform` never looks at more than the row it transforms."""

    view: View
    scaling: Literal["standard", "robust"]
    numbers: list[NumberColumn]
    categories: list[CategoryColumn]
    target_means: list[TargetMeans]

    def transform(self, frame: pd.DataFrame) -> Encoded:
        """Encode every row of a typed frame. Raises DataError when a column is not there."""
        blocks: list[NDArray[np.float32]] = []
        names: list[str] = []
        cardinality: dict[str, int] = {}
        onehot: dict[str, tuple[int, int]] = {}
        for name in [*(c.name for c in self.numbers), *(c.name for c in self.categories)]:
            if name not in frame.columns:
                raise DataError(f"the column {name!r} is not there", hint=did_you_mean(name, frame.columns))
        for number in self.numbers:
            values = number.raw(frame)
            blocks.append(self._scaled(number, values))
            names.append(number.name)
            if number.has_indicator:
                blocks.append(np.isnan(values).astype(np.float32))
                names.append(f"{number.name}_missing")
        for category in self.categories:
            codes, is_missing = category.read(frame)
            if self.view == "ordinal":
                shifted = np.where(codes >= 0, codes + FIRST_LEVEL_CODE, UNSEEN_CODE)
                blocks.append(np.where(is_missing, MISSING_CODE, shifted).astype(np.float32))
                names.append(category.name)
                cardinality[category.name] = len(category.vocabulary) + FIRST_LEVEL_CODE
            else:
                known = pd.Categorical.from_codes(codes, categories=pd.Index(category.vocabulary, dtype="str"))
                dummies = pd.get_dummies(known, dummy_na=True, dtype=int)
                dummies.iloc[:, -1] = is_missing.astype(int)  # an unseen level is no missing value: all zeros
                blocks.append(dummies.to_numpy(dtype=np.float32))
                onehot[category.name] = (len(names), len(names) + dummies.shape[1])
                names.extend(f"{category.name}={level}" for level in (*category.vocabulary, "nan"))
        for means in self.target_means:
            blocks.append(means.read(frame[means.name]).astype(np.float32))
            names.extend(_target_names(means))
        matrix = np.column_stack(blocks) if blocks else np.zeros((len(frame), 0), dtype=np.float32)
        return Encoded(matrix, names, cardinality, onehot)

    def _scaled(self, number: NumberColumn, values: FloatArray) -> NDArray[np.float32]:
        scaled = (values - number.centre) / number.scale
        if self.scaling == "robust":
            scaled = scaled / np.sqrt(1.0 + (scaled / SMOOTH_CLIP_AT) ** 2)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


def fit_encoder(
    view: View,
    steps: FeatureSteps,
    roles: Mapping[str, Role],
    ordered: Mapping[str, list[str]],
    frame: pd.DataFrame,
    *,
    target_frame: pd.DataFrame | None = None,
    target: FloatArray | None = None,
) -> TableEncoder:
    """Learn an encoder from the rows of `frame`; with target encoding, also from `target` of `target_frame`'s rows.

    `target` is (rows, outputs): numbers, or class indicators.
    """
    numbers, categories, target_means = [], [], []
    for name, role in roles.items():
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
    return TableEncoder(
        view=view, scaling=steps.scaling, numbers=numbers, categories=categories, target_means=target_means
    )


def cross_fitted(
    encoder: TableEncoder,
    encoded: Encoded,
    frame: pd.DataFrame,
    fit_rows: NDArray[np.int64],
    target: FloatArray,
    seed: int,
) -> None:
    """Replace, in place, the target means of `fit_rows` by means that leave the row's own part out.

    `encoded` holds the rows of `frame`; `target` (rows, outputs) those of `frame`. Without this a row would meet its
    own target among its features.
    """
    n_parts = min(TARGET_ENCODING_FOLDS, len(fit_rows))
    splitter = KFold(n_parts, shuffle=True, random_state=seed % 2**32)
    for means in encoder.target_means:
        columns = [encoded.names.index(name) for name in _target_names(means)]
        levels = frame[means.name].iloc[fit_rows]
        for inside, outside in splitter.split(fit_rows):
            part = _fit_target_means(means.name, levels.iloc[inside], target[fit_rows[inside]])
            encoded.values[np.ix_(fit_rows[outside], columns)] = part.read(levels.iloc[outside])


def _codes(column: pd.Series, levels: list[str]) -> NDArray[np.intp]:
    """(rows,) position of each value in `levels`, -1 for missing and for other values."""
    codes: NDArray[np.intp] = pd.Index(levels, dtype="str").get_indexer(pd.Index(column))
    return codes


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
    known = pd.Series(values[~np.isnan(values)])
    centre = float(known.mean()) if len(known) else 0.0
    is_constant = bool(known.nunique() < 2)  # the computed deviation of equal numbers need not be 0
    scale = 0.0 if is_constant else float(known.std())
    if steps.scaling == "robust" and len(known):
        quarter, centre, three_quarters = (float(q) for q in known.quantile([0.25, 0.5, 0.75]))
        spread = three_quarters - quarter
        scale = spread if spread > 0 else float(known.max() - known.min()) / 2.0
    has_indicator = steps.missing_indicators and bool(np.isnan(values).any())
    update = {"centre": centre, "scale": scale if scale > 0 else 1.0, "has_indicator": has_indicator}
    return column.model_copy(update=update)


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


def apply_feature_function(
    path: Path, frame: pd.DataFrame, roles: Mapping[str, Role]
) -> tuple[pd.DataFrame, dict[str, Role]]:
    """The frame with the columns that the competition's own `add_features(frame)` adds, and all roles.

    New numeric columns are numbers, others categories of text; columns it drops are gone. Raises DataError.
    """
    module_spec = importlib.util.spec_from_file_location("feature_function", path)
    if module_spec is None or module_spec.loader is None or not path.exists():
        raise DataError("the feature function's file is not there", where=str(path))
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        made = module.add_features(frame.copy())
    except Exception as error:
        raise DataError(
            f"add_features failed: {type(error).__name__}: {error}",
            where=str(path),
            hint="It takes the typed feature frame and returns it with more columns; it never sees the target.",
        ) from error
    if not isinstance(made, pd.DataFrame) or len(made) != len(frame) or not made.index.equals(frame.index):
        raise DataError("add_features must return a DataFrame with the rows it was given", where=str(path))
    made.columns = made.columns.astype("str")
    if not made.columns.is_unique:
        raise DataError(f"the column {made.columns[made.columns.duplicated()][0]!r} stands twice", where=str(path))
    made_roles: dict[str, Role] = {}
    for name in made.columns:
        is_number = pd.api.types.is_numeric_dtype(made[name]) or pd.api.types.is_bool_dtype(made[name])
        made_roles[name] = roles.get(name, "number" if is_number else "category")
        if not is_number:
            made[name] = made[name].astype("str")  # intervals, moments, mixed objects
        elif np.isinf(made[name].to_numpy(dtype=np.float64, na_value=np.nan)).any():
            raise DataError(
                f"the column {name!r} holds an infinite number",
                where=str(path),
                hint="A division by zero, perhaps: make it missing with .replace([np.inf, -np.inf], np.nan).",
            )
    return made, made_roles
