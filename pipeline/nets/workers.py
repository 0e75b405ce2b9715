"""Packs on worker threads: one core each on a CPU, one after the other on a GPU.

Knows packs; knows nothing of what their members stand for. torch's kernels let go of Python's lock, so that threads
are enough where a pack's steps are long; with short ones workers wait for each other, hence `MIN_PACK`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import TrainingError
from pipeline.nets.networks import Network
from pipeline.nets.plan import Member, PackData, Plan, Precision
from pipeline.nets.training import History, HistoryRow, PackResult, Score, train_pack

MIN_PACK = 4
PRECISIONS: dict[Precision, str] = {"float32": "highest", "tf32": "high", "bf16": "medium"}
SHARE_OF_MEMORY = 0.5  # of what is free, for packs in training
COPIES = 5  # of the parameters beside moments: gradients, results, initial and saved ones
ACTIVATIONS_KEPT = 5  # numbers a unit and row while a batch is differentiated
MAX_PACK = 64  # members of one program on a CPU: with 40 a step's fixed cost is small, and memory still is


@dataclass(frozen=True)
class PackJob:
    """One pack to train. `name` is that of its checkpoint."""

    name: str
    network: Network
    plan: Plan
    data: PackData
    members: Sequence[Member]
    labels: Sequence[str]  # of the members, for messages
    score: Score
    prune: Callable[[int, list[HistoryRow]], Collection[int]] | None = None


# (share of all work done, number of the job, its new history lines)
OnProgress = Callable[[float, int, list[HistoryRow]], None]


def member_bytes(network: Network, plan: Plan) -> int:
    """About what a member of a pack takes while it trains: parameters and their like, a batch and its activations."""
    infos = network.parameter_infos().values()
    n_numbers = sum(math.prod(info.shape) for info in infos) * (COPIES + plan.update.n_moments)
    widths = network.n_inputs + ACTIVATIONS_KEPT * network.n_activations * network.n_heads
    if not network.is_plain:  # autograd keeps more, at the widest first layer
        widths += ACTIVATIONS_KEPT * network.widest
    return 4 * (n_numbers + plan.batch_size * widths)


def pack_sizes(
    n_members: int,
    n_workers: int,
    device: torch.device,
    *,
    unit: int = 1,
    bytes_each: int = 0,
    free: int | None = None,
    n_least: int = MIN_PACK,
) -> list[int]:
    """Into packs of how many members `n_members` of one shape are cut: one pack on a GPU, else within the bounds.

    `unit` members stay together; sizes are its multiples. Packs that run at once fit into `free` bytes, as long as that
    leaves room for one unit a worker. On a CPU no worker is given fewer than `n_least` members while another has work.
    """
    n_units = n_members // unit
    is_cpu = device.type == "cpu"
    n_packs = max(1, min(n_workers, n_members // n_least)) if is_cpu else 1
    n_most = MAX_PACK if is_cpu else n_members
    if free is not None and bytes_each > 0:
        n_fit = int(free * SHARE_OF_MEMORY) // bytes_each
        if n_members > n_fit:  # cut, and as many packs at once as there are workers
            n_most = max(unit, min(n_most, n_fit // (n_workers if is_cpu else 1)))
    if n_members > n_most * n_packs:  # as many for every worker
        n_packs *= math.ceil(n_members / (n_most * n_packs))
    n_packs = min(n_packs, n_units)
    return [unit * (n_units // n_packs + (pack < n_units % n_packs)) for pack in range(n_packs)]


def run_packs(
    jobs: Sequence[PackJob],
    *,
    n_workers: int,
    checkpoints: Path | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> list[PackResult]:
    """Train every pack; results in the order of `jobs`.

    Ctrl-C, or setting `stop`, saves each running pack's checkpoint and raises KeyboardInterrupt; an error of one pack
    stops the others likewise and is raised; with `stops_at_failure` a failed member is one (TrainingError).
    """
    stop = stop or threading.Event()
    n_epochs = sum(job.plan.epochs for job in jobs)
    epochs_done = [0] * len(jobs)
    lock = threading.Lock()

    def run(number: int) -> PackResult:
        job, n_told = jobs[number], 0
        is_cpu = job.data.y.device.type == "cpu"
        if is_cpu:
            torch.set_num_threads(
                n_threads if job.network.is_heavy else 1
            )  # of this worker: others have their own core
            torch.set_flush_denormal(True)  # moments of units without gradient fade into numbers that are slow to add
        else:
            torch.set_float32_matmul_precision(PRECISIONS[job.plan.precision])

        def on_epoch(epoch: int, history: History) -> None:
            nonlocal n_told
            with lock:
                epochs_done[number] = epoch
                if on_progress is not None:
                    on_progress(sum(epochs_done) / n_epochs, number, history.rows[n_told:])
                n_told = len(history.rows)

        result = train_pack(
            job.network,
            job.plan,
            job.data,
            job.members,
            job.score,
            checkpoint=None if checkpoints is None else checkpoints / f"{job.name}.safetensors",
            on_epoch=on_epoch,
            should_stop=stop.is_set,
            prune=job.prune,
        )
        if result.failures and job.plan.stops_at_failure:
            position, why = next(iter(result.failures.items()))
            raise TrainingError(
                f"training broke down: {why}",
                where=job.labels[position],
                hint=f"Try a smaller learning rate, e.g. --set lr={job.members[position].lr / 10:g}",
            )
        return result

    at_once = min(len(jobs), n_workers) if all(job.data.y.device.type == "cpu" for job in jobs) else 1
    n_threads = max(1, n_workers // max(1, at_once))
    with ThreadPoolExecutor(max_workers=max(1, at_once)) as pool:
        futures = [pool.submit(run, number) for number in range(len(jobs))]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done() and (error := future.exception()) is not None:
                    raise error
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
