"""Tuning in the same seconds: the packed tuner against the usual `study.optimize` around a plain PyTorch loop.

    python benchmarks/tuning.py --seconds 120

House Prices, raw price, 5 folds, an MLP, Adam, batch 64, 50 epochs; TPE over lr, weight decay and dropout; no pruning
on either side. The loop scores after every epoch, as such loops do, the packed trials at four checkpoints. Prints the
trials finished and the best out-of-fold log-RMSE.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import torch
from joblib import cpu_count
from kfold import five_folds
from reference import LOG_RMSE, train_one
from rich.console import Console
from rich.table import Table

from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.models.base import FitContext
from pipeline.models.run_configuration import load_run_config
from pipeline.tuning.ownership import Ownership
from pipeline.tuning.study import best_trials, finished_trials, open_study, suggest
from pipeline.tuning.tuner import Tuner

SPACE = {
    "lr": SpaceEntry(low=1e-2, high=0.3, log=True),
    "weight_decay": SpaceEntry(low=1e-6, high=1e-1, log=True),
    "dropout": SpaceEntry(low=0.0, high=0.5),
}


def usual(base: RunConfig, seconds: float) -> optuna.Study:
    """One trial after the other, one fold after the other."""
    x, problem, splits, _ = five_folds()

    def objective(trial: optuna.Trial) -> float:
        params = base.params | suggest(trial, SPACE)
        oof = np.full(len(problem.target), np.nan)
        for split in splits:
            oof[split.valid_rows] = train_one(x, problem.target, split, params)[2]
        return LOG_RMSE(problem.target, oof)

    sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, n_startup_trials=16)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, timeout=seconds)
    return study


def packed(base: RunConfig, seconds: float, folder: Path) -> optuna.Study:
    """Batches of trials; the batch that ends after the time is not counted."""
    _, problem, splits, _ = five_folds()
    study, storage = open_study(
        folder / "study.log", "packed", metric=LOG_RMSE, sampler="tpe", pruner="none", epochs=1, seed=0
    )
    context = FitContext(n_workers=cpu_count())
    owner = Ownership(study, storage)
    tuner = Tuner(study, owner, SPACE, base, LOG_RMSE, lambda _: problem, splits, context, lambda _, __: None)
    stops_at = time.monotonic() + seconds

    tuner.run(10**6, 16, lambda: time.monotonic() < stops_at)
    if time.monotonic() >= stops_at:  # the last batch was late
        late = [t for t in finished_trials(study) if t.datetime_complete is not None][-16:]
        study = optuna.create_study()
        study.add_trials([t for t in finished_trials(tuner.study) if t not in late])
    return study


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    base = load_run_config("seed-mlp", overrides=[f"epochs={options.epochs}"])
    table = Table("how", "trials", "ratio", "best out-of-fold log-RMSE")
    reference = usual(base, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        own = packed(base, options.seconds, Path(folder))
    for how, study in (("study.optimize, plain loop", reference), ("packed tuner", own)):
        n_trials = len(finished_trials(study))
        ratio = n_trials / len(finished_trials(reference))
        best = best_trials(study, LOG_RMSE, 1)[0].value or float("nan")
        table.add_row(how, f"{n_trials}", f"{ratio:.1f}x", f"{best:.4f}")
    console = Console()
    console.print(f"House Prices, 5 folds, {options.epochs} epochs, {options.seconds:.0f} s each, {cpu_count()} cores")
    console.print(table)


if __name__ == "__main__":
    main()
