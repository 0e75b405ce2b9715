"""How much of the best trials' lead is noise: configurations scored again on other cuts of the folds.

Knows studies and feature stores; knows nothing of files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.base.progress import progress_bar, say
from pipeline.competition.folds import splits_of
from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import best_trials
from pipeline.tuning.tuner import score_on

N_CONFIRMED = 5  # best trials that are scored again on other folds
N_REPEATS = 2  # other assignments of folds


@dataclass(frozen=True)
class Confirmed:
    """A configuration scored on the study's folds and, with other initial weights and shuffles, on other folds."""

    config: RunConfig
    tuned_score: float
    fresh_scores: list[float]

    @property
    def fresh_mean(self) -> float:
        """What to expect of it."""
        return float(np.mean(self.fresh_scores))


def confirm(tuning: Tuning, context: FitContext) -> list[Confirmed]:
    """The untuned default, then the best trials, scored again on folds the study has not seen; [] without such."""
    store, base = tuning.store, tuning.base
    fresh, metric = [splits_of(f, is_chained=False) for f in store.other_folds(N_REPEATS)], store.spec.scorer
    best = best_trials(tuning.study, metric, N_CONFIRMED)
    if not fresh or not best:
        return []
    say(f"tune: scoring the default and the {len(best)} best trials again on {len(fresh)} other cuts of the folds")
    tuned = [(tuning.config_of(trial), float(trial.value or 0.0)) for trial in best]
    default = score_on(base, store.problem(base), metric, store.splits, base.seed, context)
    confirmed = []
    with progress_bar("confirm") as update:
        for number, (config, score) in enumerate([(base, default), *tuned]):
            problem = store.problem(config)
            scores = [
                score_on(config, problem, metric, splits, base.seed + 1 + repeat, context)
                for repeat, splits in enumerate(fresh)
            ]
            confirmed.append(Confirmed(config, score, scores))
            update((number + 1) / (len(tuned) + 1), "")
    return confirmed
