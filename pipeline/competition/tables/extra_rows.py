"""Rows of a further file, such as the data set that a competition was made of, as train rows that are never validated.

Knows raw tables, recipes of columns and targets; must not know folds or models. A row that is in train as well is left
out: it would train the fold that validates its twin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.tables.assembly import respelled, with_known_targets
from pipeline.competition.tables.checks import check_columns, known_class_target, regression_target
from pipeline.competition.tables.joining import join_new_rows
from pipeline.competition.tables.reading import RawTable, as_written, find_raw, is_text, listed, read_raw
from pipeline.competition.tables.spelling import spelling
from pipeline.competition.tables.target_expression import with_target
from pipeline.competition.tables.typed import ColumnRecipe, type_new_rows, without_zero_fraction
from pipeline.config.sections import ExtraRows
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label


@dataclass(frozen=True)
class OwnRows:
    """The rows of the train file: what others are compared with, and how they are typed."""

    raw: RawTable
    features: pd.DataFrame
    target: pd.DataFrame
    classes: list[Label]  # [] for regression
    recipes: list[ColumnRecipe]
    markers: frozenset[str]  # texts that mark a missing target


@dataclass(frozen=True)
class ReadRows:
    """The rows of one file, typed as train's."""

    features: pd.DataFrame
    ids: pd.Series  # `original.csv:12`, the twelfth row
    target: pd.DataFrame
    weight: float  # of each row in the loss
    notes: list[str]


def read_extra_rows(folder: Path, spec: CompetitionSpec, wanted: ExtraRows, own: OwnRows) -> ReadRows:
    """Read the file of `wanted` in `folder`, typed as train is, without the rows that train has. Raises DataError."""
    raw = read_raw(find_raw(folder, wanted.file))
    notes = list(raw.notes)
    raw, _ = with_target(raw, spec)
    check_columns(raw, [("target", name) for name in spec.target])
    raw, said = with_known_targets(raw, spec, own.markers)
    raw, respelling = _spelled_as_train(raw, spec, own.classes)
    raw, unmatched = _joined(folder, spec, raw)
    raw, lacking = _aligned(raw, own, spec)
    notes += [*said, *respelling, *unmatched, *lacking]
    features = type_new_rows(raw, own.recipes)
    target = known_class_target(raw, spec, own.markers, own.classes) if own.classes else regression_target(raw, spec)
    is_new, known = _are_new(raw, features, target, own, spec)
    if not is_new.any():
        raise DataError(
            f"no row is left to train on: {'; '.join(known) or 'it has none'}",
            where=raw.where(),
            hint="Remove the file from [[extra_rows]] in the spec.",
        )
    numbers = np.arange(len(raw.frame)) if raw.row_numbers is None else raw.row_numbers
    ids = f"{raw.path.name}:" + pd.Series(numbers + 1).astype(TEXT)
    features, target = (rows[is_new].reset_index(drop=True) for rows in (features, target))
    ids = ids[is_new].reset_index(drop=True)
    weight = f", each with the weight {wanted.weight:g}" if wanted.weight != 1.0 else ""
    notes += [f"{raw.path.name}: {note}, and are left out" for note in known]
    notes.append(f"{raw.path.name}: {len(ids)} extra rows to train on, never validated{weight}")
    return ReadRows(features, ids, target, wanted.weight, notes)


def _spelled_as_train(raw: RawTable, spec: CompetitionSpec, classes: list[Label]) -> tuple[RawTable, list[str]]:
    """The rows with their labels spelled as in train, such as 1 for True, if one rule does it."""
    notes = []
    for name in spec.target if classes else []:
        labels = as_written(raw.frame[name]).dropna().unique()
        if found := spelling(labels, [str(label) for label in classes]):
            raw = respelled(raw, name, found)
            pairs = ", ".join(f"{label!r} as {other!r}" for label, other in list(found.items())[:5])
            notes.append(f"{raw.path.name}: labels are written as in train: {pairs}")
    return raw, notes


def _joined(folder: Path, spec: CompetitionSpec, raw: RawTable) -> tuple[RawTable, list[str]]:
    """The rows with the columns of [[tables]] whose key they have."""
    tables = [table for table in spec.tables if table.onto is not None or set(table.by) <= {*raw.frame.columns}]
    return join_new_rows(folder, tables, raw)


def _aligned(raw: RawTable, own: OwnRows, spec: CompetitionSpec) -> tuple[RawTable, list[str]]:
    """The rows with all columns that features are made of, and which of them are missing or ignored."""
    sources = [recipe.source for recipe in own.recipes]
    lacking = [name for name in sources if name not in raw.frame.columns]
    if len(lacking) == len(sources):
        raise DataError(
            f"has none of the columns that models read: {listed(sources)}",
            where=raw.where(),
            hint="Rename its columns as in train, or remove the file from [[extra_rows]] in the spec.",
        )
    notes = [f"{raw.path.name} lacks {listed(lacking)}: missing in its rows"] if lacking else []
    if unknown := [name for name in raw.frame.columns if name not in own.raw.frame.columns]:
        notes.append(f"{raw.path.name}: {listed(unknown)} not in {own.raw.path.name}: ignored")
    empty = pd.DataFrame(np.nan, index=raw.frame.index, columns=pd.Index(lacking)).astype(TEXT)
    named = [*sources, *spec.target, *([spec.folds.group] if spec.folds.group in raw.frame else [])]
    kept = [name for name in raw.frame.columns if name in named]
    return replace(raw, frame=pd.concat([raw.frame[kept], empty], axis=1)), notes


def _are_new(
    raw: RawTable, features: pd.DataFrame, target: pd.DataFrame, own: OwnRows, spec: CompetitionSpec
) -> tuple[NDArray[np.bool_], list[str]]:
    """Which rows may train every fold: those that neither are a train row nor belong to a group of train rows."""
    compared = [one for one in own.recipes if one.source != spec.id and not raw.frame[one.source].isna().all()]
    given = [name for recipe in compared for name in recipe.features]
    mine, theirs = (_hashes(frame[given], y) for frame, y in ((features, target), (own.features, own.target)))
    is_twin = np.isin(mine, theirs)
    notes = []
    if n_twins := int(is_twin.sum()):
        notes.append(f"{n_twins} of {len(mine)} rows are train rows as well, by target and all columns")
    group = spec.folds.group
    if group is None or group not in raw.frame:
        return ~is_twin, notes
    groups, known = (without_zero_fraction(as_written(one.column(group))) for one in (raw, own.raw))
    is_related = (groups.notna() & groups.isin(set(known))).to_numpy(dtype=np.bool_)
    if n_related := int((is_related & ~is_twin).sum()):
        notes.append(f"{n_related} of {len(mine)} rows have the {group!r} of train rows")
    return ~(is_twin | is_related), notes


def _hashes(features: pd.DataFrame, target: pd.DataFrame) -> NDArray[np.uint64]:
    """A hash of each row: of equal numbers, texts and missing cells the same."""
    columns = {f"target {name}": values for name, values in target.items()} | dict(features.items())
    same = {
        name: column if is_text(column) else np.where(column.isna(), np.nan, column.to_numpy(dtype=np.float64) + 0.0)
        for name, column in columns.items()
    }
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(same), index=False), dtype=np.uint64)
