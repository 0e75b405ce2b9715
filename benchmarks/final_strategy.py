"""Is it better to average the fold models or to refit on all rows? Asked of train rows alone.

Each outer fold is held out; on the other rows both strategies are carried out as the `final` stage would, with the
same number of members, and scored on the held rows. No hidden target is involved.

    python benchmarks/final_strategy.py --competition house-prices --root .
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from joblib import cpu_count

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from pipeline.models.base import FitContext
from pipeline.models.registry import make_model
from pipeline.models.run_configuration import load_run_config


def without(problem: Problem, split: Split) -> Problem:
    """The problem of the outer train rows; the outer valid rows take the place of the test table."""
    weight = problem.sample_weight
    return dataclasses.replace(
        problem,
        train=problem.train.iloc[split.train_rows].reset_index(drop=True),
        test=problem.train.iloc[split.valid_rows].reset_index(drop=True),
        target=problem.target[split.train_rows],
        sample_weight=None if weight is None else weight[split.train_rows],
    )


def compare(store: FeatureStore, preset: str, seeds: int, n_inner: int) -> None:
    """Print the score of both strategies on every outer fold, and over all rows."""
    config = load_run_config(preset, overrides=[f"seeds={seeds}"])
    problem, model = store.problem(config), make_model(config.model, config.params, where=preset)
    context = FitContext(n_workers=cpu_count())
    whole: dict[str, list[np.ndarray]] = {"average": [], "refit": []}
    held = [split.valid_rows for split in store.splits]
    print(f"{store.workspace.competition}: {store.spec.metric}, {seeds} seeds x {n_inner} inner folds")
    print("outer fold   average     refit")
    for fold, outer in enumerate(store.splits):
        inner = without(problem, outer)
        fold_of_row = np.random.default_rng(fold).permutation(len(inner.train)) % n_inner
        rows = np.arange(len(inner.train))
        splits = [Split(rows[fold_of_row != f], rows[fold_of_row == f]) for f in range(n_inner)]
        folds = model.fit(inner, splits, seed=fold, n_seeds=seeds, context=context)
        everything = Split(rows, rows[:0])
        refit = model.with_epochs(folds.n_epochs or 1).fit(
            inner, [everything], seed=fold, n_seeds=seeds * n_inner, context=context
        )
        whole["average"].append(folds.predict(inner.test, range(n_inner)))
        whole["refit"].append(refit.predict(inner.test, [0]))
        scores = [problem.metric(problem.target[outer.valid_rows], whole[how][-1]) for how in ("average", "refit")]
        print(f"{fold:10d}  {scores[0]:8.5f}  {scores[1]:8.5f}", flush=True)
    y_true = problem.target[np.concatenate(held)]
    average, refit_score = (problem.metric(y_true, np.concatenate(whole[how])) for how in ("average", "refit"))
    print(f"  all rows  {average:8.5f}  {refit_score:8.5f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--competition", default="house-prices")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--inner-folds", type=int, default=5)
    parser.add_argument("--root", type=Path, default=Path())
    options = parser.parse_args()
    workspace = Workspace(options.root, options.competition)
    compare(FeatureStore(workspace, load_spec(workspace.spec)), options.preset, options.seeds, options.inner_folds)
