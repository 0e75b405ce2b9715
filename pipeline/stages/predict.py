"""Stage `predict`: a finished run and new rows -> predictions in the form of a submission."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.base import files
from pipeline.base.errors import ArtifactError, DataError
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.checks import check_columns, columns_of_time
from pipeline.competition.tables.ids import new_rows_with_ids
from pipeline.competition.tables.joining import join_new_rows
from pipeline.competition.tables.loading import new_rows, time_columns_of, with_columns
from pipeline.competition.tables.reading import RawTable, find_raw, read_raw
from pipeline.competition.workspace import Workspace
from pipeline.config.run import RunConfig
from pipeline.config.spec import load_spec
from pipeline.encoders.table import EncodingCache
from pipeline.kaggle.submission import make_submission
from pipeline.scoring.stored_run import load_run


def predict_file(workspace: Workspace, run_name: str, rows: Path, output: Path | None) -> tuple[Path, bool]:
    """Predict the rows of a file with the competition's columns; return where, and whether the run's data is a sample.

    `output` defaults to `<rows>-<run>.csv` beside the rows. Raises ArtifactError, DataError.
    """
    store = FeatureStore(workspace, load_spec(workspace.spec))
    path = output or rows.with_name(f"{rows.name.split('.')[0]}-{run_name}.csv")
    files.write_csv(path, predict_rows(store, run_name, read_raw(rows)))
    return path, store.is_sample


def predict_rows(store: FeatureStore, run_name: str, rows: RawTable) -> pd.DataFrame:
    """Predict a table with the competition's columns. Raises ArtifactError, DataError."""
    run = store.workspace.finished_run(run_name)
    if reason := dependencies.changed_in_spec(store.manifest.made_of, store.spec):
        hint = "Build them with `python -m pipeline features`, and train the run again."
        raise ArtifactError(f"{reason} after the features were built", where=str(store.workspace.features), hint=hint)
    if len(rows.frame) == 0:
        raise DataError("has no rows", where=rows.where(), hint="There is nothing to predict.")
    rows = _assembled(store, rows)
    ids, features = new_rows(rows, store.spec.id, store.manifest.recipes)
    if store.spec.time is not None:
        check_columns(rows, columns_of_time(store.spec))
        features = with_columns(features, time_columns_of(store.workspace.raw, store.spec).read(rows))

    made: dict[bool, pd.DataFrame] = {}  # the feature function runs once for all parts that use it

    def features_of(config: RunConfig) -> pd.DataFrame:
        if config.features.feature_function not in made:
            made[config.features.feature_function], _ = store.run_feature_function(config, features)
        return made[config.features.feature_function]

    prediction = load_run(store, run).predict(features_of, EncodingCache())
    names = [name for name in store.sample_submission.columns if name != store.spec.sample_id]
    empty = pd.DataFrame({store.spec.sample_id: ids.to_numpy()} | dict.fromkeys(names))
    return make_submission(store.spec, store.classes, empty, ids, prediction)


def _assembled(store: FeatureStore, rows: RawTable) -> RawTable:
    """The rows with their ids and the columns of further tables. What is read of raw files must be as it was."""
    spec, raw = store.spec, store.workspace.raw
    for name in [table.file for table in spec.tables] if spec.time is None else spec.raw_names.values():
        path = find_raw(raw, name)
        record = store.manifest.raw_files.get(path.name)
        if record is None or record.fault_of(path):
            hint = "Build them with `python -m pipeline features`, and train the run again."
            raise ArtifactError("was changed after the features were built", where=str(path), hint=hint)
    notes = list(rows.notes)
    rows, said = join_new_rows(raw, spec.tables, new_rows_with_ids(rows, spec.id, spec.ids))
    for note in notes + said:
        say(f"predict: {note}")
    return rows
