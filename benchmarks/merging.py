"""Trials of mixed widths: a pack for each shape, one for all, and what the rule of `pipeline.nets.merging` decides.

    python benchmarks/merging.py                 # some minutes
    python benchmarks/merging.py --constants     # only fit the seconds of a step, of which the rule is made

Every side trains the same trials x 5 folds; scores are equal up to rounding. The ratio is that of the seconds of a
pack for each shape over the line's.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scaling import make_problem
from scipy.optimize import nnls

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.models.base import FitContext
from pipeline.models.networks import model
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import NeuralParams, fit_many, tensors_for
from pipeline.models.registry import model_params
from pipeline.nets.devices import n_cores
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import mse
from pipeline.nets.merging import CPU_STEP, StepCost
from pipeline.nets.networks import MLP
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.training import one_by_one, train_pack

FOLDS, N_TRIALS, BATCH = 5, 16, 64
SETS: dict[str, tuple[int, int, list[list[int]]]] = {  # rows, columns, the trials' hidden sizes
    "12 columns, 4 to 16 units": (1500, 12, [[4], [6], [8], [10], [12], [16]]),
    "12 columns, 8 to 64 units": (1500, 12, [[8], [16], [32], [48], [64]]),
    "12 columns, two layers": (1500, 12, [[8, 4], [16, 8], [32, 16], [24, 24]]),
    "60 columns, 64 to 512 units": (1500, 60, [[64], [128], [256], [512]]),
}
SIDES = {"a pack for each shape": StepCost(0.0, *astuple(CPU_STEP)[1:]), "one pack": StepCost(1e9, 0.0, 0.0, 0.0)}


def steps_s(network: MLP, n_members: int, batch_size: int) -> float:
    """Seconds of a step of a pack on one thread: the least of three epochs."""
    n_rows = 20 * batch_size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, n_rows, network.n_inputs, generator=generator)
    data = PackData(Inputs(x), x.sum(dim=2, keepdim=True))
    everyone = np.arange(n_rows)
    members = [Member(m, 0, everyone, everyone[:1], lr=1e-3 * (1 + m // FOLDS), dropout=0.1) for m in range(n_members)]
    times: list[float] = []

    def after_epoch() -> bool:
        times.append(time.perf_counter())
        return False

    train_pack(
        network,
        Plan(mse, 5, batch_size, evaluate_every=5),
        data,
        members,
        one_by_one(lambda *_: 0.0),
        should_stop=after_epoch,
    )
    return min(after - before for before, after in pairwise(times[:4])) / 20


def fitted_cost() -> tuple[StepCost, float]:
    """The constants of `StepCost` by least squares of relative errors, none below 0; and the median relative error.

    What a member costs however small it is, it costs in every pack: that is fitted, and left out.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows, seconds = [], []
    for n_inputs in (12, 60):
        for sizes in ((4,), (16,), (64,), (256,), (32, 16)):
            for n_members in (1, 5, 20):
                for batch_size in (16, 64, 256):
                    network = MLP(n_inputs, sizes, 1)
                    n_weights = sum(math.prod(info.shape) for info in network.parameter_infos().values())
                    by_row = batch_size * np.array([n_weights, network.n_activations])
                    rows.append([1.0, n_members * n_weights, *(n_members * by_row), n_members])
                    seconds.append(steps_s(network, n_members, batch_size))
    matrix, target = np.array(rows), np.array(seconds)
    constants, _ = nnls(matrix / target[:, None], np.ones(len(target)))
    error = statistics.median(abs(matrix @ constants / target - 1.0))
    return StepCost(*constants[:-1].tolist()), error


def trials(sizes: Sequence[list[int]], n_epochs: int) -> list[NeuralParams]:
    """Widths, rates and dropouts drawn once."""
    rng, found = np.random.default_rng(0), []
    for number in range(N_TRIALS):
        own = {"lr": float(10 ** rng.uniform(-3, -2)), "dropout": rng.uniform(0, 0.4), "epochs": n_epochs}
        values = {**own, "hidden_sizes": sizes[number % len(sizes)], "evaluate_every": n_epochs, "batch_size": BATCH}
        params = model_params("mlp", values, where="benchmark")
        assert isinstance(params, NeuralParams)
        found.append(params)
    return found


def fitted(configurations: list[NeuralParams], problem: Problem, cost: StepCost, n_workers: int) -> tuple[int, ...]:
    """(packs, nanoseconds, mean valid score in millionths) of all trials."""
    n_rows = len(problem.target)
    fold_of_row, everyone = np.arange(n_rows) % FOLDS, np.arange(n_rows)
    splits = [Split(everyone[fold_of_row != fold], everyone[fold_of_row == fold]) for fold in range(FOLDS)]
    context = FitContext(n_workers=n_workers)
    tensors = tensors_for(configurations[0], problem, splits, seed=0, device=context.device)
    n_packs, run_packs, step_cost = 0, model.run_packs, model.step_cost

    def counted(jobs: Any, **other: Any) -> Any:
        nonlocal n_packs
        n_packs = len(jobs)
        return run_packs(jobs, **other)

    model.run_packs, model.step_cost = counted, lambda _: cost
    try:
        started = time.perf_counter_ns()
        fits = fit_many(configurations, problem, splits, tensors, seed=0, n_seeds=1, context=context)
        elapsed_ns = time.perf_counter_ns() - started
    finally:
        model.run_packs, model.step_cost = run_packs, step_cost
    scores = [line.valid_score for fit in fits if isinstance(fit, FittedNeural) for line in fit.history]
    return n_packs, elapsed_ns, round(1e6 * statistics.fmean(scores))


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constants", action="store_true", help="fit the cost of a step, and nothing else")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="medians of as many, the sides in turn")
    parser.add_argument("--workers", type=int, default=n_cores())
    options = parser.parse_args()
    if options.constants:
        cost, error = fitted_cost()
        print(f"{cost}\nmedian relative error {error:.0%}")
        return
    table = Table("trials", "how", "packs", "seconds", "ratio", "mean valid rmse")
    for name, (n_rows, n_columns, sizes) in SETS.items():
        problem, configurations = make_problem(n_rows, n_columns), trials(sizes, options.epochs)
        sides = {**SIDES, "by the rule": CPU_STEP}
        runs: dict[str, list[tuple[int, ...]]] = {how: [] for how in sides}
        for _ in range(options.repeats):
            for how, cost in sides.items():
                runs[how].append(fitted(configurations, problem, cost, options.workers))
        reference_s = statistics.median(run[1] for run in runs["a pack for each shape"]) / 1e9
        for how, found in runs.items():
            elapsed_s = statistics.median(run[1] for run in found) / 1e9
            n_packs, _, score = found[0]
            ratio = f"{reference_s / elapsed_s:.2f}x"
            table.add_row(name, how, f"{n_packs}", f"{elapsed_s:.2f}", ratio, f"{score / 1e6:.4f}")
        table.add_section()
    console = Console()
    console.print(
        f"{N_TRIALS} trials x {FOLDS} folds, {options.epochs} epochs, batch {BATCH}, {options.workers} workers"
    )
    console.print(table)


if __name__ == "__main__":
    main()
