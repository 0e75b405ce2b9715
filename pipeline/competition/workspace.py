"""Where the files of a competition and of its runs are. Must not know what the files contain."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipeline.base import locks
from pipeline.base.errors import ArtifactError, did_you_mean
from pipeline.base.names import competition_slug


@dataclass
class Workspace:
    """The folders of one competition, given its name or address, under `root`. Raises SpecError for another name."""

    root: Path
    competition: str

    def __post_init__(self) -> None:
        self.competition = competition_slug(self.competition)
        self.folder = self.root / "data" / self.competition
        self.spec = self.folder / "competition.toml"
        self.raw = self.folder / "raw"  # immutable once `source.json` exists
        self.source = self.raw / "source.json"  # where the raw files came from, and their sha256
        self.solution = self.folder / "solution" / "solution.csv"  # true test targets; only `pipeline score` reads them
        self.features = self.folder / "features"  # typed tables, `folds.npy` and the manifest
        self.text_embeddings = self.features / "text-embeddings"  # what a model made of texts, by their hash
        self.metric_trial = self.features / "metric.json"
        self.manifest = self.features / "manifest.json"  # written last
        self.runs = self.folder / "runs"  # one folder per run
        self.page = self.folder / "report" / "index.html"  # what `report` writes
        self.kernels = self.root / "kernels" / self.competition  # the notebook sent to Kaggle, and its state there
        self.submissions = self.root / "submissions" / self.competition
        self.ledger = self.submissions / "ledger.csv"  # every submission that was uploaded
        self.place = self.submissions / "place.json"  # on the public leaderboard, as last asked for

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the files in place meanwhile: `clean` refuses. Others may use them, too.

        The only user removes what killed ones left unfinished.
        """
        return locks.in_use(self.folder, self.remove_unfinished)

    def preparing(self) -> AbstractContextManager[None]:
        """Let one process at a time write the raw files, the spec and the features."""
        return locks.hold(self.folder / locks.LOCKS / "preparing.lock")

    def remove_unfinished(self) -> None:
        """Remove the files and folders called `.*.partial`; no other process may be at work."""
        found = [*self.folder.glob(".*.partial"), *self.raw.glob(".*.partial")]
        tuning, report = self.folder / "tuning", self.page.parent
        for folder in (self.features, self.runs, tuning, report, self.submissions, self.kernels):
            found += folder.rglob(".*.partial")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def tuning(self, model: str) -> Path:
        """The folder of one model's study: its storage, `trials.parquet`, `best.json`."""
        return self.folder / "tuning" / model

    def run(self, name: str) -> RunFolder:
        """The artifacts of the run `name`, finished or not."""
        return RunFolder(self.runs / name)

    def finished_run(self, name: str) -> RunFolder:
        """The artifacts of the finished run `name`. Raises ArtifactError that suggests the nearest name."""
        known = [path.parent.name for path in sorted(self.runs.glob("*/report.json"))]
        if name not in known:
            hint = did_you_mean(name, known) or "Train one first: `pipeline train`."
            raise ArtifactError(f"there is no finished run {name!r}", where=str(self.runs), hint=hint)
        return self.run(name)


@dataclass
class RunFolder:
    """The artifacts of one run. A folder without `report.json` is unfinished; its run is repeated."""

    path: Path

    def __post_init__(self) -> None:
        self.name = self.path.name
        self.oof = self.path / "oof.parquet"  # ids, targets, folds and out-of-fold predictions of the train rows
        self.test = self.path / "test.parquet"  # ids and averaged fold predictions of the test rows
        self.history = self.path / "history.parquet"  # train and valid score by member and epoch
        self.model = self.path / "model"  # weights and fitted encoders of the fold models
        self.final_model = self.path / "final"  # the same of the model refitted on all train rows
        self.checkpoints = self.path / "checkpoints"  # state of unfinished training; removed at the end
        self.report = self.path / "report.json"  # written last

    def held(self) -> AbstractContextManager[None]:
        """Let one process at a time work on the run."""
        return locks.hold(self.path.parents[1] / locks.LOCKS / f"{self.name}.lock")


def part_folder(folder: Path, number: int, n_parts: int) -> Path:
    """The folder of part `number` of a run: `folder` itself when the run has only one part."""
    return folder if n_parts == 1 else folder / f"part-{number}"
