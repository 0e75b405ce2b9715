"""Run a competition's feature function and check its result. Must not know encoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.base.user_code import load_module, place_of
from pipeline.competition.tables.reading import listed
from pipeline.config.types import Role

N_ALONE = 2  # rows that the function is called with alone
MOST_IN_PART = 1000  # rows of the part of the table that it is called with


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
    """Describe the columns of `made` that differ when the function gets a row alone or a part of the rows.

    "" if there are none. Such columns have other values in new rows than in train rows. Random values are found, too.
    """
    found: list[str] = []
    for rows in _parts(len(frame)):
        try:
            part, _ = apply_feature_function(path, frame.iloc[rows].reset_index(drop=True), roles)
        except DataError as error:
            return f"{'a row alone' if len(rows) == 1 else 'a part of the rows'} cannot be computed: {error.what}"
        whole = made.iloc[rows].reset_index(drop=True)
        found += [str(name) for name in whole if name not in part.columns or not _are_same(whole[name], part[name])]
    names = listed(dict.fromkeys(found), most=5)
    return f"the values of {names} in a row depend on the other rows, or on chance" if found else ""


def _parts(n_rows: int) -> list[NDArray[np.int64]]:
    """Positions of single rows, and of half of all rows: a count of a rare value changes where others are left out."""
    alone = np.unique(np.linspace(0, n_rows - 1, N_ALONE).astype(np.int64))
    half = np.random.default_rng(0).permutation(n_rows)[: min(n_rows // 2, MOST_IN_PART)]
    return [*alone.reshape(-1, 1), *([np.sort(half)] if len(half) else [])]


def _are_same(one: pd.Series, other: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other):
        left, right = (column.to_numpy(dtype=np.float64, na_value=np.nan) for column in (one, other))
        return bool(np.isclose(left, right, rtol=1e-9, atol=0.0, equal_nan=True).all())
    return bool(((one.isna() & other.isna()) | (one.astype(TEXT) == other.astype(TEXT))).all())
