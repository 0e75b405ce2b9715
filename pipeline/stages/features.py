"""Stage `features`: raw files -> checked typed tables, `folds.npy`, `manifest.json` under `features/`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.base import files, mapped
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.fold_checks import check_folds
from pipeline.competition.fold_kinds import TrainRows, assign_folds
from pipeline.competition.folds import MOMENT, NEVER_VALIDATED, FoldArray, moments_of, with_unvalidated
from pipeline.competition.manifest import FILE_NAMES, FeatureFiles, FeatureManifest
from pipeline.competition.metric_trial import tried_metric
from pipeline.competition.own_metric import METRIC_WEIGHT, SOLUTION, bound_metric
from pipeline.competition.store import SAMPLE_MARK, FeatureStore
from pipeline.competition.tables.loading import CompetitionTables, load_tables
from pipeline.competition.tables.reading import find_raw, is_text, read_table
from pipeline.competition.workspace import Workspace
from pipeline.config.file_record import FileRecord
from pipeline.config.records import RawSource, metric_at_kaggle
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.submission import check_form
from pipeline.metrics.kaggle_names import contradicts, metrics_of_kaggle


def build_features(workspace: Workspace, spec: CompetitionSpec) -> bool:
    """Write the competition's feature artifacts unless they are up to date; return whether anything was written.

    Raises DataError if the files do not fit the spec; nothing is overwritten then.
    """
    source = RawSource.read(workspace.source)
    inputs = dependencies.of_features(workspace, spec, is_sample=source.is_sample)
    known = FeatureManifest.read_or_none(workspace.manifest, otherwise="the features are built again")
    if known is not None:
        reason = dependencies.changed(known.made_of, inputs) or known.files.fault_in(workspace.features)
        if not reason:
            store = FeatureStore(workspace, spec)
            tried_metric(workspace, spec, store.own(store.train_rows), store.own(store.target), store.classes)
            return False
        say(f"features: {reason}; the features are built again")
    tables = load_tables(workspace.raw, spec)
    mapped.release()
    train_rows = _train_rows(tables)
    target = tables.target.to_numpy(dtype=np.float64)
    target = target[:, 0] if target.shape[1] == 1 else target
    n_own, n_extra = tables.n_own_rows, tables.n_extra_rows
    own_target = target[:n_own]
    rows = TrainRows(tables.train_ids[:n_own], own_target, tables.classes, tables.fold_columns, workspace.folder)
    fold_of_row = with_unvalidated(assign_folds(spec.folds, rows), n_extra)
    moments = None if spec.folds.time is None else moments_of(tables.fold_columns[spec.folds.time])
    if moments is not None:
        train_rows[MOMENT] = moments
    spec = tried_metric(workspace, spec, train_rows[:n_own], own_target, tables.classes)
    sample = read_table(find_raw(workspace.raw, spec.files.sample_submission), as_text=spec.text_columns)
    check_form(spec, tables.classes, sample, tables.test_ids, own_target)
    metric = bound_metric(spec, workspace.folder, train_rows, tables.classes)
    weight = tables.metric_weight if tables.sample_weight is None else tables.sample_weight
    notes = [
        *_contradiction(spec, workspace.raw),
        *tables.notes,
        *check_folds(spec, fold_of_row, target, tables.classes, weight, metric, moments),
    ]
    workspace.manifest.unlink(missing_ok=True)
    _write_tables(workspace, tables, train_rows, sample, fold_of_row)
    n_folds = int(fold_of_row.max()) + 1
    FeatureManifest(
        competition=workspace.competition,
        is_sample=source.is_sample,
        data=SAMPLE_MARK if source.is_sample else source.source,
        fingerprint=dependencies.fingerprint(inputs),
        made_of=dependencies.hashed(inputs),
        raw_files=_raw_files(workspace, spec),
        files=FeatureFiles.of(workspace.features),
        n_train_rows=n_own,
        n_extra_rows=n_extra,
        n_test_rows=len(tables.test),
        roles=tables.roles,
        dtypes={str(name): "str" if is_text(column) else str(column.dtype) for name, column in tables.train.items()},
        recipes=tables.recipes,
        left_out=tables.left_out,
        classes=tables.classes,
        n_folds=n_folds,
        rows_by_fold=[int((fold_of_row == fold).sum()) for fold in range(n_folds)],
        n_never_validated=int((fold_of_row[:n_own] == NEVER_VALIDATED).sum()),
        notes=notes,
        versions=files.versions(),
    ).write(workspace.manifest)
    for note in [*(f"{name!r} is left out: {reason}" for name, reason in tables.left_out.items()), *notes]:
        say(f"features: {note}")
    of_train = f"{n_own} train rows" + (f" and {n_extra} extra rows" if n_extra else "")
    counts = f"{of_train}, {len(tables.test)} test rows, {len(tables.roles)} columns"
    say(f"features: {counts}, {n_folds} folds ({spec.folds.kind})")
    return True


def _contradiction(spec: CompetitionSpec, raw: Path) -> list[str]:
    """What `submit` will refuse: a metric that is not Kaggle's."""
    name = metric_at_kaggle(raw)
    if not contradicts(spec.metric, name) or spec.kaggle_metric == name:
        return []
    return [f"the metric is {spec.metric}, but Kaggle scores by {name!r} ({' or '.join(metrics_of_kaggle(name))})"]


def _raw_files(workspace: Workspace, spec: CompetitionSpec) -> dict[str, FileRecord]:
    """The raw files that were read, by their path in `raw/`."""
    paths = dependencies.raw_paths(workspace, spec).values()
    return {Path(os.path.relpath(path, workspace.raw)).as_posix(): FileRecord.of(path) for path in paths}


def _train_rows(tables: CompetitionTables) -> pd.DataFrame:
    """Id, targets, weights, and what a metric of one's own reads of the train rows."""
    rows = pd.DataFrame({"id": tables.train_ids})
    for position in range(tables.target.shape[1]):
        rows[f"target_{position}"] = tables.target.iloc[:, position]
    if tables.sample_weight is not None:
        rows["sample_weight"] = tables.sample_weight
    if tables.metric_weight is not None:
        rows[METRIC_WEIGHT] = tables.metric_weight
    for position, (_, column) in enumerate(tables.scoring_columns.items()):
        rows[SOLUTION.format(position)] = column
    return rows


def _write_tables(
    workspace: Workspace,
    tables: CompetitionTables,
    train_rows: pd.DataFrame,
    sample: pd.DataFrame,
    fold_of_row: FoldArray,
) -> None:
    frames = {
        "train": tables.train,
        "test": tables.test,
        "train_rows": train_rows,
        "test_rows": pd.DataFrame({"id": tables.test_ids}),
        "sample_submission": sample,
    }
    for key, frame in frames.items():
        files.write_parquet(workspace.features / FILE_NAMES[key], frame)
    files.write_npy(workspace.features / FILE_NAMES["folds"], fold_of_row)
