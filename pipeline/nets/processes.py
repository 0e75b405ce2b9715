"""Train packs in other processes, which call back into this one for scores, progress and pruning.

Knows `train_pack` and its arguments; must not know which packs should run where. In one process, workers compete for
Python's lock around every kernel: where steps are short, two threads do less than one, and two processes 1.9 times as
much. Where steps are long, processes lose by what they start and send (benchmarks/ablation.md).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config

from pipeline.base.errors import TrainingError
from pipeline.base.interruption import Stopped, ignore_signals
from pipeline.base.locks import is_alive
from pipeline.nets.networks import Network
from pipeline.nets.plan import PRECISIONS, HistoryRow, Member, PackData, PackJob, Plan
from pipeline.nets.settings import use_one_core
from pipeline.nets.training import PackResult, train_pack

IDLE_S = 60  # before an unused process ends, because starting one takes seconds
WATCH_EVERY_S = 1.0
OLD_S = 3600.0  # a younger file may belong to a process in another container
SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps what joblib shares; absent elsewhere
_starting = threading.Lock()  # joblib's pool of processes must not be created by two threads at once


def train_in_process(
    n_processes: int,
    job: PackJob,
    *,
    checkpoint: Path | None,
    on_epoch: Callable[[int, list[HistoryRow]], None],
    should_stop: Callable[[], bool],
) -> PackResult:
    """Train in one of `n_processes` that are reused: the bits, errors and checkpoint of `train_pack`.

    The functions are called in this process. Raises TrainingError if the other process dies.
    """
    answers: dict[str, Callable[..., Any]] = {
        "score": job.score,
        "on_epoch": on_epoch,
        "should_stop": should_stop,
        "prune": job.prune or (lambda *_: ()),
    }
    key = secrets.token_bytes(32)
    # Linux knows addresses without a file, of which a killed process leaves nothing
    place = f"\0pipeline-{os.getpid()}-{secrets.token_hex(8)}" if sys.platform == "linux" else None
    with Listener(place, authkey=key) as listener:
        pack = (job.network, job.plan, job.data, job.members)
        task = delayed(_work)(listener.address, key, pack, checkpoint, job.prune is not None)
        thread = threading.Thread(target=_run_task, args=(n_processes, task, listener.address, key), daemon=True)
        thread.start()
        with listener.accept() as connection, contextlib.suppress(EOFError, ConnectionError):
            return _answer(connection, answers)
    thread.join()  # then no later pack gets the broken pool
    if should_stop():  # Ctrl-C reached the process before it could ignore it
        raise Stopped
    raise TrainingError(
        "a worker process ended before its work was done; the memory may be too small",
        hint="Run the same command again to continue from the last checkpoint; --workers 1 needs less memory.",
    )


def _run_task(n_processes: int, task: Any, address: str, key: bytes) -> None:
    """Run the task in a process; wake the caller, in case the process died before it connected."""
    begin = _begin_for(os.getpid())
    how = parallel_config("loky", inner_max_num_threads=1, idle_worker_timeout=IDLE_S, initializer=begin)
    # the caller notices a dead process by its closed connection
    with contextlib.suppress(Exception), how, contextlib.ExitStack() as stack:
        with _starting:
            remove_leftovers()
            parallel = stack.enter_context(Parallel(n_processes, max_nbytes=None))
        parallel([task])
    with contextlib.suppress(OSError, EOFError):
        Client(address, authkey=key).close()


def _answer(connection: Connection[Any, Any], answers: dict[str, Callable[..., Any]]) -> PackResult:
    """Answer the other process until it sends its result."""
    while True:
        name, values = connection.recv()
        if name == "result":
            matrix, *others = values
            return PackResult(torch.from_numpy(matrix), *others)
        if name == "error":
            raise values
        connection.send(answers[name](*values))


def _work(
    address: str,
    key: bytes,
    pack: tuple[Network, Plan, PackData, Sequence[Member]],
    checkpoint: Path | None,
    has_prune: bool,
) -> None:
    """Train the pack in the other process, asking the caller for what it needs."""
    with Client(address, authkey=key) as connection, contextlib.suppress(EOFError, ConnectionError):

        def ask(name: str, *values: Any) -> Any:
            connection.send((name, values))
            return connection.recv()

        use_one_core()
        torch.set_float32_matmul_precision(PRECISIONS[pack[1].precision])
        try:
            result = train_pack(
                *pack,
                lambda scored: [float(score) for score in ask("score", scored)],
                checkpoint=checkpoint,
                on_epoch=lambda *values: ask("on_epoch", *values),
                should_stop=lambda: bool(ask("should_stop")),
                prune=(lambda *values: list(ask("prune", *values))) if has_prune else None,
            )
        except (EOFError, ConnectionError):  # the caller is gone
            raise
        except BaseException as error:  # raised again by the caller
            connection.send(("error", error))
        else:
            others = (result.best_epoch, result.history, result.failures, result.pruned)
            connection.send(("result", (result.matrix.numpy(), *others)))


@cache
def _begin_for(parent: int) -> Callable[[], None]:
    """The initializer of a process: the same object each time, or joblib would end the pool and start another one."""
    return partial(_begin, parent)


def _begin(parent: int) -> None:
    """Leave signals to the caller, which says when to stop, and end when it is gone."""
    ignore_signals()
    threading.Thread(target=_end_with, args=(parent,), name="watch", daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process, whatever it is doing, within seconds of the end of `parent`."""
    while os.getppid() == parent:
        time.sleep(WATCH_EVERY_S)
    os._exit(1)


def remove_leftovers(folder: Path = SHARED_MEMORY, old_s: float = OLD_S) -> None:
    """Remove the semaphores and folders of joblib whose process was killed together with those that tidy up."""
    for path in [*folder.glob("sem.loky-*"), *folder.glob("joblib_memmapping_folder_*")]:
        pid = path.name.removeprefix("sem.loky-").removeprefix("joblib_memmapping_folder_").replace("_", "-")
        with contextlib.suppress(OSError):  # it is someone else's, or gone
            if is_alive(pid.partition("-")[0]) or time.time() - path.stat().st_mtime < old_s:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
