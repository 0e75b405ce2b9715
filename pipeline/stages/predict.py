"""Stage `predict`: a finished run and new rows -> predictions in the form of a submission."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.base import files
from pipeline.base.errors import ArtifactError, DataError
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.run_files import check_models, how_to_repeat
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.checks import check_columns, columns_of_time
from pipeline.competition.tables.ids import new_rows_with_ids
from pipeline.competition.tables.joining import join_new_rows
from pipeline.competition.tables.loading import new_rows, time_columns_of, with_columns
from pipeline.competition.tables.reading import RawTable, find_raw, read_raw
from pipeline.competition.workspace import RunFolder, Workspace, part_folder
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.config.spec import load_spec
from pipeline.encoders.table import EncodingCache
from pipeline.kaggle.submission import make_submission
from pipeline.models.registry import entry_of
from pipeline.scoring.fitted_run import FittedPart, FittedRun


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


def load_run(store: FeatureStore, run: RunFolder, *, is_member: bool = False) -> FittedRun:
    """Load the run's models: those refitted on all rows, or the fold models of the run or of its ensemble's runs."""
    report = RunReport.read(run.report)
    if reason := store.outdated(report):
        hint = how_to_repeat(report, run.report)
        raise ArtifactError(f"{reason} after the run was trained", where=run.name, hint=hint)
    weighted = report.config.weighted_parts
    is_refitted = not is_member and bool(report.files.final)
    check_models(run, report, is_refitted=is_refitted)
    parts: list[FittedPart | FittedRun]
    if report.ensemble is not None and not is_refitted:
        runs = [store.workspace.finished_run(member.run) for member in report.ensemble.members]
        parts = [load_run(store, one, is_member=True) for one in runs]
    else:
        folder = run.final_model if is_refitted else run.model
        n_splits = 1 if is_refitted else store.manifest.n_folds
        parts = []
        for number, (_, part) in enumerate(weighted):
            fitted = entry_of(part.model).load(part_folder(folder, number, len(weighted)))
            parts.append(FittedPart(part, fitted, n_splits))
    weights = [weight for weight, _ in weighted]
    return FittedRun(parts, weights, store.spec.metric, report.log_odds, report.adjustment)
