"""Seconds and peak memory of a packed cross-validation against rows, columns and members.

    python benchmarks/scaling.py                 # up to 1,000,000 rows x 100 columns x 5 folds
    python benchmarks/scaling.py --quick         # up to 10,000 rows

Every line is a process of its own. "per unit" is the time per row, column or member over that of the line before: 1.0
is a straight line through the origin, below 1.0 fixed costs are shared.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from joblib import cpu_count
from rich.console import Console
from rich.table import Table

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.registry import entry_of, model_params

FOLDS, LEVELS, EPOCHS = 5, 12, 2
USUAL = {"rows": 10_000, "columns": 100, "members": 5}
STEPS = {
    "rows": [1_000, 10_000, 100_000, 1_000_000],
    "columns": [25, 100, 400],
    "members": [5, 20, 80],
}


def make_problem(n_rows: int, n_columns: int) -> Problem:
    """Half numbers, half categories, and a target that depends on some of both."""
    rng = np.random.default_rng(0)
    n_numbers = n_columns // 2
    columns: dict[str, object] = {f"x{j}": rng.normal(size=n_rows).astype(np.float32) for j in range(n_numbers)}
    levels = np.array([f"level{k}" for k in range(LEVELS)])
    for j in range(n_columns - n_numbers):
        columns[f"c{j}"] = pd.Series(levels[rng.integers(0, LEVELS, n_rows)], dtype="str")
    frame = pd.DataFrame(columns)
    target = np.asarray(frame["x0"], dtype=np.float64) + frame["c0"].str.len().to_numpy() - 6
    return Problem(
        train=frame,
        test=frame.head(10),
        target=target + rng.normal(0, 0.1, n_rows),
        roles={name: "number" if name.startswith("x") else "category" for name in columns},
        ordered={},
        task="regression",
        n_classes=0,
        metric=METRICS["rmse"],
        sample_weight=None,
        features=FeatureSteps(),
        scope="train",
        target_transform="none",
    )


def measure(rows: int, columns: int, members: int) -> dict[str, float]:
    """Seconds of the fit, encoding included, and the process's peak memory before and after it."""
    problem = make_problem(rows, columns)
    fold_of_row = np.random.default_rng(1).permutation(rows) % FOLDS
    everything = np.arange(rows)
    splits = [Split(everything[fold_of_row != fold], everything[fold_of_row == fold]) for fold in range(FOLDS)]
    params = {"hidden_sizes": [64], "epochs": EPOCHS, "batch_size": 256, "evaluate_every": EPOCHS}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    entry_of("mlp").make(model_params("mlp", params, where="benchmark")).fit(
        problem, splits, seed=0, n_seeds=members // FOLDS, context=FitContext(n_workers=cpu_count())
    )
    elapsed_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": elapsed_s, "table_gb": before * 1024 / 1e9, "peak_gb": after * 1024 / 1e9}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 rows")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the work of one process
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    table = Table("rows", "columns", "members", "seconds", "per unit", "peak GB (the table's own included)")
    for what, sizes in STEPS.items():
        last = None
        for size in sizes:
            if options.quick and what == "rows" and size > USUAL["rows"]:
                continue
            sizes_here = {**USUAL, what: size}
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(sizes_here)], capture_output=True, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            per_unit = found["seconds"] / size
            shown = "" if last is None else f"{per_unit / last:.2f}"
            last = per_unit
            counts = [f"{sizes_here[name]:,}" for name in ("rows", "columns", "members")]
            table.add_row(*counts, f"{found['seconds']:.1f}", shown, f"{found['peak_gb']:.2f}")
        table.add_section()
    Console().print(f"{EPOCHS} epochs, {FOLDS} folds, half numbers, half categories of {LEVELS} levels")
    Console().print(table)


if __name__ == "__main__":
    main()
