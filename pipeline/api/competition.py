"""A competition as one object with a method per stage.

Knows the order of the work and what a run leaves; must not decide anything that a stage decides.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.api.calls import choice_of, isolated
from pipeline.api.frames import raw_frame
from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable, read_raw, read_table
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.records import Provenance
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client.urls import slug_of
from pipeline.stages import steps
from pipeline.stages.check import check_data
from pipeline.stages.leaderboard import read_leaderboard
from pipeline.stages.predict import predict_rows
from pipeline.stages.runs import list_runs
from pipeline.stages.submit import submit as submit_file
from pipeline.tuning.session import TuneOptions


@dataclass(frozen=True)
class Run:
    """A finished run: one configuration, cross-validated."""

    folder: RunFolder

    @property
    def name(self) -> str:
        """The run's name, as `Competition.runs` lists it."""
        return self.folder.name

    @cached_property
    def report(self) -> RunReport:
        """All that `report.json` says: configuration, scores, versions, hashes."""
        return RunReport.read(self.folder.report)

    @property
    def cv_score(self) -> float:
        """The competition's metric of all out-of-fold predictions."""
        return self.report.cv_score

    @property
    def fold_scores(self) -> FloatArray:
        """The metric of every fold's rows; `cv_score` is not their mean."""
        return np.array(self.report.fold_scores)

    @cached_property
    def oof(self) -> pd.DataFrame:
        """Ids, folds, targets and out-of-fold predictions of the train rows."""
        return files.read_parquet(self.folder.oof)

    @cached_property
    def history(self) -> pd.DataFrame:
        """Train and valid score by member and epoch; empty for models that have no epochs."""
        return files.read_parquet(self.folder.history)

    @property
    def importance(self) -> pd.Series:
        """Encoded column -> share of what the model goes by, largest first; empty for an ensemble."""
        parts = self.report.parts
        shares = parts[0].feature_importance if len(parts) == 1 else {}
        return pd.Series(shares, dtype=np.float64, name="importance")


@dataclass(frozen=True)
class Submission:
    """A checked submission file."""

    path: Path

    @cached_property
    def provenance(self) -> Provenance:
        """How it was made: run, configuration, scores, versions, hashes."""
        return Provenance.read(self.path.with_suffix(".json"))

    @property
    def cv_score(self) -> float:
        """The run's `cv_score`."""
        return self.provenance.cv_score

    @property
    def nested_score(self) -> float | None:
        """Of preset "best": the ensemble's score with weights that were chosen on other rows."""
        return self.provenance.nested_score

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of the file."""
        return read_table(self.path)


@dataclass(frozen=True)
class Leaderboard:
    """What Kaggle shows, beside what was sent."""

    top: pd.DataFrame  # the first rows of the public leaderboard
    ledger: pd.DataFrame  # all that was sent: cv score and public score
    remarks: list[str]  # how the two go together


class Competition:
    """A Kaggle competition in `<root>/data/<name>`: what a method needs and is not there is made first.

    What is there and up to date is not made again. Where there is no spec, one is drafted from the files: read it.
    Messages and progress go to stderr, unless `verbose` is False. Mistakes raise a `PipelineError`.

    Examples
    --------
    >>> from pipeline import Competition
    >>> spiral = Competition("spiral", verbose=False)
    >>> run = spiral.train(model="neighbours", numbers=[15])
    >>> bool(run.cv_score > 0.9), len(run.fold_scores)
    (True, 5)
    >>> list(run.oof.columns)
    ['id', 'fold', 'target_0', 'prediction_0', 'prediction_1', 'prediction_2']
    >>> submission = spiral.submit("fast", "neighbours", numbers=[15])
    >>> submission.path.name == f"{run.name}.csv", submission.cv_score == run.cv_score
    (True, True)
    >>> spiral.runs()[["run", "model"]].shape
    (1, 2)
    >>> spiral.predict(run, "data/spiral/raw/test.csv").columns.tolist()
    ['id', 'arm']
    """

    def __init__(
        self,
        name: str,
        root: str | os.PathLike[str] = ".",
        *,
        device: str = "auto",
        n_workers: int = 0,
        verbose: bool = True,
    ) -> None:
        self.workspace = Workspace(Path(root), slug_of(name))
        self.device, self.n_workers, self.verbose = device, n_workers, verbose

    def __repr__(self) -> str:
        return f"Competition({self.workspace.competition!r}, root={str(self.workspace.root)!r})"

    @property
    def spec(self) -> CompetitionSpec:
        """What `competition.toml` says."""
        return self.features().spec

    @isolated
    def features(self) -> FeatureStore:
        """The typed tables (`.train`, `.test`), the `.target`, the `.fold_of_row` and the `.spec`."""
        return steps.with_features(self.workspace)[0]

    @isolated
    def train(self, /, preset: str = "fast", model: str | None = None, **overrides: Any) -> Run:
        """Cross-validate a preset, or another model than the preset's.

        Overrides are parameters of the model (`lr=0.01`) or settings of the run (`seeds=2`,
        `features__rare_min_count=5`).
        """
        config = steps.run_configuration(self.workspace, choice_of(preset, model, overrides))
        return Run(steps.train(self.workspace, config, self._context())[1])

    @isolated
    def tune(
        self, /, trials: int = 100, model: str | None = None, preset: str = "fast", **overrides: Any
    ) -> pd.DataFrame:
        """Go on with the model's study until it has `trials`; its trials, the best first.

        What is found is preset "tuned". Interrupted, the study keeps what is finished.
        """
        choice = choice_of(preset, model, overrides)
        store, folder, _ = steps.tune(self.workspace, choice, self._context(), TuneOptions(n_trials=trials))
        table = files.read_parquet(folder / "trials.parquet")
        return table.sort_values("cv_score", ascending=not store.spec.scorer.greater_is_better)

    @isolated
    def final(
        self, /, preset: str = "fast", model: str | None = None, *, minutes: float = 10.0, **overrides: Any
    ) -> Submission:
        """Everything up to a checked submission file; see `submit`."""
        return self._finished(preset, model, minutes, overrides)[1]

    @isolated
    def submit(
        self,
        /,
        preset: str = "best",
        model: str | None = None,
        *,
        minutes: float = 10.0,
        upload: bool = False,
        **overrides: Any,
    ) -> Submission:
        """Everything up to a checked submission file and, if `upload`, send it to Kaggle and wait for its score.

        Preset "best" takes `minutes`, those of earlier calls included; interrupted, it ends with the best so far, and
        nothing is sent.
        """
        store, submission, is_interrupted = self._finished(preset, model, minutes, overrides)
        submit_file(store, submission.path, is_upload_wanted=upload and not is_interrupted)
        return submission

    @isolated
    def runs(self) -> pd.DataFrame:
        """All finished runs, the best first."""
        return list_runs(self.workspace, steps.with_spec(self.workspace))

    @isolated
    def run(self, name: str) -> Run:
        """The finished run of this name."""
        return Run(self.workspace.finished_run(name))

    @isolated
    def predict(self, run: Run | str, rows: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
        """Predict rows that have the competition's raw columns, in the form of a submission.

        A file is read as the competition's own are; a frame as its dtypes say, with missing values for missing.
        """
        store, _ = steps.with_features(self.workspace)
        if isinstance(rows, pd.DataFrame):
            raw = RawTable(Path("rows"), raw_frame(rows.rename(columns=str)))
        else:
            raw = read_raw(Path(rows))
        return predict_rows(store, run if isinstance(run, str) else run.name, raw)

    @isolated
    def check(self) -> pd.DataFrame:
        """Look for what would make a score lie; the findings: `mark` (ok or look) and `text`."""
        return pd.DataFrame([asdict(one) for one in check_data(steps.with_features(self.workspace)[0])])

    @isolated
    def leaderboard(self, n_rows: int = 10) -> Leaderboard:
        """Kaggle's public leaderboard and all that was sent. Raises KaggleError."""
        return Leaderboard(*read_leaderboard(self.workspace, steps.with_spec(self.workspace), n_rows=n_rows))

    def _context(self) -> Any:
        return steps.fit_context(self.device, self.n_workers)

    def _finished(
        self, preset: str, model: str | None, minutes: float, overrides: dict[str, Any]
    ) -> tuple[FeatureStore, Submission, bool]:
        choice = choice_of(preset, model, overrides)
        store, path, is_interrupted = steps.finish(self.workspace, choice, self._context(), minutes=minutes)
        if is_interrupted:
            say(f"interrupted; {path} is the best so far")
        return store, Submission(path), is_interrupted
