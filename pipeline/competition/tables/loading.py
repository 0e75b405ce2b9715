"""Raw folder and spec -> CompetitionTables: features, ids, target, and why some columns are left out.

Must not know: encoders, how folds are assigned, models.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.base import mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.progress import progress_bar
from pipeline.base.text import TEXT
from pipeline.competition.tables.assembly import read_tables, respelled, with_known_targets
from pipeline.competition.tables.checks import (
    check_columns,
    check_sample_submission,
    class_target,
    columns_of_spec,
    columns_of_time,
    ids_of,
    markers_of_target,
    metric_weight_of,
    regression_target,
    sample_weight_of,
    with_same_type,
)
from pipeline.competition.tables.dates import date_format_of, parse_dates
from pipeline.competition.tables.deciding import Decided, decide_recipe
from pipeline.competition.tables.extra_rows import OwnRows, ReadRows, read_extra_rows
from pipeline.competition.tables.reading import RawTable, inferred, listed, numbers_of
from pipeline.competition.tables.spelling import spelling_of
from pipeline.competition.tables.time_columns import TimeColumns, trends_of
from pipeline.competition.tables.typed import ColumnRecipe, type_new_rows
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label, Role

MAX_CATEGORIES = 100  # a column with more distinct texts than this, most of them seen once, probably holds names


@dataclass(frozen=True)
class CompetitionTables:
    """A competition's checked tables: rows in the order of the files (extra ones last), columns in that of train."""

    train: pd.DataFrame  # features only: float64 numbers, `str` categories, NaN for missing; RangeIndex
    test: pd.DataFrame  # the same columns and dtypes
    train_ids: pd.Series  # int64, or text exactly as written
    test_ids: pd.Series
    target: pd.DataFrame  # one column per target: float64 values, or int64 class codes
    classes: list[Label]  # labels in code order; [] for regression
    sample_weight: FloatArray | None
    metric_weight: FloatArray | None
    scoring_columns: pd.DataFrame  # the train columns that [scoring] names for a metric of one's own; may be none
    fold_columns: pd.DataFrame  # the train columns that [folds] names, without the extra rows; may be none
    roles: dict[str, Role]  # of every feature column
    left_out: dict[str, str]  # raw column -> why no model sees it
    recipes: list[ColumnRecipe]  # how new rows are typed
    notes: list[str]  # for the user
    n_extra_rows: int = 0  # the last of the train rows, which have no fold

    @property
    def n_own_rows(self) -> int:
        """The number of rows of the train file."""
        return len(self.train) - self.n_extra_rows


def load_tables(raw: Path, spec: CompetitionSpec) -> CompetitionTables:
    """Read, check and type the files of `spec` in the folder `raw`. Raises DataError, SpecError."""
    read = read_tables(raw, spec)
    train, test, sample = read.train, read.test, read.sample
    check_columns(train, columns_of_spec(spec))
    train, notes = _with_targets(train, sample, spec)
    check_columns(test, [("id", spec.id), *columns_of_time(spec)])
    if spec.folds.rules.has_number and len(train.frame) < spec.folds.number:
        raise DataError(f"{len(train.frame)} rows are too few for {spec.folds.number} folds", where=train.where())
    if len(test.frame) == 0:
        raise DataError("has no rows", where=test.where())
    train_id_text, test_id_text = ids_of(train, spec.id, are_unique=False), ids_of(test, spec.id)
    notes += check_sample_submission(sample, test, test_id_text, spec)
    train_ids, test_ids = with_same_type([train_id_text, test_id_text])
    if spec.task == "regression":
        target, classes = regression_target(train, spec), list[Label]()
    else:
        target, classes = class_target(train, spec, markers_of_target(sample, spec))
        notes += _notes_of_classes(classes, spec)
    sources, left_out = _feature_sources(train, test, spec)
    decided = _decided([train, test], sources, spec)
    recipes = [recipe for recipe, _ in decided]
    train_features = type_new_rows(train, recipes)
    trends = trends_of(spec, recipes)
    constant = [name for name in train_features if name not in trends and _is_constant(train_features[name])]
    unused = {*trends, *constant}
    recipes = [replace(recipe, features=[f for f in recipe.features if f not in unused]) for recipe in recipes]
    for recipe in recipes:
        if not recipe.features and spec.time is not None and recipe.source == spec.time.date and trends:
            left_out[recipe.source] = "only tells how late a row is"
        elif not recipe.features:
            is_missing = recipe.cells(train).isna().all()
            left_out[recipe.source] = "all values are missing" if is_missing else "same value in every train row"
    recipes = [recipe for recipe in recipes if recipe.features]
    train_features, test_features = train_features.drop(columns=[*unused]), type_new_rows(test, recipes)
    roles: dict[str, Role] = {feature: recipe.role for recipe in recipes for feature in recipe.features}
    if spec.time is not None:
        time_columns = TimeColumns.fit(spec, train, test, target)
        of_train = time_columns.read(train)
        of_train = of_train[[name for name in of_train if not _is_constant(of_train[name])]]
        train_features = with_columns(train_features, of_train)
        test_features = with_columns(test_features, time_columns.read(test)[of_train.columns])
        roles |= {str(name): time_columns.role_of(str(name)) for name in of_train}
        notes.append(time_columns.note(of_train.shape[1], trends))
    if not roles:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in [*left_out.items()][:10])
        raise DataError("no column is left to learn from", where=train.where(), hint=f"Left out: {reasons or 'none'}.")
    tables = CompetitionTables(
        train=train_features,
        test=test_features,
        train_ids=train_ids.rename(spec.id),
        test_ids=test_ids.rename(spec.id),
        target=target,
        classes=classes,
        sample_weight=sample_weight_of(train, spec.columns.sample_weight) if spec.columns.sample_weight else None,
        metric_weight=metric_weight_of(train, spec.scoring) if spec.scoring.weight else None,
        scoring_columns=pd.DataFrame(
            {name: inferred(train.column(name)) for name in spec.scoring.columns},
            index=pd.RangeIndex(len(train.frame)),
        ),
        fold_columns=_fold_columns(train, spec),
        roles=roles,
        left_out=left_out,
        recipes=recipes,
        notes=[
            *read.notes,
            *notes,
            *_notes_of_ids(train_ids, spec.id),
            *(note for recipe, notes in decided if recipe.source not in left_out for note in notes),
            *_notes_of(train_features, recipes),
        ],
    )
    own = OwnRows(train, train_features, target, classes, recipes, markers_of_target(sample, spec))
    return _with_extra_rows(tables, [read_extra_rows(raw, spec, one, own) for one in spec.extra_rows])


def _with_extra_rows(tables: CompetitionTables, extra: list[ReadRows]) -> CompetitionTables:
    """The tables with further rows at the end of train; what scores rows has any value there, which nothing reads."""
    if not extra:
        return tables
    n_extra = sum(len(one.features) for one in extra)
    loss_weight = tables.metric_weight if tables.sample_weight is None else tables.sample_weight
    loss_weight = np.ones(len(tables.train)) if loss_weight is None else loss_weight
    loss_weight = np.concatenate([loss_weight, *(np.full(len(one.features), one.weight) for one in extra)])
    metric_weight = tables.metric_weight
    scored = np.append(np.arange(len(tables.train)), np.zeros(n_extra, dtype=np.int64))
    return replace(
        tables,
        train=pd.concat([tables.train, *(one.features for one in extra)], ignore_index=True),
        train_ids=pd.concat([tables.train_ids.astype(TEXT), *(one.ids for one in extra)], ignore_index=True),
        target=pd.concat([tables.target, *(one.target for one in extra)], ignore_index=True),
        sample_weight=None if (loss_weight == 1.0).all() and tables.sample_weight is None else loss_weight,
        metric_weight=None if metric_weight is None else np.append(metric_weight, np.ones(n_extra)),
        scoring_columns=tables.scoring_columns.iloc[scored].reset_index(drop=True),
        notes=[*tables.notes, *(note for one in extra for note in one.notes)],
        n_extra_rows=n_extra,
    )


def new_rows(raw: RawTable, id_column: str, recipes: list[ColumnRecipe]) -> tuple[pd.Series, pd.DataFrame]:
    """Return ids and features of other rows, typed like the competition's own. Raises DataError."""
    check_columns(raw, [("id", id_column)])
    (ids,) = with_same_type([ids_of(raw, id_column)])
    return ids.rename(id_column), type_new_rows(raw, recipes, has_other_levels=True)


def _decided(tables: list[RawTable], sources: list[str], spec: CompetitionSpec) -> list[Decided]:
    """The recipe of each column and its notes; of large tables one column at a time is in memory."""
    n_rows, decided = len(tables[0].frame), list[Decided]()
    is_large = mapped.is_large(n_rows, len(sources))
    with progress_bar("looking at columns") if is_large else nullcontext(None) as update:
        for number, name in enumerate(sources):
            decided.append(decide_recipe(name, tables, spec.columns))
            if update is not None:
                mapped.release()
                update((number + 1) / len(sources), f"{name!r}, {n_rows:,} rows")
    return decided


def _with_targets(train: RawTable, sample: RawTable, spec: CompetitionSpec) -> tuple[RawTable, list[str]]:
    """Train without the rows that lack a target, its labels spelled as in the sample; notes. Raises DataError."""
    notes = []
    if spec.writes == "label" and len(spec.target) == len(spec.prediction_columns) == 1:
        spelling = spelling_of(train, spec.target[0], sample, spec.prediction_columns[0])
        if spelling:
            train = respelled(train, spec.target[0], spelling)
            pairs = ", ".join(f"{label!r} as {other!r}" for label, other in list(spelling.items())[:5])
            notes.append(f"labels are written as in {sample.path.name}: {pairs}")
    train, said = with_known_targets(train, spec, markers_of_target(sample, spec))
    return train, notes + said


def time_columns_of(raw: Path, spec: CompetitionSpec) -> TimeColumns:
    """The history of the competition's series, for other rows. Raises DataError."""
    read = read_tables(raw, spec)
    train, _ = _with_targets(read.train, read.sample, spec)
    return TimeColumns.fit(spec, train, read.test, regression_target(train, spec))


def with_columns(frame: pd.DataFrame, added: pd.DataFrame) -> pd.DataFrame:
    """Both side by side. Raises DataError if they have a name in common."""
    if both := [str(name) for name in added if name in frame]:
        hint = "Rename the column of the file, or remove [time] from the spec."
        raise DataError(f"{listed(both)}: [time] adds columns that are there already", where="[time]", hint=hint)
    return pd.concat([frame, added], axis=1)


def _feature_sources(train: RawTable, test: RawTable, spec: CompetitionSpec) -> tuple[list[str], dict[str, str]]:
    """The raw columns that become features, and the reasons why others do not."""
    columns = spec.columns
    id_is_feature = spec.id in {*columns.categories, *columns.ordered, *columns.dates, *columns.texts}
    reasons = dict.fromkeys(columns.drop, "dropped by the spec")
    reasons |= {columns.sample_weight: "holds the sample weights"} if columns.sample_weight else {}
    reasons |= {spec.folds.column: "holds the folds"} if spec.folds.column else {}
    sources, left_out = [], {}
    for name in train.frame.columns:
        if name in spec.target or (name == spec.id and not id_is_feature):
            continue
        if name in reasons:
            left_out[name] = reasons[name]
        elif name == "" and name != spec.id:
            left_out[name] = "its header is empty"
        elif name not in test.frame.columns:
            left_out[name] = f"not in {test.path.name}"
        else:
            sources.append(name)
    return sources, left_out


def _is_constant(column: pd.Series) -> bool:
    """Whether every row has the same value; missing counts as a value."""
    first = column.iloc[0]
    return bool(column.isna().all() if pd.isna(first) else (column == first).all())


def _fold_columns(train: RawTable, spec: CompetitionSpec) -> pd.DataFrame:
    """Groups and folds with inferred types; times as datetime64 if they are dates."""
    folds = spec.folds
    columns = {name: inferred(train.column(name)) for name in (folds.group, folds.column) if name is not None}
    if folds.time is not None:
        text = train.column(folds.time)
        times = inferred(text)
        if folds.time in spec.columns.dates or not pd.api.types.is_numeric_dtype(times.dtype):
            date_format, share = date_format_of([text])
            times = parse_dates(text, date_format) if share == 1.0 else times
        columns[folds.time] = times
    return pd.DataFrame(columns, index=pd.RangeIndex(len(train.frame)))


def _notes_of_classes(classes: list[Label], spec: CompetitionSpec) -> list[str]:
    if not spec.scorer.is_ordinal or spec.class_order or len(classes) == 2 or not isinstance(classes[0], str):
        return []
    return [
        f"{spec.target[0]}: {spec.metric} depends on the order of the classes, which is that of the alphabet: "
        f'{listed(classes, 5)}. Give theirs, lowest first: [columns.ordered] "{spec.target[0]}" = [...]'
    ]


def _notes_of_ids(ids: pd.Series, name: str) -> list[str]:
    n_repeated = int(ids.duplicated().sum())
    if not n_repeated:
        return []
    return [
        f"{n_repeated} of {len(ids)} train rows repeat an earlier id. If equal ids belong together, keep them in one "
        f'fold: [folds] kind = "group", group = "{name}"'
    ]


def _notes_of(features: pd.DataFrame, recipes: list[ColumnRecipe]) -> list[str]:
    notes = []
    for recipe in recipes:
        if recipe.kind == "category":
            values = features[recipe.features[0]].dropna()
            n_values = values.nunique()
            bare = values.drop_duplicates().str.replace(r"[,$€£%\s]", "", regex=True)
            if n_values > 1 and not np.isnan(numbers_of(bare)).any():
                notes.append(f"{recipe.source}: texts like {values.iloc[0]!r} are categories, not numbers")
            if n_values > MAX_CATEGORIES and n_values > len(features) / 2:
                notes.append(
                    f"{recipe.source}: {n_values} distinct texts in {len(features)} rows. If these are names, not "
                    "categories, list the column in columns.texts or columns.drop"
                )
    return notes
