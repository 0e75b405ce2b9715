"""Faults in every operation: the message, the exit code, the files on disk, the submissions at Kaggle, no secret.

A sample; `benchmarks/kaggle_faults.py` takes every fault in every operation.
"""

from __future__ import annotations

import pytest

from pipeline.kaggle.client import calls
from pipeline.kaggle.ledger import Ledger
from pipeline.kaggle.notebook.run import POLL_DELAYS_S
from tests.conftest import Toy
from tests.kaggle.conftest import FakeClock, run_notebooks
from tests.kaggle.faults import CASES, FAULTS, NOT_UNDERSTOOD, OPERATIONS, TIMEOUT_S, TRANSIENT, WORDS, Operation
from tests.kaggle.server import SECRETS, KaggleServer

# Faults without effect: a redirect has no body to lose; the storage's response to an upload is not read; a submission
# that Kaggle does not list yet is pending; one whose response was lost is looked up; metric and quota stay unknown.
HARMLESS = {
    ("truncated body", "download"),
    ("stalled", "download"),
    *((name, "upload") for name in NOT_UNDERSTOOD),
    ("404", "score"),
    *((name, "submit") for name in ("truncated body", "lost answer", "stalled", "drip", *NOT_UNDERSTOOD)),
    *((name, "kernel push") for name in ("drip", *NOT_UNDERSTOOD)),
    *((name, operation) for name in FAULTS for operation in ("metric", "GPU quota")),
    *((name, "code submission") for name in ("drip", *NOT_UNDERSTOOD)),
}
OTHER_WORDS = {
    ("403 rules", "login"): "accepts none of the credentials",
    ("401", "token refresh"): "log in again with `kaggle auth login`",
    **{(name, "storage"): "not an archive" for name in NOT_UNDERSTOOD},
    ("drip", "storage"): "the same command resumes the download",
    ("500", "submit"): "not known yet",
    ("503", "submit"): "not known yet",
    ("403 rules", "kernel"): "competition's rules must be accepted",
    ("403 rules", "kernel output"): "competition's rules must be accepted",
    ("403 spelling", "kernel"): "Only its owner can read a private notebook",
    ("403 closed", "kernel"): "Only its owner can read a private notebook",
    ("500", "kernel push"): "not known yet",
    ("401", "storage"): "the storage refused",
    ("401", "upload"): "the storage refused",
    ("403 rules", "upload"): "the storage refused",
    ("403 rules", "storage"): "the storage refused",
}
IN_DOUBT = {
    *((name, "kernel push") for name in ("500", "maintenance page, 200", "dropped")),
    *((name, "submit") for name in ("500", "503", "maintenance page, 503", "maintenance page, 200", "dropped")),
}
SENDING = {"submit", "kernel"}
READS = [
    (name, operation)
    for operation, one in OPERATIONS.items()
    for name in sorted(TRANSIENT if operation == "score" else {"429", "503", "dropped"})
    if one.is_retried
]


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the time limits of a minute by short ones."""
    for name in ("READ_TIMEOUT_S", "ANSWER_LIMIT_S", "RATE_WINDOW_S"):
        monkeypatch.setattr(calls, name, TIMEOUT_S)
    monkeypatch.setattr(calls, "SENT_PER_S", 1e9)


def secrets_in(toy: Toy, *texts: str) -> list[str]:
    """Return the secrets that are in the texts or in a file of the project."""
    written = [path.read_bytes() for path in toy.workspace.root.rglob("*") if path.is_file()]
    shown = [text.encode() for text in texts]
    return [secret for secret in SECRETS if any(secret.encode() in one for one in (*shown, *written))]


def run(toy: Toy, operation: Operation, *more: str) -> tuple[int, str, str]:
    """Run an operation's command; return its exit code, stdout and stderr."""
    result = toy.run(operation.command, *operation.options, *more)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "operation"), CASES)
def test_a_fault_is_explained_and_the_same_command_succeeds_afterwards(
    kaggle: KaggleServer, empty: Toy, finished: Toy, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    one = OPERATIONS[operation]
    command, endpoint = one.command, one.endpoint
    one.set_up(kaggle)
    toy = empty if command == "data" else finished
    run_notebooks(kaggle, finished)
    if name in ("stalled", "drip"):
        hurry(monkeypatch)
    kaggle.fault(endpoint, FAULTS[name]())
    code, out, err = run(toy, one)
    assert not secrets_in(toy, out, err)
    if (name, operation) in HARMLESS:
        assert code == 0, err
    else:
        assert code == 3, out + err
        assert OTHER_WORDS.get((name, operation), WORDS[name]) in err
        assert "Traceback" not in err
    assert not (toy.workspace.raw.exists() and command == "data" and code != 0)
    assert not list(toy.workspace.folder.glob(".*partial"))
    assert len(kaggle.submissions) == int(command in SENDING and (code == 0 or operation == "score"))

    kaggle.faults.clear()
    for limit in ("READ_TIMEOUT_S", "ANSWER_LIMIT_S", "RATE_WINDOW_S"):
        monkeypatch.setattr(calls, limit, 30.0)
    code, out, err = run(toy, one)
    if (name, operation) in IN_DOUBT:  # it did not arrive, but only the user can know
        assert code == 3
        assert "--again" in err
        assert (kaggle.kernels, kaggle.submissions) == ({}, [])
        code, out, err = run(toy, one, "--again")
    assert code == 0, err
    if command == "kernel":
        assert [len(one["versions"]) for one in kaggle.kernels.values()] == [1]
    if command in SENDING:
        *earlier, entry = Ledger(toy.workspace.ledger).entries()
        assert [one.status for one in earlier] == ["sending"] * (
            operation == "submit" and (name, operation) in IN_DOUBT
        )
        (submission,) = kaggle.submissions
        assert (entry.ref, entry.status, entry.public_score) == (submission["ref"], "complete", 0.12345)
        assert submission["content"] == (toy.workspace.submissions / entry.file).read_bytes()
    if command == "data":
        assert sorted(path.name for path in toy.workspace.raw.glob("*.csv")) == [
            "sample_submission.csv",
            "test.csv",
            "train.csv",
        ]
        assert not (toy.workspace.folder / "download").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "operation"), READS)
def test_a_read_is_retried_after_a_transient_fault(
    kaggle: KaggleServer,
    clock: FakeClock,
    empty: Toy,
    finished: Toy,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    operation: str,
) -> None:
    if name in ("stalled", "drip"):
        hurry(monkeypatch)
    one = OPERATIONS[operation]
    command = one.command
    one.set_up(kaggle)
    kaggle.fault(one.endpoint, FAULTS[name](times=2))
    run_notebooks(kaggle, finished)
    code, _, err = run(empty if command == "data" else finished, one)
    assert code == 0, err
    assert len(kaggle.submissions) == (command in SENDING)
    assert "trying again in" in err
    assert 0 < clock.slept <= 2 * calls.MAX_WAIT_S + sum((2.0, 3.0)) + sum(POLL_DELAYS_S[:2])


@pytest.mark.slow
@pytest.mark.parametrize("operation", [name for name, one in OPERATIONS.items() if not one.is_retried])
@pytest.mark.parametrize("name", sorted(TRANSIENT))
def test_a_write_is_never_retried(
    kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    if name in ("stalled", "drip"):
        hurry(monkeypatch)
    one = OPERATIONS[operation]
    one.set_up(kaggle)
    kaggle.fault(one.endpoint, FAULTS[name](times=1))
    run_notebooks(kaggle, finished)
    run(finished, one)
    assert kaggle.names().count(one.endpoint) == 1


@pytest.mark.parametrize(
    ("variable", "words"), [("", "cannot be reached"), ("http_proxy", "the proxy blocked the request when logging in")]
)
def test_no_network_and_a_dead_proxy_have_different_messages(
    kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch, variable: str, words: str
) -> None:
    if variable:
        from kagglesdk import kaggle_env

        for environment in kaggle_env._env_to_endpoint:
            monkeypatch.setitem(kaggle_env._env_to_endpoint, environment, "http://api.kaggle.test")
        monkeypatch.setenv(variable, kaggle.url)
        monkeypatch.setenv("no_proxy", "")
    kaggle.stop_listening()
    code, _, err = run(empty, OPERATIONS["list"])
    assert code == 3
    assert words in err


@pytest.mark.slow
def test_every_request_has_timeouts(kaggle: KaggleServer, empty: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from requests.adapters import HTTPAdapter

    seen: list[tuple[str, object]] = []
    send = HTTPAdapter.send

    def watched(self: HTTPAdapter, request, stream=False, timeout=None, *args, **kwargs):  # type: ignore[no-untyped-def]
        seen.append((request.url, timeout))
        return send(self, request, stream, timeout, *args, **kwargs)

    monkeypatch.setattr(HTTPAdapter, "send", watched)
    kaggle.fault("storage", FAULTS["truncated body"](times=1))
    for operation in ("list", "submit", "leaderboard"):
        assert run(empty, OPERATIONS[operation])[0] == 0
    assert len(seen) == len(kaggle.requests)
    assert {timeout for _, timeout in seen} == {(calls.CONNECT_TIMEOUT_S, calls.READ_TIMEOUT_S)}
