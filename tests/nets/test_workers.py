"""Laws of how members are cut into packs: nobody is left out, units stay together, what runs at once fits."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.base.errors import TrainingError
from pipeline.base.interruption import Stopped
from pipeline.base.locks import is_alive
from pipeline.nets import workers
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import mse
from pipeline.nets.networks import MLP, Network
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.plan import HistoryRow, Member, PackData, PackJob, Plan
from pipeline.nets.processes import remove_leftovers
from pipeline.nets.training import one_by_one
from pipeline.nets.workers import (
    MAX_PACK,
    MIN_PACK,
    SHARE_OF_MEMORY,
    member_bytes,
    min_pack_size,
    pack_sizes,
    run_packs,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@given(
    n_units=st.integers(1, 300),
    unit=st.integers(1, 7),
    n_workers=st.integers(1, 16),
    bytes_each=st.integers(0, 10**6),
    free=st.one_of(st.none(), st.integers(0, 10**9)),
)
def test_every_member_has_a_pack_and_units_stay_together(
    n_units: int, unit: int, n_workers: int, bytes_each: int, free: int | None
) -> None:
    for device in (CPU, CUDA):
        sizes = pack_sizes(n_units * unit, n_workers, device, unit=unit, bytes_each=bytes_each, free=free)
        assert sum(sizes) == n_units * unit
        assert all(size > 0 and size % unit == 0 for size in sizes)
        if device == CPU:
            assert max(sizes) <= max(MAX_PACK + unit, unit)
        if free is not None and bytes_each:
            n_at_once = min(n_workers, len(sizes)) if device == CPU else 1
            fits = max(sizes) * bytes_each * n_at_once <= SHARE_OF_MEMORY * free + unit * bytes_each * n_at_once
            assert fits or max(sizes) == unit


def test_packs_that_did_not_fit_as_one_fit_side_by_side() -> None:
    sizes = pack_sizes(5, 2, CPU, bytes_each=2, free=12)
    assert 2 * (sizes[0] + sizes[1]) <= SHARE_OF_MEMORY * 12
    assert sum(sizes) == 5


def test_a_gpu_gets_one_pack_as_long_as_it_fits() -> None:
    assert pack_sizes(500, 2, CUDA) == [500]
    assert pack_sizes(500, 2, CUDA, unit=5, bytes_each=10, free=5000) == [250, 250]


def test_a_wider_network_needs_more() -> None:
    plan = Plan(loss=mse, epochs=1, batch_size=64)
    narrow, wide = MLP(10, (16,), 1), MLP(10, (32,), 1)
    assert member_bytes(narrow, plan, CPU) < member_bytes(wide, plan, CPU)
    assert member_bytes(narrow, plan, CPU) < member_bytes(MLP(10, (16,), 1, n_heads=4), plan, CPU)


def test_the_estimate_is_no_less_than_the_parameters_a_pack_holds() -> None:
    network, plan = MLP(50, (64,), 1), Plan(loss=mse, epochs=1, batch_size=8)
    rows = torch.stack([network.initial_row(torch.Generator().manual_seed(m)) for m in range(3)])
    pack = ParameterPack(network.parameter_infos(), rows)
    held = pack.buffer.numel() + pack.gradient.numel() + 2 * rows.numel()  # two moments
    assert 3 * member_bytes(network, plan, CPU) >= 4 * held


def test_networks_whose_steps_are_long_are_not_kept_together() -> None:
    assert pack_sizes(5, 2, CPU) == [5]
    assert pack_sizes(5, 2, CPU, min_size=1) == [3, 2]
    plan = Plan(loss=mse, epochs=1, batch_size=256)
    assert [min_pack_size(MLP(784, sizes, 10), plan) for sizes in ((), (256,))] == [2, 1]
    assert min_pack_size(MLP(80, (16,), 1), plan) == MIN_PACK
    assert min_pack_size(ConvNet(4, 4, (2,), 3, 1), plan) == 1


@pytest.mark.parametrize(
    ("network", "n_jobs", "n_workers", "n_threads"),
    [
        (ConvNet(4, 4, (2,), 3, 1), 1, 4, 4),  # cores without a pack of their own
        (ConvNet(4, 4, (2,), 3, 1), 2, 4, 2),
        (ConvNet(4, 4, (2,), 3, 1), 3, 2, 1),
        (MLP(16, (3,), 1), 1, 4, 1),  # its steps are too short for threads
        (MLP(16, (2048, 1024), 1), 2, 4, 2),  # and these are not
    ],
)
def test_a_long_step_uses_the_cores_that_no_pack_takes(
    network: Network, n_jobs: int, n_workers: int, n_threads: int
) -> None:
    data = PackData(Inputs(torch.rand(1, 8, 16)), torch.rand(1, 8, 1))
    members, used = [Member(0, 0, np.arange(6), np.arange(6, 8), 0.01)], []

    def score(*_: object) -> float:
        used.append(torch.get_num_threads())
        return 0.0

    jobs = [PackJob(f"{n}", network, Plan(mse, 1, 4), data, members, ["it"], one_by_one(score)) for n in range(n_jobs)]
    run_packs(jobs, n_workers=n_workers)
    assert set(used) == {n_threads}


def _jobs(score: Callable[..., float], n_epochs: int = 4) -> list[PackJob]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 40, 6, generator=generator)
    data = PackData(Inputs(x), x[..., :2].sum(dim=2, keepdim=True))
    rows = np.arange(40)
    members = [
        Member(seed, seed % 2, rows[rows % 4 != seed], rows[rows % 4 == seed], lr=0.02, dropout=0.2)
        for seed in range(4)
    ]
    plan = Plan(mse, n_epochs, 8)
    return [
        PackJob(f"{n}", MLP(6, (5,), 1), plan, data, members[2 * n :][:2], ["a", "b"], one_by_one(score))
        for n in range(2)
    ]


def _mean(_: int, __: NDArray[np.int64], output: NDArray[np.float32]) -> float:
    return float(output.mean())


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs go to processes, however little there is to do."""
    monkeypatch.setattr(workers, "MIN_VISITS", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_processes_give_the_bits_that_threads_give(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[bool, list[tuple[int, list[HistoryRow]]]] = {True: [], False: []}
    results = {}
    for in_processes in (True, False):
        if not in_processes:
            monkeypatch.setattr(workers, "MIN_VISITS", 10**9)
        first, second = _jobs(_mean)
        jobs = [first, replace(second, prune=lambda epoch, _: [1] if epoch == 2 else [])]
        tell = told[in_processes]
        results[in_processes] = run_packs(
            jobs, n_workers=2, on_progress=lambda _, number, rows, tell=tell: tell.append((number, rows))
        )
    for ours, theirs in zip(results[True], results[False], strict=True):
        assert torch.equal(ours.matrix, theirs.matrix)
        assert ours.history == theirs.history
        assert (ours.pruned, ours.failures) == (theirs.pruned, theirs.failures)
    assert results[True][1].pruned == {1}
    assert sorted(told[True]) == sorted(told[False])


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_an_error_of_the_score_is_raised_from_a_process_too() -> None:
    def broken(*_: object) -> float:
        raise TrainingError("no score")

    with pytest.raises(TrainingError, match="no score"):
        run_packs(_jobs(broken), n_workers=2)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_stopped_processes_save_and_go_on_to_the_same_end(tmp_path: Path) -> None:
    stop = threading.Event()

    def stopped(_: float, __: int, rows: list[HistoryRow]) -> None:
        if rows and rows[-1][0] == 2:
            stop.set()

    with pytest.raises(Stopped):
        run_packs(_jobs(_mean), n_workers=2, checkpoints=tmp_path, on_progress=stopped, stop=stop)
    assert list(tmp_path.iterdir())
    resumed = run_packs(_jobs(_mean), n_workers=2, checkpoints=tmp_path)
    whole = run_packs(_jobs(_mean), n_workers=1)
    assert all(torch.equal(ours.matrix, theirs.matrix) for ours, theirs in zip(resumed, whole, strict=True))


def _kill_processes() -> None:
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # ended, but not yet waited for
            if any("popen_loky" in word for word in process.cmdline()):
                process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_a_killed_process_is_an_error_that_says_so() -> None:
    def kills(*_: object) -> float:
        _kill_processes()
        return 0.0

    with pytest.raises(TrainingError, match="ended before its work was done"):
        run_packs(_jobs(kills), n_workers=2)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_a_process_that_an_interruption_kills_is_no_error() -> None:
    stop = threading.Event()

    def kills(*_: object) -> float:
        stop.set()
        _kill_processes()
        return 0.0

    with pytest.raises(Stopped):
        run_packs(_jobs(kills), n_workers=2, stop=stop)


ORPHAN = """
import os, sys, time
from joblib import Parallel, delayed, parallel_config
from functools import partial
from pipeline.nets.processes import _begin

def main():
    with parallel_config("loky", idle_worker_timeout=300, initializer=partial(_begin, os.getpid())):
        print(*set(Parallel(2)([delayed(os.getpid)()] * 4)), flush=True)
    time.sleep(300)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "parent.py").write_text(ORPHAN)
    process = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = process.stdout.readline().split()
    assert workers
    process.send_signal(number)
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 30.0  # two seconds where the machine is idle
    while time.monotonic() < until and any(map(is_alive, workers)):
        time.sleep(0.1)
    assert not any(map(is_alive, workers))


def test_old_files_of_dead_processes_are_removed_from_shared_memory(tmp_path: Path) -> None:
    own, dead = os.getpid(), 2**22 + 1  # above the largest process id
    old, new = [f"sem.loky-{dead}-abc", f"joblib_memmapping_folder_{dead}_a_b"], [f"sem.loky-{own}-abc", "other"]
    for name in (*old, *new):
        (tmp_path / name).mkdir() if "folder" in name else (tmp_path / name).touch()
    remove_leftovers(tmp_path, old_s=3600.0)
    assert {path.name for path in tmp_path.iterdir()} == {*old, *new}
    remove_leftovers(tmp_path, old_s=-1.0)
    assert {path.name for path in tmp_path.iterdir()} == set(new)


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_processes_work_at_once() -> None:
    """Each pack is scored while the other one is."""
    both = threading.Barrier(2, timeout=60.0)

    def meet(_: int, __: NDArray[np.int64], output: NDArray[np.float32]) -> float:
        both.wait()
        return float(output.mean())

    first, second = _jobs(meet)
    run_packs([first, second], n_workers=2)
