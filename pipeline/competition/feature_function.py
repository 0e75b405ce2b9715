"""Run a competition's feature function and check its result. Must not know encoders."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.base.user_code import load_module, place_of
from pipeline.competition.tables.reading import listed
from pipeline.config.types import Role

N_ALONE = 2  # rows that the function is called with alone


def apply_feature_function(
    path: Path, frame: pd.DataFrame, roles: Mapping[str, Role]
) -> tuple[pd.DataFrame, dict[str, Role]]:
    """Return the result of `add_features(frame)` in the file `path`, and the roles of its columns.

    New columns of other types than number or bool become text categories. Raises DataError.
    """
    if not path.is_file():
        raise DataError("the file of the feature function does not exist", where=str(path))
    try:
        made = load_module(path).add_features(frame.copy())
    except Exception as error:
        raise DataError(
            f"add_features failed: {type(error).__name__}: {error}",
            where=place_of(error, path),
            hint="It gets the typed feature columns, without the target, and must return them with columns added.",
        ) from error
    if not isinstance(made, pd.DataFrame) or len(made) != len(frame) or not made.index.equals(frame.index):
        raise DataError("add_features must return a DataFrame with the same rows as its argument", where=str(path))
    made.columns = made.columns.astype(TEXT)
    if not made.columns.is_unique:
        raise DataError(f"the column {made.columns[made.columns.duplicated()][0]!r} appears twice", where=str(path))
    made_roles: dict[str, Role] = {}
    for name in made.columns:
        is_number = pd.api.types.is_numeric_dtype(made[name]) or pd.api.types.is_bool_dtype(made[name])
        made_roles[name] = roles.get(name, "number" if is_number else "category")
        if not is_number:
            made[name] = made[name].astype(TEXT)  # intervals, moments, mixed objects
        elif np.isinf(made[name].to_numpy(dtype=np.float64, na_value=np.nan)).any():
            raise DataError(
                f"the column {name!r} contains infinity",
                where=str(path),
                hint="Perhaps from a division by zero. Replace it: .replace([np.inf, -np.inf], np.nan).",
            )
    return made, made_roles


def dependence_on_other_rows(path: Path, frame: pd.DataFrame, roles: Mapping[str, Role], made: pd.DataFrame) -> str:
    """Describe the columns of `made` that differ when the function gets a row alone; "" if there are none.

    Such columns have other values in new rows than in train rows. Random values are found, too.
    """
    found: list[str] = []
    for row in np.unique(np.linspace(0, len(frame) - 1, N_ALONE).astype(np.int64)):
        try:
            alone, _ = apply_feature_function(path, frame.iloc[[row]].reset_index(drop=True), roles)
        except DataError as error:
            return f"a row alone cannot be computed: {error.what}"
        found += [
            name
            for name in made.columns
            if name not in alone.columns or not _is_same(made[name].iloc[row], alone[name].iloc[0])
        ]
    names = listed(dict.fromkeys(found), most=5)
    return f"the values of {names} in a row depend on the other rows, or on chance" if found else ""


def _is_same(value: Any, other: Any) -> bool:
    if pd.isna(value) or pd.isna(other):
        return bool(pd.isna(value) and pd.isna(other))
    if isinstance(value, Real) and isinstance(other, Real):
        return bool(np.isclose(float(value), float(other), rtol=1e-9, atol=0.0))
    return bool(value == other)
