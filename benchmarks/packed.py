"""Tuning's work: House Prices, 5 folds x 16 trials of an MLP 64, batch 64, by plain loops and by packs.

    python benchmarks/packed.py               # 100 epochs: some ten minutes, most of them the loops'
    python benchmarks/packed.py --quick       # 10 epochs
    python benchmarks/packed.py --score-once  # after the last epoch alone, as tuning does at a few of many

All sides train the same 80 networks (Adam, own learning rates and dropouts) and score train and valid rows after every
epoch, unless told to score once. The last column is the share of the rate at which `torch.bmm` alone does the products
of a training step, at the packs' shapes and on as many threads, measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from kfold import FOLDS, five_folds
from reference import train_one
from rich.console import Console
from rich.table import Table

from pipeline.models.base import FitContext
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import fit_many
from pipeline.models.networks.params import NeuralParams
from pipeline.models.networks.tensors import split_tensors
from pipeline.models.registry import model_params
from pipeline.models.run_configuration import load_run_config
from pipeline.nets.workers import pack_sizes

N_TRIALS, WIDTH, BATCH = 16, 64, 64
CPU = torch.device("cpu")
HOW = ("plain loop, DataLoader", "plain loop, batches by index", "packs")


def trials(epochs: int, evaluate_every: int = 1, n_trials: int = N_TRIALS) -> list[dict[str, Any]]:
    """The parameters of the trials: rates and dropouts drawn once."""
    rng = np.random.default_rng(0)
    fixed = {**load_run_config("seed-mlp").params, "epochs": epochs, "evaluate_every": evaluate_every}
    return [
        {**fixed, "lr": float(10 ** rng.uniform(-2, -0.7)), "dropout": rng.uniform(0, 0.4)} for _ in range(n_trials)
    ]


def product_rate(n_members: int, n_inputs: int, n_workers: int) -> float:
    """FLOP/s of the products of a training step, every worker on its own pack."""

    def work(_: int) -> None:
        torch.set_num_threads(1)
        x, w = torch.randn(n_members, BATCH, n_inputs), torch.randn(n_members, n_inputs, WIDTH)
        hidden, gradient = torch.empty(n_members, BATCH, WIDTH), torch.empty_like(w)
        for _ in range(n_steps):
            torch.bmm(x, w, out=hidden)
            torch.bmm(x.transpose(1, 2), hidden, out=gradient)

    n_steps = 20
    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(work, range(n_workers)))
        n_steps = 200
        started = time.perf_counter()
        list(pool.map(work, range(n_workers)))
    return n_workers * n_steps * 4 * n_members * BATCH * n_inputs * WIDTH / (time.perf_counter() - started)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="10 epochs")
    parser.add_argument("--score-once", action="store_true", help="after the last epoch alone")
    parser.add_argument("--rounds", type=int, default=4, help="in turn, as a shared machine is not always as fast")
    options = parser.parse_args()
    console = Console()
    epochs, n_workers = 10 if options.quick else options.epochs, cpu_count()
    x, problem, splits, source = five_folds()
    configurations = trials(epochs, epochs if options.score_once else 1)
    n_networks, n_rounds = N_TRIALS * FOLDS, min(options.rounds, N_TRIALS)
    params = [model_params("mlp", one, where="benchmark") for one in configurations]
    neural = [one for one in params if isinstance(one, NeuralParams)]

    def by_loop(mine: Sequence[dict[str, Any]], *, has_loader: bool) -> list[float]:
        torch.manual_seed(0)
        return [train_one(x, problem.target, split, one, has_loader=has_loader)[1] for one in mine for split in splits]

    def by_packs() -> list[float]:
        tensors = split_tensors(problem, splits, scale_target=False, seed=0, device=CPU)
        context = FitContext(n_workers=n_workers)
        fits = fit_many(neural, problem, splits, tensors, seed=0, n_seeds=1, context=context)
        return [e.valid_score for f in fits if isinstance(f, FittedNeural) for e in f.history if e.epoch == epochs]

    seconds, scores = dict.fromkeys(HOW, 0.0), {how: list[float]() for how in HOW}
    rate = 0.0
    for number in range(n_rounds):  # of the loops a part of the trials, of the packs all
        mine = configurations[number::n_rounds]
        ways = (partial(by_loop, mine, has_loader=True), partial(by_loop, mine, has_loader=False), by_packs)
        for how, way in zip(HOW, ways, strict=True):
            started = time.perf_counter()
            scores[how] += way()
            elapsed_s = time.perf_counter() - started
            seconds[how] += elapsed_s / (n_rounds if way is by_packs else 1)
            console.print(f"round {number + 1} of {n_rounds}, {how}: {elapsed_s:.1f} s")
        rate += product_rate(pack_sizes(n_networks, n_workers, CPU)[0], x.shape[1], n_workers) / n_rounds
    n_steps = sum(-(-len(split.train_rows) // BATCH) for split in splits) * N_TRIALS * epochs
    flop = n_steps * 4 * BATCH * x.shape[1] * WIDTH + n_networks * epochs * 2 * len(x) * x.shape[1] * WIDTH
    table = Table("how", "mean valid log-RMSE", "seconds", "ratio", "members x epochs / s", "share of bmm's rate")
    for how, elapsed_s in seconds.items():
        share = f"{flop / elapsed_s / rate:.0%}" if how == HOW[-1] else ""
        ratio, pace = seconds[HOW[0]] / elapsed_s, n_networks * epochs / elapsed_s
        mean = statistics.fmean(scores[how])
        table.add_row(how, f"{mean:.4f}", f"{elapsed_s:.1f}", f"{ratio:.1f}x", f"{pace:.0f}", share)
    console.print(f"{source}: {N_TRIALS} trials x {FOLDS} folds, {epochs} epochs, {n_workers} cores")
    console.print(table)


if __name__ == "__main__":
    main()
