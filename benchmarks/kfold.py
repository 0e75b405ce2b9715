"""Five folds of House Prices: a plain PyTorch loop, one network at a time, against the pack.

    python benchmarks/kfold.py                        # both recipes, 100 epochs: about two minutes on two cores
    python benchmarks/kfold.py --recipe seed-mlp --epochs 20 --repeats 3

Both sides train the same recipe on the same rows: the features of train and test standardised together, missing -> 0,
`get_dummies(dummy_na=True)`, raw SalePrice, MSE, Adam, batches of 64, contiguous folds; both score train and valid rows
after every epoch. The plain loop is given its encoded table; the pack's seconds hold the encoding, too. Real data is
read from `$PIPELINE_DATA_DIR/house-prices`; without it, the built-in sample stands in.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import cpu_count
from reference import LOG_RMSE, train_one
from rich.console import Console
from rich.table import Table

from pipeline.competition.folds import Split, splits_of
from pipeline.competition.problem import Problem
from pipeline.competition.samples import make_sample
from pipeline.config.run import FeatureSteps, RunConfig
from pipeline.config.types import Role
from pipeline.models.base import FitContext
from pipeline.models.registry import make_model
from pipeline.models.run_configuration import load_run_config

RECIPES = ("seed-linear", "seed-mlp")
FOLDS = 5
Measured = tuple[float, float, float]  # mean train score, mean valid score, seconds


def house_prices() -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Train and test table, and where they are from."""
    folder = Path(os.environ.get("PIPELINE_DATA_DIR", "")) / "house-prices"
    if os.environ.get("PIPELINE_DATA_DIR") and (folder / "train.csv").exists():
        return pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv"), str(folder)
    sample = make_sample("house-prices")
    return sample.train, sample.test, "the built-in sample (set PIPELINE_DATA_DIR for the real files)"


def plainly_encoded(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """(train rows, columns) float32: the recipe in pandas."""
    both = pd.concat([train, test], ignore_index=True)
    numbers = both.select_dtypes("number").columns
    both[numbers] = ((both[numbers] - both[numbers].mean()) / both[numbers].std()).fillna(0.0)
    return pd.get_dummies(both, dummy_na=True, dtype=int).to_numpy(dtype=np.float32)[: len(train)]


def five_folds() -> tuple[np.ndarray, Problem, list[Split], str]:
    """The recipe's table for the plain loop, the problem for the pack, contiguous folds, and where the data is from."""
    train, test, source = house_prices()
    price = train["SalePrice"].to_numpy(dtype=np.float64)
    train, test = train.drop(columns=["Id", "SalePrice"]), test.drop(columns="Id")
    blocks = np.array_split(np.arange(len(train)), FOLDS)
    splits = splits_of(np.repeat(np.arange(FOLDS), [len(block) for block in blocks]), is_chained=False)
    is_number = {name: pd.api.types.is_numeric_dtype(train[name]) for name in train.columns}
    roles: dict[str, Role] = {name: "number" if is_number[name] else "category" for name in train.columns}
    problem = Problem(
        train, test, price, roles, {}, "regression", 0, LOG_RMSE, None, FeatureSteps(), "train+test", "none"
    )
    return plainly_encoded(train, test), problem, splits, source


def plain_loop(x: np.ndarray, price: np.ndarray, splits: Sequence[Split], config: RunConfig, seed: int) -> Measured:
    """One network after the other, one batch after the other."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    scores = [train_one(x, price, split, config.params)[:2] for split in splits]
    train_scores, valid_scores = zip(*scores, strict=True)
    return statistics.fmean(train_scores), statistics.fmean(valid_scores), time.perf_counter() - started


def packed(problem: Problem, splits: Sequence[Split], config: RunConfig, seed: int) -> Measured:
    """All folds in packs, one worker a core."""
    model = make_model(config.model, config.params, where=config.preset)
    started = time.perf_counter()
    fitted = model.fit(problem, splits, seed=seed, n_seeds=1, context=FitContext(n_workers=cpu_count()))
    elapsed_s = time.perf_counter() - started
    last = [line for line in fitted.history if line.epoch == config.params["epochs"]]
    assert len(last) == len(splits)
    scores = [statistics.fmean(scores) for scores in zip(*((e.train_score, e.valid_score) for e in last), strict=True)]
    return scores[0], scores[1], elapsed_s


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--recipe", choices=RECIPES, help="one of the two (default: both)")
    parser.add_argument("--threads-of-reference", type=int, default=torch.get_num_threads(), help="default: torch's")
    parser.add_argument("--repeats", type=int, default=1, help="medians of as many, the two sides in turn")
    options = parser.parse_args()

    x, problem, splits, source = five_folds()
    price = problem.target
    table = Table("recipe", "how", "train log-RMSE", "valid log-RMSE", "seconds", "ratio")
    for recipe in (options.recipe,) if options.recipe else RECIPES:
        config = load_run_config(recipe, overrides=[f"epochs={options.epochs}"])
        runs: dict[str, list[Measured]] = {"plain loop": [], "pack": []}
        for seed in range(options.repeats):
            torch.set_num_threads(options.threads_of_reference)  # the pack's workers change it
            runs["plain loop"].append(plain_loop(x, price, splits, config, seed))
            runs["pack"].append(packed(problem, splits, config, seed))
        medians = {how: [statistics.median(column) for column in zip(*of, strict=True)] for how, of in runs.items()}
        for how, (train_score, valid_score, elapsed_s) in medians.items():
            ratio = medians["plain loop"][2] / elapsed_s
            table.add_row(recipe, how, f"{train_score:.4f}", f"{valid_score:.4f}", f"{elapsed_s:.2f}", f"{ratio:.1f}x")
    console = Console()
    console.print(f"{source}: {x.shape[0]} rows, {x.shape[1]} columns, {options.epochs} epochs, {FOLDS} folds")
    console.print(table)


if __name__ == "__main__":
    main()
