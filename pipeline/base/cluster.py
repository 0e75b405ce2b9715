"""The workers of a Dask cluster, which run fits as this process would. Must not know what is fitted."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.base.dask_link import (
    CHECK_S,
    CONNECT_S,
    INSTALL,
    Lost,
    Recent,
    Unreachable,
    answers,
    check_workers,
    digest_of,
    leave_signals,
    losses,
    started_cluster,
    work,
)
from pipeline.base.errors import ClusterError
from pipeline.base.fit_workers import Result
from pipeline.base.interruption import Stopped
from pipeline.base.progress import say
from pipeline.base.worker_versions import own_versions

SAY_IDLE_S = 10.0  # without workers, before it is said
MEND_AFTER_S = 8.0  # without its process, which starts within seconds, before a local worker is replaced
RECONNECT_S = 60.0  # a scheduler that is silent for longer is lost
MOST_ATTEMPTS = 12  # of a fit whose workers end; the scheduler makes some of its own in each


class Cluster:
    """The workers of a Dask scheduler. Any number of threads may call `run` at once."""

    is_elsewhere = True

    def __init__(self, address: str) -> None:
        """Connect to `address`, or start `local:4` workers of one thread each. Raises SpecError, ClusterError."""
        self.address, self._local, self._lock = address, started_cluster(address), threading.RLock()
        self._sent = Recent()  # hash -> the future of an object on the workers, its bytes
        self._hashes = Recent()  # id -> the object, which keeps its id as long, and its hash; its bytes
        self._missing, self._looked_at = set[Any](), time.monotonic()  # local workers that have no process
        try:
            self._client = self._connected(CONNECT_S)
            self._client.wait_for_workers(1, timeout=CONNECT_S)
            check_workers(self._client, self.address)
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
            except Lost as error:
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

        with losses(client):
            data = [self._on_workers(client, one) for one in shared]
            key = f"{function.__name__.strip('_')}-{uuid.uuid4().hex}"
            future = client.submit(work, own_versions(), function, data, values, key=key, pure=False)
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
                raise Lost(str(error))
            raise self._as_user_error(error)
        if future.status != "finished":
            raise Lost(future.status)
        with losses(client):
            found: Result = future.result()
        return found

    def _on_workers(self, client: Any, one: Any) -> Any:
        """The future of an object on the workers, which is sent there unless it is known."""
        with self._lock:
            (_, digest), n_bytes = self._hashes.pop(id(one), ((None, None), 0))
            if digest is None:
                digest, n_bytes = digest_of(one)
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
            if answers(client):  # only what a dead worker held was lost
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
                except Unreachable as error:
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
        """A client of the scheduler. Raises Unreachable."""
        from distributed import Client

        target = self._local if self._local is not None else self.address
        try:
            client = Client(target, timeout=timeout_s, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unreachable(
                "the scheduler cannot be reached",
                where=self.address,
                hint="Is `dask scheduler` running there, and is its port open to this machine?",
            ) from error
        if self._local is not None:
            client.register_plugin(leave_signals())
        return client

    def _as_user_error(self, error: BaseException) -> BaseException:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("pipeline"):
            return ClusterError("a worker does not have the pipeline", where=self.address, hint=INSTALL)
        return error

    def _close_local(self) -> None:
        if self._local is not None:
            with contextlib.suppress(Exception):
                self._local.close(timeout=2)
