"""Tuning's work: House Prices, 5 folds x 16 trials of an MLP 64, batch 64, by plain loops and by packs.

    python benchmarks/packed.py               # 100 epochs: some ten minutes, most of them the loops'
    python benchmarks/packed.py --quick       # 10 epochs

All sides train the same 80 networks (Adam, own learning rates and dropouts) and score train and valid rows after every
epoch. The last column is the share of the rate at which `torch.bmm` alone does the products of a training step, at the
packs' shapes and on as many threads, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from kfold import FOLDS, five_folds
from reference import train_one
from rich.console import Console
from rich.table import Table

from pipeline.config import load_run_config
from pipeline.models import model_params
from pipeline.models.base import FitContext
from pipeline.models.fitted_neural import FittedNeural
from pipeline.models.neural import NeuralParams, fit_many
from pipeline.models.prepared import prepare_splits
from pipeline.nets.workers import pack_sizes

N_TRIALS, WIDTH, BATCH = 16, 64, 64
CPU = torch.device("cpu")


def trials(epochs: int) -> list[dict[str, Any]]:
    """The parameters of the trials: rates and dropouts drawn once."""
    rng = np.random.default_rng(0)
    fixed = {**load_run_config("seed-mlp").params, "epochs": epochs}
    return [
        {**fixed, "lr": float(10 ** rng.uniform(-2, -0.7)), "dropout": rng.uniform(0, 0.4)} for _ in range(N_TRIALS)
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
    options = parser.parse_args()
    epochs, n_workers = 10 if options.quick else options.epochs, os.cpu_count() or 1
    x, problem, splits, source = five_folds()
    configurations = trials(epochs)
    n_networks, reference_s = N_TRIALS * FOLDS, float("nan")

    def add_row(how: str, scores: list[float], elapsed_s: float, share: str = "") -> None:
        rate, ratio = n_networks * epochs / elapsed_s, reference_s / elapsed_s
        table.add_row(how, f"{statistics.fmean(scores):.4f}", f"{elapsed_s:.1f}", f"{ratio:.1f}x", f"{rate:.0f}", share)

    table = Table("how", "mean valid log-RMSE", "seconds", "ratio", "members x epochs / s", "share of bmm's rate")
    for how, has_loader in (("plain loop, DataLoader", True), ("plain loop, batches by index", False)):
        torch.manual_seed(0)
        started = time.perf_counter()
        scores = [
            train_one(x, problem.target, split, params, has_loader=has_loader)[1]
            for params in configurations
            for split in splits
        ]
        elapsed_s = time.perf_counter() - started
        reference_s = elapsed_s if has_loader else reference_s
        add_row(how, scores, elapsed_s)
    params = [model_params("mlp", one, where="benchmark") for one in configurations]
    started = time.perf_counter()
    prepared = prepare_splits(problem, splits, scale_target=False, seed=0, device=CPU)
    context = FitContext(n_workers=n_workers)
    neural = [one for one in params if isinstance(one, NeuralParams)]
    fits = fit_many(neural, replace(problem), splits, prepared, seed=0, n_seeds=1, context=context)
    elapsed_s = time.perf_counter() - started
    scores = [e.valid_score for fit in fits if isinstance(fit, FittedNeural) for e in fit.history if e.epoch == epochs]
    n_steps = sum(-(-len(split.train_rows) // BATCH) for split in splits) * N_TRIALS * epochs
    flop = n_steps * 4 * BATCH * x.shape[1] * WIDTH + n_networks * epochs * 2 * len(x) * x.shape[1] * WIDTH
    share = flop / elapsed_s / product_rate(pack_sizes(n_networks, n_workers, CPU)[0], x.shape[1], n_workers)
    add_row("packs", scores, elapsed_s, f"{share:.0%}")
    console = Console()
    console.print(f"{source}: {N_TRIALS} trials x {FOLDS} folds, {epochs} epochs, {n_workers} cores")
    console.print(table)


if __name__ == "__main__":
    main()
