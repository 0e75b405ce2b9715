"""What every call has: a time limit as a whole, a checked shape of its answer, retries, and a suggestion."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client import calls, kernels
from pipeline.kaggle.client.errors import SLOW
from pipeline.kaggle.client.responses import ANSWERS, Competition, SubmissionStatus, check_answer
from pipeline.kaggle.client.session import KaggleSession
from tests.conftest import Toy
from tests.kaggle.conftest import FakeClock
from tests.kaggle.server import SIGNATURE, Fault, KaggleServer, status


@pytest.fixture
def dripping() -> Iterator[str]:
    """Serve the beginning of an answer's headers, then a byte every 20 ms; yields the address."""
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not ended.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        ended.set()
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.usefixtures("clock")
def test_a_drip_of_headers_ends(dripping: str, monkeypatch: pytest.MonkeyPatch, is_streamed: bool) -> None:
    monkeypatch.setattr(calls, "ANSWER_LIMIT_S", 0.2)
    with pytest.raises(KaggleError, match="timed out when asking") as caught:
        calls.write("asking", "toy", lambda: requests.get(dripping, stream=is_streamed, timeout=30))
    assert caught.value.kind == "timeout"


def test_a_request_with_a_file_has_more_time(kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "ANSWER_LIMIT_S", 0.05)
    monkeypatch.setattr(calls, "SENT_PER_S", 10.0)
    kaggle.fault("ListDataFiles", Fault(change=lambda answer: time.sleep(0.3) or answer))
    content = b'{"competitionName": "toy"}'  # 2.6 s more

    def ask() -> Any:
        headers = {"Authorization": f"Bearer {kaggle.requests[0].body['token']}"}
        return requests.post(f"{kaggle.url}/api/v1/x/ListDataFiles", data=content, headers=headers, timeout=30).json()

    with monkeypatch.context() as patient:
        patient.setattr(calls, "ANSWER_LIMIT_S", 30.0)
        KaggleSession.connect()
    assert len(calls.write("asking", "toy", ask)["files"]) == 3


def test_a_download_that_is_too_slow_ends(kaggle: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "RATE_WINDOW_S", 0.2)
    kaggle.fault("storage", Fault(drips=True))
    response = KaggleSession.connect().open_archive("toy")
    with pytest.raises(KaggleError, match="less than 1 kB per second") as caught:
        list(calls.blocks_of(response, 1000))
    assert caught.value.kind == SLOW
    response.close()


@pytest.mark.parametrize("endpoint", sorted(ANSWERS))
@pytest.mark.parametrize("body", [{}, {"code": 200}, {"message": "ok", "code": 0}, [], None, "text", 5, {"other": 1}])
def test_an_answer_without_its_keys_is_refused(endpoint: str, body: Any) -> None:
    with pytest.raises(ValueError, match=r"missing key|has only|not a JSON object"):
        check_answer(endpoint, body)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("GetSubmissionLimits", {"numToday": None, "numAllowedNow": 5}),
        ("GetSubmissionLimits", {"numToday": "1", "numAllowedNow": 5}),
        ("GetSubmissionLimits", {"numToday": -1, "numAllowedNow": 5}),
        ("ListSubmissions", {"submissions": {}}),
        ("ListSubmissions", {"submissions": ""}),
        ("ListSubmissions", {"submissions": [{"ref": 1}]}),
        ("ListSubmissions", {"submissions": [None]}),
        ("GetKernelSessionStatus", {"status": None}),
        ("IntrospectToken", {"active": True}),
        ("GetCompetition", {"title": "Toy", "userHasEntered": None}),
        ("ListDataFiles", {"files": [{"name": "train.csv", "totalBytes": None}]}),
    ],
)
def test_a_wrong_value_in_an_answer_is_refused(endpoint: str, body: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_answer(endpoint, body)


def test_what_kaggle_adds_to_an_answer_is_accepted() -> None:
    check_answer("GetSubmissionLimits", {"numToday": 0, "numAllowedNow": 0, "numTotal": 3, "new": None})
    check_answer("ListSubmissions", {"submissions": [], "nextPageToken": ""})
    check_answer("SaveKernel", {"error": "The title is taken", "code": 0})
    check_answer("AnotherEndpoint", {})


def test_a_score_that_is_not_a_number_is_refused(kaggle: KaggleServer) -> None:
    kaggle.submissions.append({"ref": 7, "description": "", "date": "2026-01-02T03:04:05.000Z", "n_polls": 9})
    kaggle.score = "soon"
    with pytest.raises(KaggleError, match="unexpected response when reading submission 7"):
        KaggleSession.connect().submission("toy", 7)
    kaggle.score = ""
    assert isinstance(found := KaggleSession.connect().submission("toy", 7), SubmissionStatus)
    assert found.public_score is None


@pytest.mark.parametrize(
    "fault", [status(502), status(504), Fault(status=200, body=b'{"title": "To'), Fault(drips=True)]
)
def test_reads_are_retried_with_a_message(
    kaggle: KaggleServer,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    session = KaggleSession.connect()
    monkeypatch.setattr(calls, "ANSWER_LIMIT_S", 0.3)
    fault.times = 2
    kaggle.fault("GetCompetition", fault)
    assert isinstance(session.competition("toy"), Competition)
    assert clock.slept == sum(calls.RETRY_DELAYS_S[:2])
    err = capsys.readouterr().err
    assert "trying again in 1 s" in err
    assert "trying again in 4 s" in err


def test_a_proxy_that_fails_for_a_moment_is_asked_again(
    kaggle: KaggleServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from requests.adapters import HTTPAdapter

    session, send, failures = KaggleSession.connect(), HTTPAdapter.send, [1, 2]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if failures:
            failures.pop()
            raise requests.exceptions.ProxyError("Cannot connect to proxy.")
        return send(*args, **kwargs)

    monkeypatch.setattr(HTTPAdapter, "send", failing)
    assert session.competition("toy").title == "Toy"
    assert clock.slept == sum(calls.RETRY_DELAYS_S[:2])
    assert kaggle.names().count("GetCompetition") == 1


def test_an_upload_is_retried_to_a_new_address(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.fault("StartSubmissionUpload", status(503, times=1))
    kaggle.fault("upload", Fault(reads_only=10, times=1))
    kaggle.fault("upload", status(403, times=1))
    path = finished.submission()
    token = KaggleSession.connect().upload("toy", path)
    assert kaggle.blobs[token] == path.read_bytes()
    assert [one.body for one in kaggle.requests if one.name == "upload"] == ["blob0", "blob1", "blob2"]


def test_pages_without_an_end_are_an_error(kaggle: KaggleServer) -> None:
    session = KaggleSession.connect()
    kaggle.fault("ListSubmissions", Fault(change=lambda answer: {**answer, "nextPageToken": "0"}))
    with pytest.raises(KaggleError, match="pages without an end when listing the submissions"):
        session.submissions("toy")


@pytest.mark.parametrize(
    ("given", "suggested"), [("toy-competitoin", "toy-competition"), ("tyo", ""), ("house-price", "house-prices")]
)
@pytest.mark.parametrize("command", ["data", "leaderboard", "doctor"])
def test_a_misspelled_competition_is_searched_for(
    kaggle: KaggleServer, finished: Toy, given: str, suggested: str, command: str
) -> None:
    kaggle.slugs |= {"toy-competition", "house-prices"}
    if command == "data":
        finished.workspace = type(finished.workspace)(finished.workspace.root, given)
    else:
        finished.edit_spec('kaggle_slug = "toy"', f'kaggle_slug = "{given}"')
    result = finished.run(command)
    assert result.exit_code == 3
    assert (f"Did you mean {suggested!r}?" in result.output) == bool(suggested)
    assert "403" in result.output


@pytest.mark.parametrize("address", ["gs://box/{}", "store:{}", "{}", "http://[{}", "https://"])
@pytest.mark.parametrize("where", ["download", "upload", "output"])
def test_a_signed_address_that_cannot_be_requested_is_not_shown(
    kaggle: KaggleServer, finished: Toy, where: str, address: str
) -> None:
    url = f"{address.format(SIGNATURE)}?proof={SIGNATURE}"
    session, version = KaggleSession.connect(), kernels.KernelVersion("ada", "toy", 1)
    kaggle.fault("DownloadDataFiles", Fault(status=302, body=b"", headers={"Location": url}))
    kaggle.fault("StartSubmissionUpload", Fault(change=lambda _: {"token": "t0", "createUrl": url}))
    requested = {
        "download": lambda: session.open_archive("toy"),
        "upload": lambda: session.upload("toy", finished.submission()),
        "output": lambda: kernels.fetch(url, version, max_bytes=100),
    }
    with pytest.raises(KaggleError) as caught:
        requested[where]()
    shown = "".join(traceback.format_exception(caught.value))
    assert SIGNATURE not in shown
    assert "ing the" in caught.value.what
