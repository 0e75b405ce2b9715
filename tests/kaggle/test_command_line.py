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
from tests.kaggle.server import SECRETS, SIGNATURE, TOKEN, Fault, KaggleServer, status

STORAGE_HOST = "storage.kaggle.test"


@pytest.fixture
def proxied() -> Iterator[KaggleServer]:
    """Start a fake Kaggle at http://localhost with its storage at another host, both behind a proxy."""
    server = KaggleServer()
    offer_toy(server)
    server.url = server.start(STORAGE_HOST)
    yield server
    server.stop()


def pipeline(
    server: KaggleServer, toy: Toy, command: str, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline ...` with an environment that sends the client to `server`."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "KAGGLE_API_TOKEN": TOKEN,
        "http_proxy": server.url,
        "https_proxy": server.url,
        "no_proxy": "",
        "NO_PROXY": "",
        **variables,
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
    stored = [request for request in proxied.requests if request.headers["Host"] == STORAGE_HOST]
    assert stored
    assert not any("Authorization" in request.headers for request in stored)


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


PASSWORD = "proxy-password-of-the-tests"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "verbose"), [("none", "1"), ("crash", "1"), ("storage", ""), ("address", "1"), ("proxy", "")]
)
def test_nothing_shows_a_secret(proxied: KaggleServer, finished: Toy, fault: str, verbose: str) -> None:
    """Not even with VERBOSE, with which the official client prints its headers, nor in a traceback."""
    proxy = proxied.url.replace("://", f"://ada:{PASSWORD}@")
    variables = {"http_proxy": proxy, "https_proxy": proxy, "VERBOSE": verbose, "KAGGLE_API_TOKEN": f"{TOKEN}\n"}
    proxied.n_polls_pending = 0
    if fault == "crash":
        (finished.workspace.root / "sitecustomize.py").write_text(CRASH)
        variables["PYTHONPATH"] = os.pathsep.join([str(finished.workspace.root), os.environ.get("PYTHONPATH", "")])
    elif fault == "storage":
        proxied.fault("upload", status(500, f"{TOKEN} {SIGNATURE}", times=1))
    elif fault == "address":
        answer = {"token": "t0", "createUrl": f"store:box/{SIGNATURE}?proof={SIGNATURE}"}
        proxied.fault("StartSubmissionUpload", Fault(change=lambda _: answer))
    elif fault == "proxy":
        proxied.stop_listening()
    done = pipeline(proxied, finished, "submit", *TINY, **variables)
    output = done.stdout + done.stderr
    written = b"".join(path.read_bytes() for path in finished.workspace.root.rglob("*") if path.is_file())
    for secret in (*SECRETS, PASSWORD):
        assert secret not in output
        assert secret.encode() not in written
    assert done.returncode == {"none": 0, "storage": 0, "crash": 1}.get(fault, 3), output
    assert ("Traceback" in output) == (fault == "crash")


CRASH = f'''
import logging, os, warnings
import pipeline.kaggle.upload as upload

def crash(*_, **__):
    url = "http://localhost/upload?signature={SIGNATURE[:8]}" + "{SIGNATURE[8:]}"
    logging.getLogger("urllib3").warning("retrying %s", url)
    warnings.warn(f"Bearer {{os.environ['KAGGLE_API_TOKEN']}}")
    raise RuntimeError(os.environ["KAGGLE_API_TOKEN"], os.environ["http_proxy"], url)

upload.send_once = crash
'''
