"""A running Kaggle of our own, a clock that does not wait, and a competition whose training is done."""

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
    """Time that passes only by sleeping."""

    time: float = 1.8e9
    slept: float = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Pass at once."""
        self.time += seconds
        self.slept += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The client's clock; waits cost nothing."""
    clock = FakeClock()
    monkeypatch.setattr(calls.Clock, "sleep", staticmethod(clock.sleep))
    monkeypatch.setattr(calls.Clock, "now", staticmethod(clock.now))
    return clock


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    """A Kaggle that offers the toy competition's files; nobody is sent there yet."""
    server = KaggleServer()
    offer_toy(server)
    server.url = server.start()
    yield server
    server.stop()


@pytest.fixture
def kaggle(server: KaggleServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> KaggleServer:
    """The same, with the official client in this process sent to it and a good token in the environment."""
    from kagglesdk import kaggle_env

    request.getfixturevalue("clock")
    for environment in kaggle_env._env_to_endpoint:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, environment, server.url)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.competition["deadline"] = "2030-01-01T00:00:00.000Z"
    return server


def offer_toy(server: KaggleServer) -> None:
    """The toy competition's three files as Kaggle's archive."""
    train, test = toy_tables()
    sample = pd.DataFrame({"id": test["id"], "price": 1000.0})
    tables = {"train.csv": train, "test.csv": test, "sample_submission.csv": sample}
    server.offer({name: table.to_csv(index=False).encode() for name, table in tables.items()})


@pytest.fixture
def empty(tmp_path: Path) -> Toy:
    """A competition of which there is nothing yet."""
    return Toy(Workspace(tmp_path / "work", "toy"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with a toy competition trained by the linear model."""
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
    """A competition with a finished run and its submission, of its own."""
    shutil.copytree(trained, tmp_path / "finished")
    return Toy(Workspace(tmp_path / "finished", "toy"))


def output_of_script(text: str, content: bytes, provenance: dict[str, object]) -> dict[str, bytes]:
    """What the script `text` leaves that wrote the submission `content`."""
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
    """Let the server run every notebook to the submission that `toy` has now."""
    path = toy.submission()
    content, provenance = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
    server.run_kernel = lambda text: output_of_script(text, content, provenance)
