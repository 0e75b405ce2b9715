"""How much of the best trials' lead is noise: configurations scored again on other cuts of the folds.

Knows studies and feature stores; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.base.errors import TrainingError
from pipeline.base.progress import progress_bar, say
from pipeline.competition.folds import Split, splits_of
from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.scoring.cross_validation import cross_validate
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import best_trials
from pipeline.tuning.tuner import as_trial

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
    default = _score(tuning, base, store.splits, context)
    confirmed = []
    with progress_bar("confirm") as update:
        for number, (config, score) in enumerate([(base, default), *tuned]):
            scores = [
                _score(tuning, config, splits, context, seed_offset=1 + repeat) for repeat, splits in enumerate(fresh)
            ]
            confirmed.append(Confirmed(config, score, scores))
            update((number + 1) / (len(tuned) + 1), "")
    return confirmed


def _score(
    tuning: Tuning, config: RunConfig, splits: Sequence[Split], context: FitContext, *, seed_offset: int = 0
) -> float:
    """The configuration's `cv_score` on some folds, one seed; NaN when its network diverges."""
    try:
        found = cross_validate(as_trial(config), tuning.store.problem, splits, context, seed_offset=seed_offset)
    except TrainingError:
        return float("nan")
    return found.scores()[0]
