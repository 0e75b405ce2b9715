"""Packs in processes of their own; what a pack asks on its way is answered here, by the caller's functions.

Knows `train_pack` and its arguments; knows nothing of which packs should run where. In one process, workers meet at
Python's lock before and after every kernel: two threads did 1.2 times the work of one, two processes 1.9 times.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Collection, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor

from pipeline.base.errors import TrainingError
from pipeline.base.interruption import Stopped
from pipeline.nets.networks import Network
from pipeline.nets.plan import PRECISIONS, Member, PackData, Plan
from pipeline.nets.training import History, HistoryRow, PackResult, Score, train_pack

IDLE_S = 60  # after which a process without work ends: a start takes seconds


def train_pack_elsewhere(
    n_processes: int,
    network: Network,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    score: Score,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, History], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    prune: Callable[[int, list[HistoryRow]], Collection[int]] | None = None,
) -> PackResult:
    """`train_pack` in one of `n_processes` that are kept for a while: the same arguments, bits, errors and checkpoint.

    The functions are called in this process. Raises TrainingError when the other one dies.
    """
    history = History()

    def on_new_rows(epoch: int, rows: list[HistoryRow]) -> None:
        history.rows += rows
        if on_epoch is not None:
            on_epoch(epoch, history)

    answers: dict[str, Callable[..., Any]] = {
        "score": score,
        "on_new_rows": on_new_rows,
        "should_stop": should_stop,
        "prune": prune or (lambda *_: ()),
    }
    key = secrets.token_bytes(32)
    executor = get_reusable_executor(max_workers=n_processes, timeout=IDLE_S, initializer=_ignore_ctrl_c)
    with Listener(authkey=key) as listener:
        address = listener.address
        future = executor.submit(_work, address, key, network, plan, data, members, checkpoint, prune is not None)
        future.add_done_callback(lambda _: _knock(address, key))  # it died before it called
        with listener.accept() as connection, contextlib.suppress(EOFError, ConnectionError):
            return _answered(connection, answers)
    if should_stop():  # Ctrl-C reached it before it could ignore it
        raise Stopped
    raise TrainingError(
        "a worker process ended before its work was done; the memory may have been too small",
        hint="The same command goes on from the last checkpoint; --workers 1 takes less memory.",
    )


def _answered(connection: Connection[Any, Any], answers: dict[str, Callable[..., Any]]) -> PackResult:
    """Serve the other process until its result is there."""
    while True:
        name, values = connection.recv()
        if name == "result":
            matrix, best_epoch, rows, failures, pruned = values
            return PackResult(torch.from_numpy(matrix), best_epoch, History(rows), failures, pruned)
        if name == "error":
            raise values
        connection.send(answers[name](*values))


def _work(
    address: str,
    key: bytes,
    network: Network,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    checkpoint: Path | None,
    has_prune: bool,
) -> None:
    """In the other process: train the pack, asking the caller what it must know."""
    with Client(address, authkey=key) as connection, contextlib.suppress(EOFError, ConnectionError):
        n_told = 0

        def ask(name: str, *values: Any) -> Any:
            connection.send((name, values))
            return connection.recv()

        def on_epoch(epoch: int, history: History) -> None:
            nonlocal n_told
            ask("on_new_rows", epoch, history.rows[n_told:])
            n_told = len(history.rows)

        use_one_core()
        torch.set_float32_matmul_precision(PRECISIONS[plan.precision])
        try:
            result = train_pack(
                network,
                plan,
                data,
                members,
                lambda scored: [float(score) for score in ask("score", scored)],
                checkpoint=checkpoint,
                on_epoch=on_epoch,
                should_stop=lambda: bool(ask("should_stop")),
                prune=(lambda *values: list(ask("prune", *values))) if has_prune else None,
            )
        except (EOFError, ConnectionError):  # nobody waits for it any more
            raise
        except BaseException as error:  # is raised where the caller waits
            connection.send(("error", error))
        else:
            matrix: np.ndarray[Any, Any] = result.matrix.numpy()
            parts = (matrix, result.best_epoch, result.history.rows, result.failures, result.pruned)
            connection.send(("result", parts))


def use_one_core() -> None:
    """Of this worker: others have their own."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # moments of units without gradient fade into numbers that are slow to add


def _knock(address: str, key: bytes) -> None:
    with contextlib.suppress(OSError, EOFError):
        Client(address, authkey=key).close()


def _ignore_ctrl_c() -> None:
    """The caller hears it, and says when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
