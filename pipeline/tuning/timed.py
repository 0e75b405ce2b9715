"""Tuning as one step of a longer work: as many trials as fit into some seconds, and what was best.

Knows sessions of tuning and a clock; knows nothing of who asks, or of `best.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pipeline.base.progress import progress_bar
from pipeline.competition.store import FeatureStore
from pipeline.config.run import RunConfig
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.registry import entry_of
from pipeline.tuning.session import open_tuning
from pipeline.tuning.study import best_trials, finished_trials, quiet_optuna

BATCH = 8  # networks' trials trained together: few, so that the last batch fits into the time
FEWEST_TRIALS = 16  # below, the best of them is hardly more than the luckiest
MOST_TRIALS = 300


@quiet_optuna()
def tune_within(
    store: FeatureStore,
    base: RunConfig,
    seconds: float,
    context: FitContext,
    clock: Callable[[], float] = time.monotonic,
) -> RunConfig | None:
    """The configuration of the best trial, earlier calls' included; None where too few fit into `seconds`.

    Where the competition counts labels, which move too little to choose by, trials go by log loss. No batch of trials
    is begun that would end late, going by the slowest so far. Raises Stopped when `context.stop` is set; the
    running trials are then given back to the study.
    """
    begun = clock()
    tuning = open_tuning(store, base, metric=METRICS["log_loss"] if store.spec.scorer.reads == "label" else None)
    study = tuning.study
    slowest, batch_begun = 0.0, begun
    with progress_bar("tune") as update:

        def go_on() -> bool:
            nonlocal slowest, batch_begun
            now = clock()
            slowest, batch_begun = max(slowest, now - batch_begun), now
            update(min(1.0, (now - begun) / seconds), f"{len(finished_trials(study))} trials")
            return now - begun + slowest <= seconds

        batch = BATCH if entry_of(base.model).is_network else 1
        tuning.tuner(replace(context, on_progress=None)).run(MOST_TRIALS, batch, go_on)
    best = best_trials(study, tuning.metric, 1)
    return tuning.config_of(best[0]) if best and len(finished_trials(study)) >= FEWEST_TRIALS else None
