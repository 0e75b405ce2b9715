"""Packs on workers: one core each on a CPU, one after the other on a GPU.

Knows packs; knows nothing of what their members stand for. Workers are threads, and processes where these pay. What
has all cores to itself trains in the calling thread: OpenMP's threads wait for each other without sleeping as long as
there are no more of them than cores, and those of a second thread would be more.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pipeline.base.errors import TrainingError
from pipeline.base.interruption import on_interrupt
from pipeline.nets.networks import Network
from pipeline.nets.plan import PRECISIONS, Member, PackData, Plan
from pipeline.nets.processes import train_pack_elsewhere, use_one_core
from pipeline.nets.training import History, HistoryRow, PackResult, Score, train_pack

MIN_PACK = 4
SHARE_OF_MEMORY = 0.5  # of what is free, for packs in training
COPIES = 5  # of the parameters beside moments: gradients, results, initial and saved ones
ACTIVATIONS_KEPT = 5  # numbers a unit and row while a batch is differentiated
MOST_SENT = 1 << 27  # bytes of tables that are sent to processes; steps on larger ones are long enough for threads
WORTH_PROCESSES = 2_500_000  # rows visited in training, some 10 s of one core: below, processes do not earn their start
LONG_STEP = 1 << 22  # multiplications of a forward pass that take longer than the calls around them
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


def is_heavy(network: Network, plan: Plan) -> bool:
    """Whether one member's step is long: on a CPU it gains from threads, and nothing from company."""
    return network.is_heavy or _n_multiplications(network, plan) >= LONG_STEP


def least_pack(network: Network, plan: Plan) -> int:
    """Members that a worker on a CPU wants to be kept busy."""
    return 1 if network.is_heavy else max(1, min(MIN_PACK, LONG_STEP // _n_multiplications(network, plan)))


def _n_multiplications(network: Network, plan: Plan) -> int:
    """Of a member's forward pass of a batch through layers that read every number once a row."""
    return plan.batch_size * sum(math.prod(info.shape) for info in network.parameter_infos().values())


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
    n_fitting = n_members if free is None or bytes_each == 0 else int(free * SHARE_OF_MEMORY) // bytes_each
    if n_members > min(n_most * n_packs, n_fitting):  # as many for every worker, and all workers at once
        n_packs = n_workers if is_cpu else 1
        n_most = max(unit, min(n_most, n_fitting // n_packs))
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

    Ctrl-C, or setting `stop`, saves each running pack's checkpoint and raises Stopped; an error of one pack
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
            use_one_core()
            if is_heavy(job.network, job.plan):
                torch.set_num_threads(n_threads)
        torch.set_float32_matmul_precision(PRECISIONS[job.plan.precision])

        def on_epoch(epoch: int, history: History) -> None:
            nonlocal n_told
            with lock:
                epochs_done[number] = epoch
                if on_progress is not None:
                    on_progress(sum(epochs_done) / n_epochs, number, history.rows[n_told:])
                n_told = len(history.rows)

        train = partial(train_pack_elsewhere, at_once) if in_processes else train_pack
        result = train(
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
    in_processes = at_once > 1 and _gain_from_processes(jobs)
    with _as_before():
        if at_once <= 1:
            with on_interrupt(stop.set):
                return [run(number) for number in range(len(jobs))]
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            # the longest first, so that no worker is left with a long one at the end
            longest_first = sorted(range(len(jobs)), key=lambda number: -_visits(jobs[number]) * _size(jobs[number]))
            futures = {number: pool.submit(run, number) for number in longest_first}
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                for future in futures.values():
                    if future.done() and (error := future.exception()) is not None:
                        raise error
                return [futures[number].result() for number in range(len(jobs))]
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """What training sets for torch is undone: predictions are made as a later process makes them."""
    n_threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(precision)


def _gain_from_processes(jobs: Sequence[PackJob]) -> bool:
    """Whether there is enough to do, in steps that are short, on tables that are small enough to be sent."""
    is_light = not any(job.network.is_heavy for job in jobs) and max(job.data.x.n_bytes for job in jobs) <= MOST_SENT
    return is_light and sum(_visits(job) for job in jobs) >= WORTH_PROCESSES


def _visits(job: PackJob) -> int:
    """Rows that are gone through in its training."""
    return job.plan.epochs * sum(len(member.train_rows) for member in job.members)


def _size(job: PackJob) -> int:
    """Numbers of one of its networks."""
    return sum(math.prod(info.shape) for info in job.network.parameter_infos().values())
