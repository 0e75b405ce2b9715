"""Plain `submit` against LightGBM with its own defaults, on real competitions, the same folds and the same columns.

    PIPELINE_DATA_DIR=~/kaggle python benchmarks/defaults.py                  # all: half an hour on two cores
    PIPELINE_DATA_DIR=~/kaggle python benchmarks/defaults.py titanic playground-series-s3e5

The spec is drafted anew with the metric given here. LightGBM reads the typed columns, categories and texts as numbers
of their levels, targets as they are. `lead` is how much better the submission's nested score is, in standard errors of
the difference by fold (of cv scores, which folds have); below -1 it is in bold. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from race import METRICS as OF_RACES

from pipeline.base.arrays import FloatArray
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.config.spec import load_spec
from pipeline.scoring.cross_validation import oof_frame, scores_of

METRICS = OF_RACES | {
    "amazon-employee-access-challenge": "roc_auc",
    "covid19-global-forecasting-week-4": "rmsle",
    "digit-recognizer-8x8": "accuracy",
    "dont-overfit-ii": "roc_auc",
    "icr-identify-age-related-conditions": "balanced_log_loss",
    "leaf-classification": "log_loss",
    "nlp-getting-started": "f1",
    "playground-series-s3e13": "map_at_3",
    "playground-series-s3e19": "smape",
    "playground-series-s3e5": "quadratic_kappa",
    "playground-series-s4e3": "roc_auc",
    "shelter-animal-outcomes": "log_loss",
    "spooky-author-identification": "log_loss",
    "walmart-recruiting-store-sales-forecasting": "wmae",
}


def main() -> None:
    """Print a line per competition, then how often each is ahead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("competitions", nargs="*", default=list(METRICS), metavar="COMPETITION")
    given = parser.parse_args()
    print("| competition | metric | `submit`, nested | LightGBM | lead, SE | wall s | processor s | LightGBM s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    leads = []
    for competition in given.competitions:
        with tempfile.TemporaryDirectory() as folder:
            line, lead = compared(competition, Path(folder))
        print(line, flush=True)
        leads.append(lead)
    n_ahead, n_behind = sum(lead > 0 for lead in leads), sum(lead < -1 for lead in leads)
    print(f"\nahead on {n_ahead} of {len(leads)}, behind by more than a standard error on {n_behind}")


def compared(competition: str, root: Path) -> tuple[str, float]:
    """Submit and fit LightGBM; the line of the table, and the lead in standard errors."""
    metric = METRICS[competition]
    data = Path(os.environ.get("PIPELINE_DATA_DIR", "."))
    data = data if (data / competition).is_dir() else data / "more"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PIPELINE_DATA_DIR": str(data)}

    def run(*arguments: str) -> None:
        call = [sys.executable, "-m", "pipeline", *arguments, "--root", str(root)]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{competition}: {done.stderr[-2000:]}")

    run("init", competition, "--metric", metric)
    wall, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run("submit", "-c", competition, "--no-upload")
    wall, after = time.monotonic() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    workspace = Workspace(root, competition)
    (path,) = workspace.runs.glob("best-ensemble-*/report.json")
    report = RunReport.read(path)
    assert report.ensemble is not None, "the default submits an ensemble of runs"
    started = time.monotonic()
    score, by_fold = of_lightgbm(FeatureStore(workspace, load_spec(workspace.spec)))
    own, sign = report.ensemble.nested_score, 1.0 if load_spec(workspace.spec).scorer.greater_is_better else -1.0
    differences = [sign * (a - b) for a, b in zip(report.fold_scores, by_fold, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    lead = sign * (own - score) / max(error, 1e-12)
    told = f"**{lead:+.1f}**" if lead < -1 else f"{lead:+.1f}"
    line = (
        f"| {competition} | {metric} | {own:.5f} | {score:.5f} | {told} | {wall:.0f} | {processor:.0f} | "
        f"{time.monotonic() - started:.0f} |"
    )
    return line, lead


def of_lightgbm(store: FeatureStore) -> tuple[float, list[float]]:
    """Score and fold scores of LightGBM's scikit-learn estimators without any setting."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    frame = store.train.copy()
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.StringDtype):
            frame[name] = pd.factorize(frame[name], sort=True)[0]
    x, target = frame.to_numpy(dtype=np.float64), store.target
    n_classes, is_several = len(store.classes), target.ndim == 2
    shape = target.shape if is_several or not n_classes else (len(target), n_classes)
    oof = np.full(shape, np.nan)
    for split in store.splits:
        train, valid = split.train_rows, split.valid_rows

        def fitted(y: FloatArray, train: np.ndarray = train, valid: np.ndarray = valid) -> FloatArray:
            if not n_classes:
                return np.asarray(LGBMRegressor(verbose=-1).fit(x[train], y[train]).predict(x[valid]))
            model = LGBMClassifier(verbose=-1).fit(x[train], y[train].astype(int))
            found = np.zeros((len(valid), n_classes))
            found[:, model.classes_] = model.predict_proba(x[valid])
            return found

        if is_several:
            by_target = [fitted(target[:, j]) for j in range(target.shape[1])]
            oof[valid] = np.stack([one[:, 1] if n_classes else one for one in by_target], axis=1)
        else:
            oof[valid] = fitted(target)
    stored = oof_frame(store.train_rows["id"], store.fold_of_row, target, oof)
    return scores_of(stored, store.metric)


if __name__ == "__main__":
    main()
