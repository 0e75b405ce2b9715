"""Tuning with a time limit, as one step of preset best.

Knows tuning sessions and a clock; knows nothing of its caller or of `best.json`.
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

BATCH = 8  # network trials trained together; a small batch wastes less time at the end
FEWEST_TRIALS = 16  # with fewer, the best trial is little more than the luckiest
MOST_TRIALS = 300


@quiet_optuna()
def tune_within(
    store: FeatureStore,
    base: RunConfig,
    seconds: float,
    context: FitContext,
    clock: Callable[[], float] = time.monotonic,
) -> RunConfig | None:
    """Tune for `seconds`; return the best configuration of all calls, or None after fewer than `FEWEST_TRIALS` trials.

    Metrics of labels are too coarse to choose by: log loss replaces them. A batch is not started if, taking as long as
    the slowest one so far, it would end late. Raises Stopped when `context.stop` is set; running trials are then given
    back to the study.
    """
    started = clock()
    metric = METRICS["log_loss"] if store.metric.reads == "label" else None
    tuning = open_tuning(store, base, metric=metric, stop=context.stop)
    study = tuning.study
    slowest, batch_started = 0.0, started
    with progress_bar("tune") as update:

        def go_on() -> bool:
            nonlocal slowest, batch_started
            now = clock()
            slowest, batch_started = max(slowest, now - batch_started), now
            update(min(1.0, (now - started) / seconds), f"{len(finished_trials(study))} trials")
            return now - started + slowest <= seconds

        batch = BATCH if entry_of(base.model).is_network else 1
        tuning.tuner(replace(context, on_progress=None)).run(MOST_TRIALS, batch, go_on)
    best = best_trials(study, tuning.metric, 1)
    return tuning.config_of(best[0]) if best and len(finished_trials(study)) >= FEWEST_TRIALS else None
