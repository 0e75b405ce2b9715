"""A DataFrame and a target -> the raw files and the spec of a competition, so that the stages can work on them.

Knows pandas' dtypes and what a draft guesses of columns; must not know models or estimators.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.draft.roles import Roles, guess_roles
from pipeline.competition.draft.task import guess_transform
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable, as_written, is_text
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import Columns, CompetitionSpec
from pipeline.stages.data import write_source
from pipeline.stages.features import build_features

ID, TARGET, WEIGHT = "__row__", "__target_{}__", "__weight__"
N_TEST_ROWS = 50  # the stages want a test table; nobody reads what they predict for it

Kind = Literal["number", "flag", "category", "date", "text"]


def raw_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns (named by text) as a raw file gives them: float64 numbers or text (`str`), NaN for missing.

    Raises DataError for two columns of one name, and for a number that is infinite or complex.
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
    if kind == "number" or (kind == "category" and pd.api.types.is_numeric_dtype(values.dtype)):
        if pd.api.types.is_timedelta64_dtype(values.dtype):
            values = values.dt.total_seconds()
        if pd.api.types.is_complex_dtype(values.dtype):
            raise DataError("Complex data not supported", where=f"X, column {column.name!r}")
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            row = int(np.argmax(np.isinf(numbers))) + 1
            raise DataError("Input X contains infinity", where=f"X, column {column.name!r}, row {row}")
        return pd.Series(numbers)
    return values.astype("str").mask(values.isna())


def _kind(column: pd.Series) -> Kind:
    """What the dtype says of a column; of objects, what they are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(column.dtype):
        return "flag"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        return "number"
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    of_objects: dict[str, Kind] = {"boolean": "flag", "datetime": "date", "datetime64": "date", "date": "date"}
    of_objects |= dict.fromkeys(("integer", "floating", "mixed-integer-float", "decimal", "complex", "empty"), "number")
    return of_objects.get(inferred, "text")


def write_features(
    workspace: Workspace,
    frame: pd.DataFrame,
    target: FloatArray,
    weight: FloatArray | None,
    *,
    is_metric_given: bool,
    **settings: Any,
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
    settings["target_transform"] = "none"
    if settings["task"] == "regression":
        settings["target_transform"], _ = guess_transform(targets, settings["metric"], is_metric_given=is_metric_given)
    table = RawTable(Path("X"), train)
    roles = guess_roles(DraftFiles(table, RawTable(Path("X"), test.head(0)), table, {}, ID), names)
    spec = CompetitionSpec(
        name=workspace.competition,
        kaggle_slug=workspace.competition,
        id=ID,
        target=names,
        columns=_columns(frame, raw, roles, None if weight is None else WEIGHT),
        **settings,
    )
    tables = {"train": train, "test": test, "sample_submission": train[[ID, *names]].head(N_TEST_ROWS)}
    for name, one in tables.items():
        files.write_parquet(workspace.raw / f"{name}.parquet", one)
    write_source(workspace, "a DataFrame", is_sample=False)
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
