"""What talks to Dask on behalf of `cluster`: the call on a worker, local clusters, what a loss looks like.

Only this module and `cluster` import Dask. Must not know what is fitted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.base.errors import ClusterError, SpecError
from pipeline.base.interruption import ignore_signals
from pipeline.base.worker_versions import difference, own_versions, portable_versions

CHECK_S = 0.2  # between two checks for a stop
CONNECT_S = 10.0  # for the first connection
MOST_KEPT, MOST_BYTES_KEPT = 32, 1 << 30  # objects that stay on the workers for further fits
# Of local workers. Dask's samples of threads and of the system, 100 and 50 a second, take a twentieth of a processor.
# glibc's heap for a further thread holds 64 MB at most, so that large blocks would be given back after each step.
SETTINGS: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
}
LOCAL = re.compile(r"local:([1-9]\d{0,2})")
ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss|ucx)://)?(?!local:)([\w.-]+|\[[\da-fA-F:]+\]):\d+")
INSTALL = "Install the same version there as here, with the extra `cluster`, and start the workers again."


class Recent(OrderedDict[Any, tuple[Any, int]]):
    """What was used last, with its bytes; the rest is forgotten."""

    def add(self, key: Any, value: Any, n_bytes: int) -> None:
        self[key] = value, n_bytes
        while len(self) > MOST_KEPT or (len(self) > 1 and sum(size for _, size in self.values()) > MOST_BYTES_KEPT):
            self.popitem(last=False)


class Lost(Exception):
    """The scheduler, the workers of a call, or an object that only a dead worker held, is gone."""


class Unreachable(ClusterError):
    """Nothing answers at the address."""


def work(
    versions: Mapping[str, str], function: Callable[..., Any], shared: Sequence[Any], values: Sequence[Any]
) -> Any:
    """Call the function on a worker. Raises ClusterError on one of another version, which joined late."""
    from distributed import get_worker

    worker = get_worker()
    if foreign := difference(own_versions(), versions):
        raise ClusterError(f"the worker has {foreign}", where=worker.address, hint=INSTALL)
    warnings.simplefilter("ignore")  # here nobody reads them
    with _set_when_cancelled(worker) as stop:
        return function(*shared, *values, stop=stop)


@contextlib.contextmanager
def _set_when_cancelled(worker: Any) -> Iterator[threading.Event]:
    """An event that is set when the running task is no longer wanted, as after Ctrl-C or the end of the caller."""
    key, stop, is_over = worker.get_current_task(), threading.Event(), threading.Event()

    def watch() -> None:
        while not is_over.wait(CHECK_S):
            task = worker.state.tasks.get(key)
            if task is None or task.state in ("cancelled", "released", "forgotten"):
                stop.set()
                return

    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        yield stop
    finally:
        is_over.set()


def check_workers(client: Any, address: str) -> None:
    """Raise ClusterError where a worker has other versions than this process; one that joins later `work` refuses."""
    own = own_versions()
    for worker, found in client.run(portable_versions(), on_error="return").items():
        if isinstance(found, OSError):  # it ended while it was asked; its successor is checked by `work`
            continue
        foreign = repr(found) if isinstance(found, BaseException) else difference(found, own)
        if foreign:
            raise ClusterError(f"the worker at {worker} has {foreign}", where=address, hint=INSTALL)


def started_cluster(address: str) -> Any:
    """The cluster of `local:4`; None for an address. Raises SpecError for anything else."""
    try:
        import dask
        from distributed import LocalCluster

        _quiet_dask()
    except ImportError as error:
        raise SpecError(
            "the package distributed is not installed", where="--cluster", hint="pip install -e '.[cluster]'"
        ) from error
    if (found := LOCAL.fullmatch(address)) is None:
        if ADDRESS.fullmatch(address) is None:
            hint = "It is the address of a Dask scheduler, such as tcp://host:8786, or local:4 for four local workers."
            raise SpecError(f"{address!r} is not a cluster", where="--cluster", hint=hint)
        return None
    dask.config.set(SETTINGS)
    return LocalCluster(
        n_workers=int(found[1]),
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",  # any port: without an address it takes 8787, which another may have
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )


def _quiet_dask() -> None:
    """Leave messages to this module: Dask logs a lost connection in many lines."""
    for name in [*logging.root.manager.loggerDict, "asyncio"]:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def leave_signals() -> Any:
    """A plugin that lets local workers leave Ctrl-C to this process."""
    from distributed import WorkerPlugin

    class LeaveSignals(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:  # noqa: ARG002
            ignore_signals()

    return LeaveSignals()


def answers(client: Any) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=CONNECT_S)
    except Exception:
        return False
    return bool(client.status == "running")


@contextlib.contextmanager
def losses(client: Any) -> Iterator[None]:
    """Turn what Dask raises without a scheduler, or without the data of a dead worker, into Lost."""
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError

    try:
        yield
    except (CancelledError, FutureCancelledError, OSError, TimeoutError, KeyError) as error:
        raise Lost(repr(error)) from error
    except Exception as error:
        if client.status == "running":
            raise
        raise Lost(repr(error)) from error


def digest_of(one: Any) -> tuple[str, int]:
    """A hash of the object's content, and its bytes."""
    digest = hashlib.blake2b(digest_size=16)
    buffers: list[pickle.PickleBuffer] = []
    try:
        rest = pickle.dumps(one, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, AttributeError, TypeError):  # a function of a user's file
        import cloudpickle

        buffers = []
        rest = cloudpickle.dumps(one, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(rest), *(buffer.raw() for buffer in buffers)]
    for part in parts:
        digest.update(part)
    return digest.hexdigest(), sum(part.nbytes for part in parts)
