"""Presets fast and best on real competitions: nested score, wall and processor seconds, where the time went.

    PIPELINE_DATA_DIR=~/kaggle python benchmarks/race.py                      # best, 5 minutes each
    PIPELINE_DATA_DIR=~/kaggle python benchmarks/race.py --minutes 0 titanic  # fast

Each competition is drafted anew in a temporary folder with the metric given here. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport

METRICS = {
    "forest-cover-type-prediction": "accuracy",
    "otto-group-product-classification-challenge": "log_loss",
    "santander-customer-satisfaction": "roc_auc",
    "playground-series-s3e14": "mae",
    "playground-series-s3e24": "roc_auc",
    "playground-series-s4e2": "accuracy",
    "playground-series-s4e4": "rmsle",
    "titanic": "accuracy",
    "spaceship-titanic": "accuracy",
    "bike-sharing-demand": "rmsle",
    "house-prices": "log_rmse",
}


def main() -> None:
    """Print a line per competition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("competitions", nargs="*", default=list(METRICS), metavar="COMPETITION")
    parser.add_argument("--minutes", type=float, default=5.0, help="of preset best; 0: preset fast")
    given = parser.parse_args()
    print("| competition | metric | nested | single | runs | wall s | processor s | used | no weight | rest |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for competition in given.competitions:
        with tempfile.TemporaryDirectory() as folder:
            print(line_of(competition, Path(folder), given.minutes), flush=True)


def line_of(competition: str, root: Path, minutes: float) -> str:
    """Race on one competition; the line of the table."""
    metric = METRICS[competition]
    call = [sys.executable, "-m", "pipeline"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*call, *arguments, "--root", str(root)], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{competition}: {done.stderr[-2000:]}")

    run("init", competition, "--metric", metric)
    preset = ("--preset", "best", "--minutes", f"{minutes:g}") if minutes else ("--preset", "fast")
    wall, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run("submit", "-c", competition, "--no-upload", *preset)
    wall, after = time.monotonic() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (report,) = Workspace(root, competition).runs.glob("best-ensemble-*/report.json")
    ensemble = RunReport.read(report).ensemble
    assert ensemble is not None, "the run of preset best has an ensemble"
    used = sum(one.elapsed_s for one in ensemble.members) / wall
    dropped = sum(one.elapsed_s for one in ensemble.without_weight) / wall
    return (
        f"| {competition} | {metric} | {ensemble.nested_score:.5f} | {ensemble.nested_scores['single']:.5f} | "
        f"{len(ensemble.members)} of {len(ensemble.looked_at)} | {wall:.0f} | {processor:.0f} | {used:.0%} | "
        f"{dropped:.0%} | {max(0.0, 1 - used - dropped):.0%} |"
    )


if __name__ == "__main__":
    main()
