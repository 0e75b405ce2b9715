"""Small competitions for tests, and the real ones where `PIPELINE_DATA_DIR` names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from pipeline.base.cluster import Cluster
from pipeline.cli import app
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.spec import load_spec

TINY = ["--set", "epochs=3", "--set", "hidden_sizes=[8]", "--set", "seeds=2", "--workers", "1", "--device", "cpu"]

SPEC = """
name = "toy"
kaggle_slug = "toy"
id = "id"
target = "price"
task = "regression"
metric = "log_rmse"
target_transform = "log"

[columns]
categories = ["code"]

[folds]
kind = "shuffled"
number = 4
"""


@dataclass
class Toy:
    """A competition in a temporary folder and the command line on it."""

    workspace: Workspace

    def run(self, command: str, *options: str) -> Result:
        """`pipeline <command>` on this competition, in process."""
        where = ["--competition", self.workspace.competition, "--root", str(self.workspace.root)]
        return CliRunner().invoke(app, [command, *where, *options])

    def submit(self, *options: str) -> Result:
        """A quick `submit` that must succeed."""
        result = self.run("submit", *TINY, *options)
        assert result.exit_code == 0, result.output
        return result

    def only_run(self) -> RunFolder:
        """The one finished run."""
        (report,) = self.workspace.runs.glob("*/report.json")
        return self.workspace.run(report.parent.name)

    def submission(self) -> Path:
        """The one submission file."""
        (path,) = set(self.workspace.submissions.glob("*.csv")) - {self.workspace.ledger}
        return path

    def store(self) -> FeatureStore:
        """What the features stage wrote."""
        return FeatureStore(self.workspace, load_spec(self.workspace.spec))

    def edit(self, file: str, change: Callable[[str], str]) -> None:
        """Rewrite a raw file; the record of the raw files is dropped, as after a new download."""
        path = self.workspace.raw / file
        path.write_text(change(path.read_text()))
        self.workspace.source.unlink(missing_ok=True)

    def edit_spec(self, old: str, new: str) -> None:
        """Replace a part of the spec."""
        text = self.workspace.spec.read_text()
        assert old in text
        self.workspace.spec.write_text(text.replace(old, new))


def toy_tables(n_train: int = 64, n_test: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A train table with numbers, categories, missing values and a positive target; a test table without it."""
    rng = np.random.default_rng(3)
    n_rows = n_train + n_test
    area = rng.uniform(50, 200, n_rows).round(1)
    town = rng.choice(["north", "south", "east"], n_rows)
    table = pd.DataFrame(
        {
            "id": np.arange(1, n_rows + 1),
            "area": np.where(rng.random(n_rows) < 0.1, np.nan, area),
            "town": np.where(rng.random(n_rows) < 0.1, None, town),
            "code": rng.choice([10, 20, 30], n_rows),
            "year": rng.integers(1950, 2010, n_rows),
        }
    )
    price = np.exp(8 + area / 100 + (town == "north") * 0.3 + rng.normal(0, 0.1, n_rows)).round(2)
    return table[:n_train].assign(price=price[:n_train]), table[n_train:].reset_index(drop=True)


@pytest.fixture(autouse=True)
def _no_outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test meets the user's credentials or, unless it is marked `real_data`, the user's data by accident."""
    for name in [name for name in os.environ if name.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.delenv("PIPELINE_DATA_DIR", raising=False)
    for name in ("COMPETITION", "STORAGE", "PIPELINE_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def toy_in(folder: Path) -> Toy:
    """A regression competition of 64 train and 20 test rows with its spec and raw files."""
    workspace = Workspace(folder / "work", "toy")
    workspace.raw.mkdir(parents=True)
    train, test = toy_tables()
    train.to_csv(workspace.raw / "train.csv", index=False)
    test.to_csv(workspace.raw / "test.csv", index=False)
    sample = pd.DataFrame({"id": test["id"], "price": 1000.0})
    sample.to_csv(workspace.raw / "sample_submission.csv", index=False)
    workspace.spec.write_text(SPEC)
    return Toy(workspace)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """The competition of `toy_in` in a folder of the test."""
    return toy_in(tmp_path)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two local workers of one thread each."""
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    cluster = Cluster("local:2")
    yield cluster
    cluster.close()


@pytest.fixture
def real_data() -> Path:
    """The folder of real competition files."""
    folder = os.environ.get("PIPELINE_DATA_DIR")
    if not folder:
        pytest.skip("PIPELINE_DATA_DIR is not set: no real competition files")
    return Path(folder).resolve()
