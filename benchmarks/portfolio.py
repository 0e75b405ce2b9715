"""The study behind `pipeline/best/portfolio.toml`: every variant on real competitions, by itself.

    PIPELINE_DATA_DIR=~/kaggle python benchmarks/portfolio.py playground-series-s4e4 --folds 2 --variants "lightgbm mid"

Prints score, processor and wall seconds of the first folds, and the time that the portfolio's costs predict.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from race import METRICS

from pipeline.best.costs import Size, candidate_of
from pipeline.best.portfolio import portfolio
from pipeline.competition.workspace import Workspace
from pipeline.models.base import FitContext
from pipeline.scoring.cross_validation import cross_validate
from pipeline.stages import steps


def main() -> None:
    """Print a line per competition and variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("competitions", nargs="*", default=list(METRICS), metavar="COMPETITION")
    parser.add_argument("--folds", type=int, default=2, help="validate the first folds only")
    parser.add_argument("--variants", nargs="*", help="default: those of the table's regime")
    given = parser.parse_args()
    print("| competition | variant | score | processor s | wall s | predicted s |\n|---|---|---|---|---|---|")
    for competition in given.competitions:
        with tempfile.TemporaryDirectory() as folder:
            study(competition, Path(folder), given.folds, given.variants)


def study(competition: str, root: Path, n_folds: int, variants: list[str] | None) -> None:
    """Cross-validate the variants on the first `n_folds` folds of one competition."""
    steps.draft(root, competition, metric=METRICS[competition], is_overwriting=True)
    store, _ = steps.with_features(Workspace(root, competition))
    rows, columns = store.train.shape
    size = Size(store.spec.task, rows, columns, n_folds, len(store.classes), n_targets=len(store.spec.target))
    is_absolute = store.metric.loss == "mae"
    names = variants or portfolio().order_for(
        store.spec.task, rows, columns, has_sentences=False, is_absolute=is_absolute
    )
    for name in names:
        candidate = candidate_of(name, size)
        wall, processor = time.monotonic(), time.process_time()
        context = FitContext(n_workers=steps.fit_context().n_workers)
        found = cross_validate(candidate.config, store.problem, store.splits[:n_folds], context)
        wall, processor = time.monotonic() - wall, time.process_time() - processor
        score, _ = found.scores()
        print(
            f"| {competition} | {name} | {score:.5f} | {processor:.1f} | {wall:.1f} | {candidate.reference_s:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
