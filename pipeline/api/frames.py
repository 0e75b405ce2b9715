"""Writes a DataFrame and a target as a competition's raw files and features, so that the stages can work on them.

Knows pandas' dtypes and the guesses of a draft; must not know models or estimators.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.target_transforms import TargetTransform
from pipeline.base.text import TEXT
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.draft.ids import FoundIds
from pipeline.competition.draft.roles import Roles, guess_roles
from pipeline.competition.draft.task import guess_transform
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable, as_written, is_text
from pipeline.competition.tables.typed import Kind
from pipeline.competition.workspace import Workspace
from pipeline.config.sections import Columns, IdColumns
from pipeline.config.spec import CompetitionSpec
from pipeline.stages.data import write_source
from pipeline.stages.features import build_features

ID, TARGET, WEIGHT = "__row__", "__target_{}__", "__weight__"
N_TEST_ROWS = 50  # the stages need a test table, whose predictions are not used
KIND_OF_OBJECTS: dict[str, Kind] = {  # pandas.api.types.infer_dtype -> kind; anything else is text
    **dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal", "complex", "empty"), "number"),
    **dict.fromkeys(("datetime", "datetime64", "date"), "date"),
    "boolean": "flag",
}


def raw_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert columns to those of a raw file: float64 numbers or text (`str`), NaN for missing.

    Raises DataError for duplicate column names, and for infinite or complex numbers.
    """
    if not frame.columns.is_unique:
        raise DataError(f"two columns are named {frame.columns[frame.columns.duplicated()][0]!r}", where="X")
    columns = {name: _raw_column(frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


def _raw_column(column: pd.Series) -> pd.Series:
    values = column.reset_index(drop=True)
    kind = _kind(values)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object).infer_objects()
    if kind != "number" and not (kind == "category" and types.is_numeric_dtype(values.dtype)):
        return values.astype(TEXT).mask(values.isna())
    if types.is_complex_dtype(values.dtype):
        raise DataError("Complex data not supported", where=f"X, column {column.name!r}")
    if types.is_timedelta64_dtype(values.dtype):
        values = values.dt.total_seconds()
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers))) + 1
        raise DataError("Input X contains infinity", where=f"X, column {column.name!r}, row {row}")
    return pd.Series(numbers)


def _kind(column: pd.Series) -> Kind:
    """The kind by dtype; for objects, by their values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if types.is_bool_dtype(column.dtype):
        return "flag"
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return "number"
    return KIND_OF_OBJECTS.get(types.infer_dtype(column, skipna=True), "text")


def write_features(
    workspace: Workspace,
    frame: pd.DataFrame,
    target: FloatArray,
    weight: FloatArray | None,
    settings: Mapping[str, Any],
    *,
    is_metric_given: bool,
) -> FeatureStore:
    """Write raw files and features for the rows of `frame` with `target` (rows,) or (rows, targets).

    `settings` are the keys `task`, `metric` and `folds` of the spec.
    """
    targets = target.reshape(len(target), -1)
    names = [TARGET.format(number) for number in range(targets.shape[1])]
    raw = raw_frame(frame)
    train = raw.assign(**{ID: np.arange(len(raw))}, **dict(zip(names, targets.T, strict=True)))
    if weight is not None:
        train[WEIGHT] = weight
    test = train.drop(columns=[*names, WEIGHT], errors="ignore").head(N_TEST_ROWS)
    transform: TargetTransform = "none"
    if settings["task"] == "regression":
        transform, _ = guess_transform(targets, settings["metric"], is_metric_given=is_metric_given)
    table = RawTable(Path("X"), train)
    ids = FoundIds(ID, IdColumns(), "", "")
    roles = guess_roles(DraftFiles(table, RawTable(Path("X"), test.head(0)), table, {}, ids), names)
    spec = CompetitionSpec(
        name=workspace.competition,
        kaggle_slug=workspace.competition,
        id=ID,
        target=names,
        target_transform=transform,
        columns=_columns(frame, raw, roles, None if weight is None else WEIGHT),
        **settings,
    )
    tables = {"train": train, "test": test, "sample_submission": train[[ID, *names]].head(N_TEST_ROWS)}
    for name, one in tables.items():
        files.write_parquet(workspace.raw / f"{name}.parquet", one)
    write_source(workspace, "a DataFrame")
    build_features(workspace, spec)
    return FeatureStore(workspace, spec)


def _columns(frame: pd.DataFrame, raw: pd.DataFrame, guessed: Roles, weight: str | None) -> Columns:
    """The roles that the dtypes determine; for numbers and text, those guessed from values and names."""
    kinds = {name: _kind(frame[name]) for name in frame.columns}
    ordered = {name: levels for name, levels in guessed.ordered.items() if kinds[name] == "text"}
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
            ordered[str(name)] = as_written(_raw_column(pd.Series(dtype.categories))).tolist()
    codes = [name for name in guessed.categories if kinds[name] == "number"]
    return Columns(
        categories=codes + [name for name, kind in kinds.items() if kind == "category" and name not in ordered],
        ordered=ordered,
        dates=[name for name, kind in kinds.items() if kind == "date" or (kind == "text" and name in guessed.dates)],
        texts=[name for name in guessed.texts if kinds.get(name) == "text"],
        na_is_category=[name for name, kind in kinds.items() if kind in ("text", "category") and is_text(raw[name])],
        sample_weight=weight,
    )
