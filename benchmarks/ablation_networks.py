"""What each trick of the networks is worth: out-of-fold scores of `fast` with one thing changed.

    python benchmarks/ablation_networks.py --competition house-prices --competition titanic

Every variant trains on the same folds with the same seeds. "better in" counts the folds in which it beats `fast`;
the last column is the mean difference of the fold scores over its standard error (better is positive).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from joblib import cpu_count
from rich.console import Console
from rich.table import Table

from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from pipeline.models.base import FitContext
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.cross_validation import cross_validate

VARIANTS: dict[str, list[str]] = {
    "fast": [],
    "standard scaling": ["features.scaling=standard"],
    "learned input scale": ["input_scale=true"],
    "numbers as they are": ["number_embedding=none"],
    "plr embeddings": ["number_embedding=plr", "number_embedding_size=8"],
    "category embeddings of 8": ["category_embedding=8"],
    "cosine-log schedule": ["schedule=cosine_log"],
    "one cycle": ["schedule=one_cycle"],
    "silu": ["activation=silu"],
    "mish": ["activation=mish"],
    "selu": ["activation=selu"],
    "beta2 0.95": ["beta2=0.95"],
    "layer norm": ["layer_norm=true"],
    "one layer": ["hidden_sizes=[256]"],
    "three layers": ["hidden_sizes=[256,256,256]"],
    "three residual layers, norm": ["hidden_sizes=[256,256,256]", "residual=true", "layer_norm=true"],
    "TabM, 8 heads": ["heads=8"],
    "half the batch": ["batch_size=128"],
    "three times the epochs": ["epochs=120"],
    "label smoothing 0.1": ["label_smoothing=0.1"],
    "huber": ["loss=huber"],
}


def main() -> None:
    """Print one table a competition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--competition", action="append", required=True)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", action="append", help="a variant's name")
    options = parser.parse_args()
    for competition in options.competition:
        workspace = Workspace(options.root, competition)
        store = FeatureStore(workspace, load_spec(workspace.spec))
        table = Table("variant", store.spec.metric, "better in", "difference / error", "seconds")
        base: np.ndarray | None = None
        for name, overrides in VARIANTS.items():
            is_unfit = (name == "huber") != (store.spec.task == "regression") and name in (
                "huber",
                "label smoothing 0.1",
            )
            if is_unfit or (options.only and name not in ("fast", *options.only)):
                continue
            config = load_run_config("fast", overrides=[f"seeds={options.seeds}", *overrides])
            started = time.monotonic()
            found = cross_validate(config, store.problem, store.splits, FitContext(n_workers=cpu_count()))
            elapsed_s = time.monotonic() - started
            cv_score, fold_scores = found.scores()
            folds = np.array(fold_scores)
            base = folds if base is None else base
            gain = store.spec.scorer.gain(folds, base)
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            ratio = f"{gain.mean() / error:+.1f}" if error > 0 else ""
            table.add_row(name, f"{cv_score:.5f}", f"{(gain > 0).sum()}/{len(gain)}", ratio, f"{elapsed_s:.0f}")
        Console().print(f"{competition}, {options.seeds} seeds")
        Console().print(table)


if __name__ == "__main__":
    main()
