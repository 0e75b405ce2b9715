"""What the page is about: the artifacts of a competition, read through their types.

Broken or foreign files are left out with a remark. Knows files and their types; must not know how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import ArtifactError, PipelineError
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray
from pipeline.competition.run_files import read_history, read_predictions
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.records import Place, Provenance, Repeats, TuningResult
from pipeline.config.run_report import RunReport
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.metrics import Metric
from pipeline.report.compute.columns import ColumnView, column_views
from pipeline.scoring.cross_validation import predictions_of

Content = TypeVar("Content")
OTHERWISE = "it is left out of the page"
MOST_COLUMNS = 400  # that are looked at


@dataclass(frozen=True)
class Study:
    """A model's study: its trials, their importances and what was chosen."""

    model: str
    trials: pd.DataFrame
    importances: pd.DataFrame
    result: TuningResult | None


@dataclass(frozen=True)
class OutOfFold:
    """The validated rows of a run: positions in the train table, folds, targets, predictions."""

    rows: NDArray[np.int64]  # positions
    fold: FoldArray
    target: FloatArray
    prediction: FloatArray


@dataclass(frozen=True)
class Material:
    """Everything the sections read."""

    store: FeatureStore
    runs: list[RunReport]  # of the current features, best first
    others: list[RunReport]  # of other features or settings, whose scores do not compare
    run: RunReport | None  # the one that the page is about
    ledger: list[Entry]
    studies: list[Study]
    remarks: list[str]  # what could not be read
    _kept: dict[str, OutOfFold] = field(default_factory=dict, repr=False, compare=False)

    @property
    def metric(self) -> Metric:
        """The competition's."""
        return self.store.metric

    @property
    def is_classification(self) -> bool:
        """Whether predictions are of classes."""
        return self.store.spec.task != "regression"

    @property
    def is_sample(self) -> bool:
        """Whether the data is a built-in sample."""
        return self.store.is_sample or (self.run is not None and self.run.is_sample)

    @property
    def is_current(self) -> bool:
        """Whether the run is of the current features, so that its rows are those of the tables."""
        return self.run in self.runs

    def folder(self, report: RunReport) -> RunFolder:
        """The files of a run."""
        return self.store.workspace.run(report.run)

    def oof(self, report: RunReport) -> OutOfFold:
        """A run's out-of-fold predictions. Raises ArtifactError."""
        if report.run not in self._kept:
            frame = read_predictions(self.folder(report), report, "oof")
            fold = frame["fold"].to_numpy()
            rows = np.flatnonzero(fold != NEVER_VALIDATED).astype(np.int64)
            target = frame[[name for name in frame.columns if name.startswith("target_")]].to_numpy(dtype=np.float64)
            prediction = predictions_of(frame, is_classification=self.metric.reads != "value")
            self._kept[report.run] = OutOfFold(
                rows, fold[rows], target[rows, 0] if target.shape[1] == 1 else target[rows], prediction[rows]
            )
        return self._kept[report.run]

    def history(self, report: RunReport) -> pd.DataFrame:
        """A run's scores by epoch. Raises ArtifactError."""
        return read_history(self.folder(report), report)

    @cached_property
    def views(self) -> list[ColumnView]:
        """The columns, evenly spaced ones if there are very many; of several targets the first is looked at."""
        store = self.store
        target = store.own(store.target)
        target = target.reshape(len(target), -1)[:, 0]
        train, test = store.own(store.train), store.test
        if train.shape[1] > MOST_COLUMNS:
            kept = [train.columns[i] for i in np.linspace(0, train.shape[1] - 1, MOST_COLUMNS).astype(int)]
            train, test = train[kept], test[kept]
        return column_views(train, test, store.manifest.roles, target, len(store.classes))

    @cached_property
    def provenance(self) -> Provenance | None:
        """Of the run's submission, if there is one."""
        if self.run is None:
            return None
        path = self.store.workspace.submissions / f"{self.run.run}.json"
        return Provenance.read_or_none(path, otherwise=OTHERWISE, may_be_newer=True)

    @cached_property
    def place(self) -> Place | None:
        """On the public leaderboard, if Kaggle was asked for it."""
        return Place.read_or_none(self.store.workspace.place, otherwise=OTHERWISE, may_be_newer=True)

    @cached_property
    def repeats(self) -> Repeats | None:
        """The run's configuration on other folds, if it was tried."""
        if self.run is None:
            return None
        path = self.folder(self.run).path / "repeats.json"
        return Repeats.read_or_none(path, otherwise=OTHERWISE, may_be_newer=True)


def collect(store: FeatureStore, run: str | None = None) -> Material:
    """Read what there is; the page is about `run`, by default the best one. Raises ArtifactError for an unknown run."""
    workspace, remarks = store.workspace, list[str]()
    if run is not None:
        workspace.finished_run(run)
    reports = []
    for path in sorted(workspace.runs.glob("*/report.json")):
        report = RunReport.read_or_none(path, otherwise=OTHERWISE, may_be_newer=True)
        if report is None:
            remarks.append(f"The run {path.parent.name} cannot be read and is left out.")
        elif report.metric == store.spec.metric or report.run == run:
            reports.append(report)
    losses = {report.run: float(store.metric.losses([honest_score(report)])[0]) for report in reports}
    reports.sort(key=lambda report: (losses[report.run], report.run))
    current = [report for report in reports if not store.outdated(report)]
    others = [report for report in reports if report not in current]
    chosen = next((report for report in reports if report.run == run), None)
    if chosen is None:
        chosen = next(iter([*current, *others]), None)
    ledger: list[Entry] = _or_remark(Ledger(workspace.ledger).entries, remarks, [])
    studies = [
        study
        for folder in sorted((workspace.folder / "tuning").glob("*/"))
        if (study := _or_remark(partial(_study, store, folder.name), remarks, None)) is not None
    ]
    return Material(store, current, others, chosen, ledger, studies, remarks)


def honest_score(report: RunReport) -> float:
    """A run's cv score; that of an ensemble in nested folds, less what the choice of its method gains by luck."""
    found = report.ensemble
    if found is None:
        return report.cv_score
    return found.nested_score if found.corrected_score is None else found.corrected_score


def _study(store: FeatureStore, model: str) -> Study | None:
    folder = store.workspace.tuning(model)
    if not (folder / "trials.parquet").exists():
        return None
    trials = files.read_parquet(folder / "trials.parquet")
    importances = folder / "importances.parquet"
    return Study(
        model,
        trials,
        files.read_parquet(importances) if importances.exists() else pd.DataFrame(),
        TuningResult.read_or_none(folder / "best.json", otherwise=OTHERWISE, may_be_newer=True),
    )


def _or_remark(read: Callable[[], Content], remarks: list[str], instead: Content) -> Content:
    try:
        return read()
    except (ArtifactError, PipelineError) as error:
        remarks.append(f"{error.where}: {error.what}; it is left out.")
        return instead
