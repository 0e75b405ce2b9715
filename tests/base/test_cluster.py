"""Laws of a cluster: calls give what they give here, lose nothing with a worker, end when asked, refuse strangers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.base import cluster as module
from pipeline.base import dask_link
from pipeline.base.cluster import Cluster
from pipeline.base.errors import ClusterError, DataError
from pipeline.base.fit_workers import HERE
from pipeline.base.interruption import Stopped
from pipeline.base.worker_versions import difference, own_versions
from tests.conftest import Toy

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

ENOUGH_S = 60.0  # for what takes a second, or a few until a killed worker is back


@pytest.fixture
def never() -> threading.Event:
    """An event that nobody sets."""
    return threading.Event()


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + ENOUGH_S
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_call_gives_what_it_gives_here(cluster: Cluster, never: threading.Event) -> None:
    def total(x: NDArray[np.float64], factor: float, *, stop: threading.Event) -> tuple[float, int]:
        assert not stop.is_set()
        x *= 1.0  # what is sent can be written to
        return float(x.sum()) * factor, os.getpid()

    x = np.arange(5.0)
    (here, own), (there, other) = (one.run(total, [x], 3.0, stop=never) for one in (HERE, cluster))
    assert (here, own) == (30.0, os.getpid())
    assert there == here
    assert other != own


def test_what_calls_share_is_sent_once(cluster: Cluster, never: threading.Event, monkeypatch: Any) -> None:
    sent: list[str] = []
    scatter = cluster._client.scatter
    monkeypatch.setattr(cluster._client, "scatter", lambda data: (sent.extend(data), scatter(data))[1])

    def total(x: NDArray[np.float64], *, stop: threading.Event) -> float:  # noqa: ARG001
        return float(x.sum())

    for x in (np.arange(1000.0), np.arange(1000.0), np.arange(1001.0)):
        assert cluster.run(total, [x], stop=never) == x.sum()
    assert len(sent) == 2


def test_an_error_of_the_function_is_raised_here(cluster: Cluster, never: threading.Event) -> None:
    def fail(*, stop: threading.Event) -> None:  # noqa: ARG001
        raise DataError("is empty", where="train.csv")

    with pytest.raises(DataError, match="is empty") as found:
        cluster.run(fail, [], stop=never)
    assert found.value.where == "train.csv"


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(cluster: Cluster, never: threading.Event, tmp_path: Path) -> None:
    def die_at_first(x: NDArray[np.float64], mark: Path, *, stop: threading.Event) -> float:  # noqa: ARG001
        if len(deaths := [*mark.parent.glob("death-*")]) < 2:
            (mark.parent / f"death-{len(deaths)}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(x.sum())

    assert cluster.run(die_at_first, [np.ones(3)], tmp_path / "mark", stop=never) == 3.0
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.slow
def test_a_call_that_kills_every_worker_ends_with_a_message(
    cluster: Cluster, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*, stop: threading.Event) -> None:  # noqa: ARG001
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(module, "MOST_ATTEMPTS", 1)
    with pytest.raises(ClusterError, match="their memory may be too small"):
        cluster.run(die, [], stop=never)


@pytest.mark.slow
def test_a_stop_frees_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    def wait(folder: Path, *, stop: threading.Event) -> None:
        (folder / "begun").touch()
        (folder / ("freed" if stop.wait(ENOUGH_S) else "late")).touch()

    stop = threading.Event()
    threading.Thread(target=lambda: (until((tmp_path / "begun").exists), stop.set())).start()
    with pytest.raises(Stopped):
        cluster.run(wait, [], tmp_path, stop=stop)
    until((tmp_path / "freed").exists)


# --- who may work


def test_other_versions_are_named() -> None:
    own = {"python": "3.11", "numpy": "2.1.0", "pipeline": "0.1.0", "pipeline's code": "a"}
    assert difference(own | {"numpy": "2.3.4", "xgboost": "3.0"}, own) == ""
    assert difference(own | {"numpy": "1.26.0"}, own) == "numpy 1.26.0 instead of 2.1.0"
    assert difference({**own, "pipeline": "0.2.0", "pipeline's code": "b"}, own) == "pipeline 0.2.0 instead of 0.1.0"
    assert difference(own | {"pipeline's code": "b"}, own) == "other code of pipeline 0.1.0"
    assert difference({"python": "3.12"}, own) == (
        "python 3.12 instead of 3.11, numpy not installed instead of 2.1.0, pipeline not installed instead of 0.1.0"
    )


def test_a_worker_of_another_version_is_refused(
    cluster: Cluster, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = own_versions() | {"pipeline": "0.9.0"}
    for place in (module, dask_link):
        monkeypatch.setattr(place, "own_versions", lambda: newer)
    with pytest.raises(ClusterError, match=r"has pipeline 0\.1\.0 instead of 0\.9\.0"):
        Cluster(cluster._local.scheduler_address)
    with pytest.raises(ClusterError, match=r"has pipeline 0\.1\.0 instead of 0\.9\.0"):  # one that joins late
        cluster.run(lambda *, stop: stop, [], stop=never)


@pytest.mark.parametrize("given", ["localhost", "local:", "local:0", "8786", "http://host:8786", ""])
def test_what_is_no_cluster_is_refused(toy: Toy, given: str) -> None:
    result = toy.run("train", "--cluster", given)
    assert result.exit_code == 2
    assert "--cluster" in result.output
    assert "tcp://host:8786" in result.output


def test_a_cluster_has_its_own_processors(toy: Toy) -> None:
    for options in (["--workers", "2"], ["--device", "cuda"]):
        result = toy.run("train", "--cluster", "local:2", *options)
        assert result.exit_code == 2
        assert "Leave --device and --workers out" in result.output


@pytest.mark.slow
def test_a_scheduler_that_cannot_be_reached_is_said(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    result = toy.run("train", "--cluster", f"tcp://127.0.0.1:{_free_port()}")
    assert result.exit_code == 2
    assert "the scheduler cannot be reached" in result.output
    assert "Traceback" not in result.output


# --- a scheduler of its own


@pytest.fixture
def scheduler() -> Iterator[Callable[[], str]]:
    """A function that starts a scheduler and a worker, anew each time, and returns their address."""
    address, processes = f"tcp://127.0.0.1:{_free_port()}", list[subprocess.Popen[bytes]]()

    def start() -> str:
        end()
        port, quiet = address.rpartition(":")[2], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for name, options in (("scheduler", ["--port", port]), ("worker", [address, "--nthreads", "1", "--no-nanny"])):
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options, "--no-dashboard"]
            processes.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
        return address

    def end() -> None:
        while processes:
            process = processes.pop()
            process.kill()
            process.wait()

    start.end = end  # type: ignore[attr-defined]
    yield start
    end()


@pytest.mark.slow
def test_a_scheduler_that_comes_back_is_found_again_and_one_that_does_not_is_said(
    scheduler: Any, never: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", ENOUGH_S)

    def wait(folder: Path, *, stop: threading.Event) -> str:
        if not (folder / "second").exists():
            (folder / "begun").touch()
            stop.wait(ENOUGH_S)
        return "done"

    cluster, found = Cluster(scheduler()), list[Any]()
    thread = threading.Thread(target=lambda: found.append(cluster.run(wait, [], tmp_path, stop=never)))
    thread.start()
    until((tmp_path / "begun").exists)
    (tmp_path / "second").touch()
    scheduler()
    thread.join(2 * ENOUGH_S)
    assert found == ["done"]
    scheduler.end()
    monkeypatch.setattr(module, "RECONNECT_S", 0.0)
    with pytest.raises(ClusterError, match="the scheduler was lost"):
        cluster.run(wait, [], tmp_path, stop=never)
    cluster.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
