"""Members of splits x seeds x targets, fitted by a pool of threads, each where the workers are.

Knows learners and encoded rows; must not know models, prediction or frames.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_limits

from pipeline.base import files, mapped
from pipeline.base.fit_workers import n_waiting
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.config.table import Table
from pipeline.models.arrays.boosting import imported
from pipeline.models.arrays.learners import CUT, Arrays, FitRows, Job, Learner
from pipeline.models.arrays.split_tables import SplitTables
from pipeline.models.base import FitContext

CONSTANT = "constant_prediction"  # the array of a member that is not fitted: (1,) value or (classes,) probabilities
WAIT_S = 0.2  # between two checks for a stop
PAUSE_SOFT = 1  # omp_pause_soft of OpenMP 5.0: threads end, settings stay


@dataclass(frozen=True)
class Work:
    """What all members have in common."""

    learner_class: type[Learner]
    params: Table
    n_rounds: int | None
    seed: int


def fit_members(
    work: Work, tables: SplitTables, positions: Sequence[tuple[int, int, int]], context: FitContext
) -> list[Arrays]:
    """Fit a member for each position (split, seed, target); those in `context.checkpoints` are taken from there.

    Raises SpecError, TrainingError, Stopped, and ShareDone after a share of them.
    """
    from sklearn.exceptions import ConvergenceWarning

    mine = filter(context.share.has, range(len(positions)))
    by_split = sorted(mine, key=lambda number: positions[number][0])
    n_cores, workers = context.n_cores, context.workers
    is_alone = context.device.type == "cuda"
    if not workers.is_elsewhere and mapped.is_large(*tables.encoders.problem.train.shape):
        is_alone = True  # its arrays are as large
    n_parallel = 1 if is_alone else max(1, min(n_cores, len(by_split)))
    threads = dict(zip(by_split, threads_of_each(len(by_split), n_parallel, n_cores), strict=True))
    to_come = count(len(by_split), -1)  # one for each fit that is still to begin

    def fit(number: int) -> Arrays:
        n_threads = threads[number]
        path = None if context.checkpoints is None else context.checkpoints / f"member-{number}.npz"
        split, member_seed, output = positions[number]
        n_to_come = next(to_come)
        known = files.read_checkpoint(files.read_arrays, path)
        if known is not None and (CUT not in known or math.isfinite(context.ends_at)):
            tables.done(split)
            return known
        job_seed = derive_seed(work.seed, "split", split, "seed", member_seed, "target", output)
        rows = tables.fit_rows(split, output)
        seconds = (context.ends_at - time.monotonic()) / math.ceil(n_to_come / n_parallel)
        n_threads = min(n_threads, workers.most_threads or n_threads)
        job = _Job(job_seed % 2**31, n_threads, context.device, work.n_rounds, seconds)
        member = constant_of(rows) or workers.run(
            _fit, [rows.x], replace(rows, x=rows.x[:0]), work.learner_class, work.params, job, stop=context.stop
        )
        tables.done(split)
        if path is not None:
            files.write_arrays(path, member)
        return member

    if not workers.is_elsewhere:
        _end_idle_threads(_thread_pools(work.learner_class))
    with (
        warnings.catch_warnings(),
        threadpool_limits(1, user_api="blas"),  # sums of more threads end in other bits
        ThreadPoolExecutor(n_waiting(n_parallel, workers)) as pool,
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the weakest penalties of a path, which are not chosen
        futures = {number: pool.submit(fit, number) for number in by_split}
        try:
            _watch(futures.values(), context)
        except BaseException:
            context.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    context.share.end()
    return [futures[number].result() for number in range(len(positions))]


def threads_of_each(n_fits: int, n_parallel: int, n_workers: int) -> list[int]:
    """Threads of each fit, in the order in which they begin: the last ones share the workers that would be idle."""
    n_last = n_fits % n_parallel
    even = [max(1, n_workers // n_parallel)] * (n_fits - n_last)
    return even + [max(1, n_workers // max(1, n_last))] * n_last


@dataclass(frozen=True)
class _Job:
    """A `Job` that can be sent."""

    seed: int
    n_threads: int
    device: torch.device
    n_rounds: int | None
    seconds: float  # that it may take; clocks differ


def _fit(
    x: NDArray[np.float32],
    rows: FitRows,
    learner_class: type[Learner],
    params: Table,
    job: _Job,
    *,
    stop: threading.Event,
) -> Arrays:
    """Fit a member on `rows`, whose table is `x`, where this is called."""
    pools = _thread_pools(learner_class)
    pools.limit(limits=1, user_api="blas")  # for good: of a worker's threads, each would restore it for the others
    with pools.limit(limits=job.n_threads, user_api="openmp"):  # OpenMP keeps its limit by thread
        whole = Job(job.seed, job.n_threads, job.device, stop, job.n_rounds, time.monotonic() + job.seconds)
        return learner_class(params).fit(replace(rows, x=x), whole)


@cache
def _thread_pools(learner_class: type[Learner]) -> ThreadpoolController:
    """The libraries with threads, those of the learner among them; the first call belongs before threads that fit.

    A thread that looks for libraries waits for ever for one that loads a library: each has the lock the other needs,
    the linker's or Python's.
    """
    if library := getattr(learner_class, "library", ""):
        imported(library)
    return ThreadpoolController()


def _end_idle_threads(pools: ThreadpoolController) -> None:
    """End the threads that GNU's OpenMP keeps for the calling thread.

    While it has more threads than there are cores, idle ones too, none of them spins: the threads of a fit of few rows
    would sleep and wake at every step, and take twice the time.
    """
    for library in pools.select(prefix="libgomp").lib_controllers:
        if pause := getattr(library.dynlib, "omp_pause_resource_all", None):
            pause(PAUSE_SOFT)


def constant_of(rows: FitRows) -> Arrays | None:
    """A member that always predicts the target of these rows, if it is the same in all of them; else None."""
    if (rows.y != rows.y[0]).any():
        return None
    return {CONSTANT: rows.y[:1] if rows.is_regression else (np.arange(rows.n_classes) == rows.y[0]).astype(np.float64)}


def _watch(futures: Collection[Future[Arrays]], context: FitContext) -> None:
    """Wait for all fits and report progress. Raises what a fit raises, and Stopped."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        if done and context.on_progress is not None:
            context.on_progress(1.0 - len(pending) / len(futures), [])
        if context.stop.is_set() and pending:
            raise Stopped
