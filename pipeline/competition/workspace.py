"""Where the files of a competition and of its runs lie.

Knows paths alone; knows nothing of what the files hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import ArtifactError, did_you_mean


@dataclass(frozen=True)
class Workspace:
    """The folders of one competition under `root` (the current folder unless said otherwise)."""

    root: Path
    competition: str

    @property
    def folder(self) -> Path:
        """`data/<competition>`."""
        return self.root / "data" / self.competition

    @property
    def spec(self) -> Path:
        """The competition's `competition.toml`."""
        return self.folder / "competition.toml"

    @property
    def raw(self) -> Path:
        """Raw files, immutable once `source.json` is there."""
        return self.folder / "raw"

    @property
    def source(self) -> Path:
        """`raw/source.json`: where the raw files came from, their sha256."""
        return self.raw / "source.json"

    @property
    def solution(self) -> Path:
        """Hidden targets of a sample competition; read by `pipeline score` alone."""
        return self.folder / "solution" / "solution.csv"

    @property
    def features(self) -> Path:
        """Typed tables, `folds.npy` and `manifest.json`."""
        return self.folder / "features"

    @property
    def manifest(self) -> Path:
        """`features/manifest.json`, written last."""
        return self.features / "manifest.json"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.folder / "runs"

    def tuning(self, model: str) -> Path:
        """The study of one model: its storage, `trials.parquet`, `best.json`."""
        return self.folder / "tuning" / model

    def run(self, name: str) -> RunFolder:
        """The artifacts of the run `name`."""
        return RunFolder(self.runs / name)

    def finished_run(self, name: str) -> RunFolder:
        """The finished run called `name`. Raises ArtifactError naming the nearest."""
        known = [path.parent.name for path in sorted(self.runs.glob("*/report.json"))]
        if name not in known:
            hint = did_you_mean(name, known) or "Train one first: `pipeline train`."
            raise ArtifactError(f"there is no finished run {name!r}", where=str(self.runs), hint=hint)
        return self.run(name)

    @property
    def kernels(self) -> Path:
        """`kernels/<competition>`: the bundle for Kaggle, and what became of it there."""
        return self.root / "kernels" / self.competition

    @property
    def submissions(self) -> Path:
        """`submissions/<competition>`."""
        return self.root / "submissions" / self.competition

    @property
    def ledger(self) -> Path:
        """The table of all that was sent to Kaggle."""
        return self.submissions / "ledger.csv"


@dataclass(frozen=True)
class RunFolder:
    """The artifacts of one run. A folder without `report.json` is unfinished and is redone."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def oof(self) -> Path:
        """Ids, targets, folds and out-of-fold predictions of the train rows."""
        return self.path / "oof.parquet"

    @property
    def test(self) -> Path:
        """Ids and averaged fold predictions of the test rows."""
        return self.path / "test.parquet"

    @property
    def history(self) -> Path:
        """Train and valid score by member and epoch."""
        return self.path / "history.parquet"

    @property
    def model(self) -> Path:
        """Weights and fitted encoders of the fold models."""
        return self.path / "model"

    @property
    def final_model(self) -> Path:
        """Weights and fitted encoders of the model refitted on all train rows."""
        return self.path / "final"

    @property
    def checkpoints(self) -> Path:
        """State of unfinished training; removed when the run is finished."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """`report.json`, written last."""
        return self.path / "report.json"

    @property
    def is_finished(self) -> bool:
        """Whether the run has its report."""
        return self.report.exists()


def part_folder(folder: Path, number: int, n_parts: int) -> Path:
    """Where part `number` of an ensemble keeps its files; a run of one part keeps them in `folder` itself."""
    return folder if n_parts == 1 else folder / f"part-{number}"
