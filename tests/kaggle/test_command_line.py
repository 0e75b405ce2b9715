"""The installed command line in its own process, with nothing patched: a proxy sends the client to the fake Kaggle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.kaggle.ledger import Ledger
from tests.conftest import TINY, Toy
from tests.kaggle.conftest import offer_toy
from tests.kaggle.server import TOKEN, KaggleServer, status

STORAGE_HOST = "storage.kaggle.test"


@pytest.fixture
def proxied() -> Iterator[KaggleServer]:
    """Start a fake Kaggle at http://localhost with its storage at another host, both behind a proxy."""
    server = KaggleServer()
    offer_toy(server)
    server.url = server.start(STORAGE_HOST)
    yield server
    server.stop()


def pipeline(server: KaggleServer, toy: Toy, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline ...` with an environment that sends the client to `server`."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLE_API_TOKEN": TOKEN,
        "http_proxy": server.url,
        "https_proxy": server.url,
        "no_proxy": "",
        "NO_PROXY": "",
    }
    where = ["--competition", toy.workspace.competition, "--root", str(toy.workspace.root)]
    arguments = [sys.executable, "-m", "pipeline", command, *where, *options]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_data_are_downloaded_through_a_proxy(proxied: KaggleServer, empty: Toy) -> None:
    done = pipeline(proxied, empty, "data")
    assert done.returncode == 0, done.stderr
    assert (empty.workspace.raw / "train.csv").exists()
    assert 'kaggle_slug = "toy"' in done.stdout
    assert proxied.requests[-1].headers["Host"] == STORAGE_HOST
    assert "Authorization" not in proxied.requests[-1].headers


@pytest.mark.slow
def test_a_submission_is_uploaded_and_its_score_fetched(proxied: KaggleServer, finished: Toy) -> None:
    proxied.n_polls_pending = 0
    done = pipeline(proxied, finished, "submit", *TINY)
    assert done.returncode == 0, done.stderr
    assert "public score 0.12345" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("submission: ")
    (entry,) = Ledger(finished.workspace.ledger).entries()
    assert entry.ref == proxied.submissions[0]["ref"]


@pytest.mark.slow
def test_a_refusal_is_one_message_and_exit_code_3(proxied: KaggleServer, empty: Toy) -> None:
    proxied.fault("DownloadDataFiles", status(403, "You must accept this competition's rules"))
    done = pipeline(proxied, empty, "data")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "https://www.kaggle.com/competitions/toy/rules" in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
