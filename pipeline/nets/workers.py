"""Run packs on workers: one core each on a CPU, one after the other on a GPU.

Must not know what members stand for. Workers are threads, or processes where these pay. A pack that has all cores
trains in the calling thread: OpenMP's threads busy-wait for each other as long as there are no more of them than cores,
and a second thread would bring its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.base.errors import TrainingError
from pipeline.base.fit_workers import HERE, Workers, n_waiting
from pipeline.base.interruption import on_interrupt
from pipeline.nets.networks import Network
from pipeline.nets.parts import train_in_parts
from pipeline.nets.plan import HistoryRow, PackJob, Plan
from pipeline.nets.processes import train_in_process
from pipeline.nets.settings import LONG_STEP, n_multiplications, set_up_torch, torch_settings_restored
from pipeline.nets.training import PackResult, train_pack

MIN_PACK = 4
MAX_PACK = 64  # on a CPU: with 40 members the fixed cost of a step is small, and so is the memory
SHARE_OF_MEMORY = 0.5  # of what is free, for packs in training
COPIES = 5  # of the parameters, without moments: gradients, results, initial and saved ones
COPIES_ON_GPU = 7  # and what a graph's warm-up changes, which is put back
ACTIVATIONS_KEPT = 5  # numbers per unit and row in a forward and backward pass
ACTIVATIONS_ON_GPU = 7  # and those of another graph, for the last batch
MAX_BYTES_SENT = 1 << 27  # tables sent to a process; on larger ones steps are long enough for threads
SHORT_STEP = 1 << 24  # multiplications of a pack's forward pass; threads seldom wait for each other in longer ones
MIN_VISITS = 2_500_000  # rows visited in training, some 10 s of one core, for which starting processes pays

# (share of all work done, number of the job, its new history rows)
OnProgress = Callable[[float, int, list[HistoryRow]], None]


def member_bytes(network: Network, plan: Plan, device: torch.device) -> int:
    """Estimate the memory of a member in training: parameters and their copies, a batch and its activations."""
    copies, kept = (COPIES, ACTIVATIONS_KEPT) if device.type == "cpu" else (COPIES_ON_GPU, ACTIVATIONS_ON_GPU)
    n_numbers = network.n_parameters * (copies + plan.update.n_moments)
    widths = network.n_inputs + kept * network.n_activations * network.n_heads
    if not network.is_plain:  # autograd keeps more, at the widest first layer
        widths += kept * network.widest
    return 4 * (n_numbers + plan.batch_size * widths)


def min_pack_size(network: Network, plan: Plan) -> int:
    """Return how many members keep a worker on a CPU busy."""
    return 1 if network.is_heavy else max(1, min(MIN_PACK, LONG_STEP // n_multiplications(network, plan)))


def pack_sizes(
    n_members: int,
    n_workers: int,
    device: torch.device,
    *,
    unit: int = 1,
    bytes_each: int = 0,
    free: int | None = None,
    min_size: int = MIN_PACK,
) -> list[int]:
    """Return the sizes of the packs that `n_members` of one shape are split into; on a GPU one pack, if it fits.

    `unit` members stay together; sizes are its multiples. Packs that run at once fit into `free` bytes, unless that is
    less than one unit per worker. On a CPU no worker gets fewer than `min_size` members while another has work.
    """
    n_units = n_members // unit
    is_cpu = device.type == "cpu"
    n_packs = max(1, min(n_workers, n_members // min_size)) if is_cpu else 1
    max_size = MAX_PACK if is_cpu else n_members
    n_fitting = n_members if free is None or bytes_each == 0 else int(free * SHARE_OF_MEMORY) // bytes_each
    if n_members > min(max_size * n_packs, n_fitting):  # equally many for every worker, with all workers busy
        n_packs = n_workers if is_cpu else 1
        max_size = max(unit, min(max_size, n_fitting // n_packs))
        n_packs *= math.ceil(n_members / (max_size * n_packs))
    n_packs = min(n_packs, n_units)
    return [unit * (n_units // n_packs + (pack < n_units % n_packs)) for pack in range(n_packs)]


def run_packs(
    jobs: Sequence[PackJob],
    *,
    n_workers: int,
    checkpoints: Path | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    workers: Workers = HERE,
) -> list[PackResult]:
    """Train every pack, here or on a cluster's `workers`; results are in the order of `jobs`.

    Ctrl-C, or setting `stop`, saves each running pack's checkpoint and raises Stopped. An error of one pack stops the
    others in the same way and is raised; with `stops_at_failure` a failed member is such an error (TrainingError).
    """
    stop = stop or threading.Event()
    at_once = min(len(jobs), n_workers) if all(job.data.y.device.type == "cpu" for job in jobs) else 1
    n_threads = max(1, n_workers // max(1, at_once))
    in_processes = at_once > 1 and not workers.is_elsewhere and _pay_for_processes(jobs)
    report = _reporter(jobs, on_progress)

    def run(number: int) -> PackResult:
        job = jobs[number]
        checkpoint = None if checkpoints is None else checkpoints / f"{job.name}.safetensors"
        options: Any = {"checkpoint": checkpoint, "on_epoch": partial(report, number)}
        if workers.is_elsewhere:
            result = train_in_parts(workers, job, min(n_threads, workers.most_threads or 1), stop=stop, **options)
        elif in_processes:
            result = train_in_process(at_once, job, should_stop=stop.is_set, **options)
        else:
            set_up_torch(job.network, job.plan, n_threads, is_on_cpu=job.data.y.device.type == "cpu")
            pack = (job.network, job.plan, job.data, job.members, job.score)
            result = train_pack(*pack, prune=job.prune, should_stop=stop.is_set, **options)
        if result.failures and job.plan.stops_at_failure:
            position, reason = next(iter(result.failures.items()))
            raise TrainingError(
                f"training failed: {reason}",
                where=job.labels[position],
                hint=f"Try a smaller learning rate, e.g. --set lr={job.members[position].lr / 10:g}",
            )
        return result

    with torch_settings_restored():
        if at_once <= 1 and not workers.is_elsewhere:
            with on_interrupt(stop.set):
                return [run(number) for number in range(len(jobs))]
        return _run_in_threads(run, jobs, n_waiting(at_once, workers), stop)


def _run_in_threads(
    run: Callable[[int], PackResult], jobs: Sequence[PackJob], n_threads: int, stop: threading.Event
) -> list[PackResult]:
    """Run all jobs; on an error, stop the others and wait for them."""

    def cost(number: int) -> int:
        return jobs[number].n_visits * jobs[number].network.n_parameters

    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        # the longest first, so that no worker starts a long one at the end
        futures = {number: pool.submit(run, number) for number in sorted(range(len(jobs)), key=cost, reverse=True)}
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


def _reporter(jobs: Sequence[PackJob], on_progress: OnProgress | None) -> Callable[[int, int, list[HistoryRow]], None]:
    """Return the function that takes a job's number, epoch and new history rows and reports the overall progress."""
    n_epochs, epochs_done, lock = sum(job.plan.epochs for job in jobs), [0] * len(jobs), threading.Lock()

    def report(number: int, epoch: int, rows: list[HistoryRow]) -> None:
        with lock:
            epochs_done[number] = epoch
            if on_progress is not None:
                on_progress(sum(epochs_done) / n_epochs, number, rows)

    return report


def _pay_for_processes(jobs: Sequence[PackJob]) -> bool:
    """Whether there is enough to do, in short steps, on tables that are small enough to send."""
    if any(job.network.is_heavy or job.data.x.n_bytes > MAX_BYTES_SENT for job in jobs):
        return False
    if any(len(job.members) * n_multiplications(job.network, job.plan) > SHORT_STEP for job in jobs):
        return False
    return sum(job.n_visits for job in jobs) >= MIN_VISITS
