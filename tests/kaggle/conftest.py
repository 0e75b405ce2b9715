"""Fixtures: a running fake Kaggle, a clock that does not wait, and a trained competition."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from pipeline.competition.workspace import Workspace
from pipeline.kaggle.client import calls
from tests.conftest import SPEC, TINY, Toy, toy_tables
from tests.kaggle.server import TOKEN, KaggleServer

SAME_RUN = TINY[:6]  # the overrides of the `finished` competition's run


@dataclass
class FakeClock:
    """A clock that advances only by sleeping."""

    time: float = 1.8e9
    slept: float = 0.0

    def now(self) -> float:
        """Return the seconds since 1970."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.time += seconds
        self.slept += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Replace the client's clock by one that does not wait."""
    clock = FakeClock()
    monkeypatch.setattr(calls.Clock, "sleep", staticmethod(clock.sleep))
    monkeypatch.setattr(calls.Clock, "now", staticmethod(clock.now))
    return clock


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    """Start a fake Kaggle with the toy competition's files; no client uses it yet."""
    server = KaggleServer()
    offer_toy(server)
    server.url = server.start()
    yield server
    server.stop()


@pytest.fixture
def kaggle(server: KaggleServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> KaggleServer:
    """Return `server`, set as the official client's endpoint in this process, with a valid token in the environment."""
    from kagglesdk import kaggle_env

    server.now = request.getfixturevalue("clock").now
    for environment in kaggle_env._env_to_endpoint:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, environment, server.url)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.competition["deadline"] = "2030-01-01T00:00:00.000Z"
    return server


def offer_toy(server: KaggleServer) -> None:
    """Set the server's archive to the toy competition's three files."""
    train, test = toy_tables()
    sample = pd.DataFrame({"id": test["id"], "price": 1000.0})
    tables = {"train.csv": train, "test.csv": test, "sample_submission.csv": sample}
    server.offer({name: table.to_csv(index=False).encode() for name, table in tables.items()})


@pytest.fixture
def empty(tmp_path: Path) -> Toy:
    """Return a competition without any files."""
    return Toy(Workspace(tmp_path / "work", "toy"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root folder with a toy competition and a trained linear model."""
    root = tmp_path_factory.mktemp("trained")
    workspace = Workspace(root, "toy")
    workspace.raw.mkdir(parents=True)
    train, test = toy_tables()
    sample = pd.DataFrame({"id": test["id"], "price": 1000.0})
    for name, table in {"train": train, "test": test, "sample_submission": sample}.items():
        table.to_csv(workspace.raw / f"{name}.csv", index=False)
    workspace.spec.write_text(SPEC)
    toy = Toy(workspace)
    toy.submit("--no-upload")
    return root


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Toy:
    """Return a competition with a finished run and its submission, in a folder of its own."""
    shutil.copytree(trained, tmp_path / "finished")
    return Toy(Workspace(tmp_path / "finished", "toy"))


def output_of_script(text: str, content: bytes, provenance: dict[str, object]) -> dict[str, bytes]:
    """Return the output files of the script `text`, had it written the submission `content`."""
    facts = re.search(r"^FACTS = '(.*)'$", text, re.MULTILINE)
    assert facts is not None
    manifest = {
        "format": 1,
        "bundle": json.loads(facts[1])["id"],
        "files": {"submission.csv": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}},
        "provenance": provenance,
        "elapsed_s": 1.0,
    }
    return {"submission.csv": content, "manifest.json": json.dumps(manifest).encode()}


def run_notebooks(server: KaggleServer, toy: Toy) -> None:
    """Make the output of every notebook the submission that `toy` has now."""
    path = toy.submission()
    content, provenance = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
    server.run_kernel = lambda text: output_of_script(text, content, provenance)
