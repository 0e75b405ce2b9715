"""Where fits run: in this process, or on the workers of a Dask cluster. Both are called in the same way.

Must not know what is fitted. Only this module imports Dask.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import pickle
import re
import threading
import time
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pipeline.base.errors import ClusterError, SpecError
from pipeline.base.interruption import Stopped, ignore_signals
from pipeline.base.progress import say
from pipeline.base.worker_versions import difference, own_versions, portable_versions

CHECK_S = 0.2  # between two checks for a stop
SAY_IDLE_S = 10.0  # without workers, before it is said
MEND_AFTER_S = 8.0  # without its process, which starts within seconds, before a local worker is replaced
RECONNECT_S = 60.0  # a scheduler that is silent for longer is lost
CONNECT_S = 10.0  # for the first connection
MOST_KEPT, MOST_BYTES_KEPT = 32, 1 << 30  # objects that stay on the workers for further fits
MOST_ATTEMPTS = 12  # of a fit whose workers end; the scheduler makes some of its own in each
LOCAL = re.compile(r"local:([1-9]\d{0,2})")
ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss|ucx)://)?(?!local:)([\w.-]+|\[[\da-fA-F:]+\]):\d+")

Result = TypeVar("Result")


class Workers(Protocol):
    """What runs fits."""

    is_elsewhere: bool

    @property
    def n_cores(self) -> int | None:
        """Cores for fits; None: as the caller says."""
        ...

    @property
    def most_threads(self) -> int | None:
        """Threads that one fit may use at most; None: as the caller says."""
        ...

    def run(
        self, function: Callable[..., Result], shared: Sequence[Any], *values: Any, stop: threading.Event
    ) -> Result:
        """Return `function(*shared, *values, stop=event)`, where the event is set when `stop` is.

        Elsewhere, each of the `shared` objects goes to a worker once, however many calls read it. Raises what the
        function raises, Stopped when `stop` is set before the end, ClusterError when the cluster is lost.
        """
        ...

    def close(self) -> None:
        """Give back what was taken; what still runs is cancelled."""
        ...


class Here:
    """This process."""

    is_elsewhere = False
    n_cores: int | None = None
    most_threads: int | None = None

    def run(
        self, function: Callable[..., Result], shared: Sequence[Any], *values: Any, stop: threading.Event
    ) -> Result:
        """Call the function."""
        return function(*shared, *values, stop=stop)

    def close(self) -> None:
        """Nothing is held."""


HERE = Here()


def n_waiting(n_parallel: int, workers: Workers) -> int:
    """Return how many threads should wait for fits of which `n_parallel` run at once."""
    return 2 * n_parallel if workers.is_elsewhere else n_parallel  # so that a worker finds its next fit when it is done


class Cluster:
    """The workers of a Dask scheduler. Any number of threads may call `run` at once."""

    is_elsewhere = True

    def __init__(self, address: str) -> None:
        """Connect to `address`, or start `local:4` workers of one thread each. Raises SpecError, ClusterError."""
        self.address, self._local, self._lock = address, _started(address), threading.RLock()
        self._sent = _Recent()  # hash -> the future of an object on the workers, its bytes
        self._hashes = _Recent()  # id -> the object, which keeps its id as long, and its hash; its bytes
        self._missing, self._looked_at = set[Any](), time.monotonic()  # local workers that have no process
        try:
            self._client = self._connected(CONNECT_S)
            self._client.wait_for_workers(1, timeout=CONNECT_S)
            _check_workers(self._client, self.address)
        except TimeoutError as error:
            self.close()
            raise ClusterError(
                "the scheduler has no workers",
                where=address,
                hint=f"Start some: dask worker {address} --nworkers auto --nthreads 1",
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def n_cores(self) -> int | None:
        """Threads of all workers."""
        return max(1, sum(self._threads().values()))

    @property
    def most_threads(self) -> int | None:
        """Threads of the smallest worker."""
        return min(self._threads().values(), default=1)

    def describe(self) -> str:
        """Say what was found."""
        threads = self._threads()
        return f"cluster {self.address}: {len(threads)} workers, {sum(threads.values())} threads"

    def run(
        self, function: Callable[..., Result], shared: Sequence[Any], *values: Any, stop: threading.Event
    ) -> Result:
        """See `Workers.run`. A call whose worker dies, or whose scheduler comes back, is made again."""
        for _ in range(MOST_ATTEMPTS):
            client = self._client
            try:
                return self._run_once(client, function, shared, values, stop)
            except _Lost as error:
                last = error
                self._restore(client, stop)
                self._wait_for_worker(self._client, stop)
        raise ClusterError(
            f"workers ended again and again during one fit; their memory may be too small: {last}",
            where=self.address,
            hint="Finished fits are kept. Give the workers more memory, or fewer threads each.",
        )

    def close(self) -> None:
        """Cancel what runs and leave the cluster; end the workers that were started for it."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)  # the scheduler then cancels this client's fits
        self._close_local()

    def _run_once(
        self,
        client: Any,
        function: Callable[..., Result],
        shared: Sequence[Any],
        values: Sequence[Any],
        stop: threading.Event,
    ) -> Result:
        from distributed.scheduler import KilledWorker

        with _losses(client):
            data = [self._on_workers(client, one) for one in shared]
            key = f"{function.__name__.strip('_')}-{uuid.uuid4().hex}"
            future = client.submit(_work, own_versions(), function, data, values, key=key, pure=False)
        is_over, looked_at = threading.Event(), time.monotonic()
        future.add_done_callback(lambda _: is_over.set())
        try:
            while not is_over.wait(CHECK_S):
                if stop.is_set():
                    raise Stopped
                if time.monotonic() - looked_at > SAY_IDLE_S:
                    self._mend(client)
                    self._wait_for_worker(client, stop)
                    looked_at = time.monotonic()
        except Stopped:
            with contextlib.suppress(Exception):
                future.cancel()
            raise
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                raise _Lost(str(error))
            raise self._as_user_error(error)
        if future.status != "finished":
            raise _Lost(future.status)
        with _losses(client):
            found: Result = future.result()
        return found

    def _on_workers(self, client: Any, one: Any) -> Any:
        """The future of an object on the workers, which is sent there unless it is known."""
        with self._lock:
            (_, digest), n_bytes = self._hashes.pop(id(one), ((None, None), 0))
            if digest is None:
                digest, n_bytes = _digest(one)
            self._hashes.add(id(one), (one, digest), n_bytes)
            known, _ = self._sent.pop(digest, (None, 0))
            if known is None or known.client is not client or known.status != "finished":
                (known,) = client.scatter({f"data-{digest}": one}).values()
            self._sent.add(digest, known, n_bytes)
            return known

    def _threads(self) -> dict[str, int]:
        """Threads of each worker; {} while the scheduler is silent."""
        with contextlib.suppress(Exception):
            return dict(self._client.nthreads())
        return {}

    def _wait_for_worker(self, client: Any, stop: threading.Event) -> None:
        """Return when there is a worker, or no scheduler; say once that none is there. Raises Stopped."""
        since = time.monotonic()
        while not (self._threads() or client.status != "running"):
            self._mend(client)
            if time.monotonic() - since > SAY_IDLE_S:
                since = math.inf
                say(f"cluster {self.address}: there is no worker; waiting for one. Ctrl-C ends the wait")
            if stop.wait(CHECK_S):
                raise Stopped

    def _mend(self, client: Any) -> None:
        """Replace local workers that were killed while they started, which Dask leaves at that."""
        with self._lock:
            if self._local is None or time.monotonic() - self._looked_at < MEND_AFTER_S:
                return
            with contextlib.suppress(Exception):
                alive = {worker["id"] for worker in client.scheduler_info()["workers"].values()}
                missing = set(self._local.workers) - alive
                n_workers = len(self._local.worker_spec)
                for name in missing & self._missing:
                    self._local.worker_spec.pop(name, None)
                self._local.scale(n_workers)
                self._missing, self._looked_at = missing, time.monotonic()

    def _restore(self, client: Any, stop: threading.Event) -> None:
        """After a loss, connect again unless another thread has done so. Raises ClusterError, Stopped."""
        with self._lock:
            if self._client is not client:
                return
            if _answers(client):  # only what a dead worker held was lost
                return
            say(f"cluster {self.address}: the scheduler does not answer; trying again for {RECONNECT_S:.0f} s")
            with contextlib.suppress(Exception):
                client.close(timeout=1)
            until = time.monotonic() + RECONNECT_S
            while True:
                if stop.is_set():
                    raise Stopped
                try:
                    self._client = self._connected(2.0)
                    break
                except _Unreachable as error:
                    if time.monotonic() > until:
                        raise ClusterError(
                            "the scheduler was lost",
                            where=self.address,
                            hint="Finished work is kept, and the same command continues from there; without --cluster "
                            "it does so on this machine.",
                        ) from error
            self._sent.clear()
            say(f"{self.describe()}; connected again")

    def _connected(self, timeout_s: float) -> Any:
        """A client of the scheduler. Raises _Unreachable."""
        from distributed import Client

        target = self._local if self._local is not None else self.address
        try:
            client = Client(target, timeout=timeout_s, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise _Unreachable(
                "the scheduler cannot be reached",
                where=self.address,
                hint="Is `dask scheduler` running there, and is its port open to this machine?",
            ) from error
        if self._local is not None:
            client.register_plugin(_leave_signals())
        return client

    def _as_user_error(self, error: BaseException) -> BaseException:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("pipeline"):
            return ClusterError("a worker does not have the pipeline", where=self.address, hint=INSTALL)
        return error

    def _close_local(self) -> None:
        if self._local is not None:
            with contextlib.suppress(Exception):
                self._local.close(timeout=2)


INSTALL = "Install the same version there as here, with the extra `cluster`, and start the workers again."


class _Recent(OrderedDict[Any, tuple[Any, int]]):
    """What was used last, with its bytes; the rest is forgotten."""

    def add(self, key: Any, value: Any, n_bytes: int) -> None:
        self[key] = value, n_bytes
        while len(self) > MOST_KEPT or (len(self) > 1 and sum(size for _, size in self.values()) > MOST_BYTES_KEPT):
            self.popitem(last=False)


class _Lost(Exception):
    """The scheduler, the workers of a call, or an object that only a dead worker held, is gone."""


class _Unreachable(ClusterError):
    """Nothing answers at the address."""


def _work(
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


def _check_workers(client: Any, address: str) -> None:
    """Raise ClusterError where a worker has other versions than this process; one that joins later `_work` refuses."""
    own = own_versions()
    for worker, found in client.run(portable_versions(), on_error="return").items():
        if isinstance(found, OSError):  # it ended while it was asked; its successor is checked by `_work`
            continue
        foreign = repr(found) if isinstance(found, BaseException) else difference(found, own)
        if foreign:
            raise ClusterError(f"the worker at {worker} has {foreign}", where=address, hint=INSTALL)


def _started(address: str) -> Any:
    """The cluster of `local:4`; None for an address. Raises SpecError for anything else."""
    try:
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


def _leave_signals() -> Any:
    """A plugin that lets local workers leave Ctrl-C to this process."""
    from distributed import WorkerPlugin

    class LeaveSignals(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:  # noqa: ARG002
            ignore_signals()

    return LeaveSignals()


def _answers(client: Any) -> bool:
    try:
        client.sync(client.scheduler.identity, callback_timeout=CONNECT_S)
    except Exception:
        return False
    return bool(client.status == "running")


@contextlib.contextmanager
def _losses(client: Any) -> Iterator[None]:
    """Turn what Dask raises without a scheduler, or without the data of a dead worker, into _Lost."""
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError

    try:
        yield
    except (CancelledError, FutureCancelledError, OSError, TimeoutError, KeyError) as error:
        raise _Lost(repr(error)) from error
    except Exception as error:
        if client.status == "running":
            raise
        raise _Lost(repr(error)) from error


def _digest(one: Any) -> tuple[str, int]:
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
