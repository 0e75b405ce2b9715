"""A competition as one object with a method per stage.

Knows the stages and the files of runs; must not make any decision of a stage.
"""

from __future__ import annotations

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
from pipeline.competition.run_files import read_history, read_predictions
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable, read_raw, read_table
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.records import Provenance
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec
from pipeline.scoring.choice import Choice
from pipeline.stages import steps
from pipeline.stages.check import check_data
from pipeline.stages.choose import choose_submissions
from pipeline.stages.leaderboard import board_frame, ledger_frame, read_leaderboard
from pipeline.stages.predict import predict_rows
from pipeline.stages.report import make_report
from pipeline.stages.runs import list_runs
from pipeline.stages.submit import submit as submit_file
from pipeline.tuning.session import TuneOptions


@dataclass(frozen=True)
class Run:
    """A finished run: one configuration, cross-validated."""

    folder: RunFolder

    @property
    def name(self) -> str:
        """The run's name, as in `Competition.runs`."""
        return self.folder.name

    @cached_property
    def report(self) -> RunReport:
        """The contents of `report.json`: configuration, scores, versions, hashes."""
        return RunReport.read(self.folder.report)

    @property
    def cv_score(self) -> float:
        """The competition's metric of all out-of-fold predictions."""
        return self.report.cv_score

    @property
    def fold_scores(self) -> FloatArray:
        """(folds,) the metric of each fold's out-of-fold predictions; `cv_score` is not their mean."""
        return np.array(self.report.fold_scores)

    @cached_property
    def oof(self) -> pd.DataFrame:
        """Ids, folds, targets and out-of-fold predictions of the train rows."""
        return read_predictions(self.folder, self.report, "oof")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Train and valid score by member and epoch; empty for models without epochs."""
        return read_history(self.folder, self.report)

    @property
    def importance(self) -> pd.Series:
        """Feature importances by encoded column, largest first, with sum 1; empty for an ensemble."""
        parts = self.report.parts
        shares = parts[0].feature_importance if len(parts) == 1 else {}
        return pd.Series(shares, dtype=np.float64, name="importance")


@dataclass(frozen=True)
class Submission:
    """A checked submission file."""

    path: Path

    @cached_property
    def provenance(self) -> Provenance:
        """How the file was made: run, configuration, scores, versions, hashes."""
        return Provenance.read(self.path.with_suffix(".json"))

    @property
    def cv_score(self) -> float:
        """The run's `cv_score`."""
        return self.provenance.cv_score

    @property
    def nested_score(self) -> float | None:
        """Score of preset "best" with every fold predicted by weights chosen on the other folds; otherwise None."""
        return self.provenance.nested_score

    @property
    def frame(self) -> pd.DataFrame:
        """The file's rows."""
        return read_table(self.path)


@dataclass(frozen=True)
class Leaderboard:
    """Kaggle's public leaderboard and the submissions sent."""

    top: pd.DataFrame  # the first rows of the public leaderboard
    ledger: pd.DataFrame  # every submission: cv score and public score
    remarks: list[str]  # the medal lines; how the two scores agree


class Competition:
    """A Kaggle competition in `<root>/data/<name>`, with a method for each stage.

    A method first makes whatever it needs and is missing or out of date. If there is no spec, one is drafted from the
    competition's files: review it. The user's mistakes raise a `PipelineError`.

    Parameters
    ----------
    name
        Kaggle's name for the competition (the slug), its URL, or the name of a built-in sample.
    root
        The folder that contains `data/` and `submissions/`.
    device
        "auto", "cuda", "mps" or "cpu".
    n_workers
        Number of threads; 0: one per core.
    verbose
        Print messages and progress to stderr.

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
        self, name: str, root: str | Path = ".", *, device: str = "auto", n_workers: int = 0, verbose: bool = True
    ) -> None:
        self.workspace = Workspace(Path(root), name)
        self.device, self.n_workers, self.verbose = device, n_workers, verbose

    def __repr__(self) -> str:
        return f"Competition({self.workspace.competition!r}, root={str(self.workspace.root)!r})"

    @property
    def spec(self) -> CompetitionSpec:
        """The settings in `competition.toml`."""
        return self.features().spec

    @isolated
    def features(self) -> FeatureStore:
        """Return the typed tables (`.train`, `.test`), the `.target`, the `.fold_of_row` and the `.spec`."""
        return steps.with_features(self.workspace)[0]

    @isolated
    def train(self, /, preset: str = "fast", model: str | None = None, **overrides: Any) -> Run:
        """Cross-validate a preset, or `model` instead of the preset's.

        `overrides` are parameters of the model (`lr=0.01`) or settings of the run (`seeds=2`,
        `features__rare_min_count=5`).
        """
        config = steps.run_configuration(self.workspace, choice_of(preset, model, overrides))
        return Run(steps.train(self.workspace, config, self._context())[1])

    @isolated
    def tune(
        self, /, trials: int = 100, model: str | None = None, preset: str = "fast", **overrides: Any
    ) -> pd.DataFrame:
        """Continue the model's study until it has `trials`; return its trials, best first.

        The result becomes preset "tuned". An interrupted study keeps its finished trials.
        """
        choice = choice_of(preset, model, overrides)
        store, folder, _ = steps.tune(self.workspace, choice, self._context(), TuneOptions(n_trials=trials))
        return files.read_parquet(folder / "trials.parquet").sort_values("cv_score", key=store.metric.losses)

    @isolated
    def final(
        self, /, preset: str = "fast", model: str | None = None, *, minutes: float | None = None, **overrides: Any
    ) -> Submission:
        """Write a checked submission file; the parameters are those of `submit`.

        Preset "fast" without a model or settings is a race of about a minute.
        """
        return self._final(preset, model, minutes, overrides)[1]

    @isolated
    def submit(
        self,
        /,
        preset: str = "best",
        model: str | None = None,
        *,
        minutes: float | None = None,
        upload: bool = False,
        again: bool = False,
        **overrides: Any,
    ) -> Submission:
        """Write a checked submission file and, if `upload`, send it to Kaggle and wait for its score.

        A file is sent once; `again` sends one that may have arrived already, or that Kaggle failed to score.
        Preset "best" takes `minutes`, including those of earlier calls. If interrupted, it returns the best so far and
        uploads nothing.
        """
        store, submission, is_interrupted = self._final(preset, model, minutes, overrides)
        submit_file(store, submission.path, is_upload_wanted=upload and not is_interrupted, is_again=again)
        return submission

    @isolated
    def runs(self) -> pd.DataFrame:
        """Return a row for each finished run, best first."""
        return list_runs(self.workspace, steps.with_spec(self.workspace))

    @isolated
    def run(self, name: str) -> Run:
        """Return a finished run. Raises ArtifactError."""
        return Run(self.workspace.finished_run(name))

    @isolated
    def predict(self, run: Run | str, rows: pd.DataFrame | str | Path) -> pd.DataFrame:
        """Predict new rows, with the competition's raw columns, in the format of a submission.

        A file is read like the competition's own. In a DataFrame, dtypes are kept and NaN or None is missing.
        """
        store, _ = steps.with_features(self.workspace)
        if isinstance(rows, pd.DataFrame):
            raw = RawTable(Path("rows"), raw_frame(rows.rename(columns=str)))
        else:
            raw = read_raw(Path(rows))
        return predict_rows(store, run if isinstance(run, str) else run.name, raw)

    @isolated
    def check(self) -> pd.DataFrame:
        """Search the data for what makes scores unreliable; return findings as `mark` ("ok" or "look") and `text`."""
        return pd.DataFrame([asdict(one) for one in check_data(steps.with_features(self.workspace)[0])])

    @isolated
    def report(self, run: Run | str | None = None, *, importance: bool = True) -> Path:
        """Write the page about `run`, by default the best one, and return its path.

        `importance`: measure what the prediction goes by, once per run. Raises ArtifactError for an unknown run.
        """
        name = run.name if isinstance(run, Run) else run
        return make_report(steps.with_features(self.workspace)[0], name, is_measured=importance)

    @isolated
    def leaderboard(self, n_rows: int = 10) -> Leaderboard:
        """Return Kaggle's public leaderboard and the submissions sent. Raises KaggleError."""
        standing = read_leaderboard(self.workspace, steps.with_spec(self.workspace), n_rows=n_rows)
        return Leaderboard(board_frame(standing), ledger_frame(standing.entries), standing.lines)

    @isolated
    def choose(self) -> Choice:
        """Return which two submissions of the ledger to select at Kaggle, and why. Raises ArtifactError."""
        return choose_submissions(steps.with_features(self.workspace)[0])

    def _context(self) -> Any:
        return steps.fit_context(self.device, self.n_workers)

    def _final(
        self, preset: str, model: str | None, minutes: float | None, overrides: dict[str, Any]
    ) -> tuple[FeatureStore, Submission, bool]:
        choice = choice_of(preset, model, overrides)
        store, path, is_interrupted = steps.finish(self.workspace, choice, self._context(), minutes=minutes)
        if is_interrupted:
            say(f"interrupted; {path} is the best so far")
        return store, Submission(path), is_interrupted
