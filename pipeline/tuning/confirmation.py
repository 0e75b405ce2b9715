"""How much of the best trials' lead is noise: score them again on other fold assignments and choose there.

Knows studies and feature stores; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.base.progress import progress_bar, say
from pipeline.competition.folds import Split, splits_of
from pipeline.config.records import Confirmation, FoldsSeen
from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.scoring.together import cross_validate_together
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import best_trials
from pipeline.tuning.tuner import as_trial

N_CONFIRMED = 5  # best trials that are scored again on other folds
N_REPEATS = 2  # other fold assignments
SCORES_OF = "confirmed:"  # prefix of the study attributes that hold the scores of a trial's number, or of
DEFAULT, DEFAULT_TUNED = "default", "default on the study's folds"


@dataclass(frozen=True)
class Confirmed:
    """A configuration scored on the study's folds and, with other seeds, on other folds (NaN if it diverged)."""

    config: RunConfig
    tuned_score: float
    fresh_scores: list[float]

    @property
    def fresh_mean(self) -> float:
        """Mean score on the other folds."""
        return float(np.mean(self.fresh_scores))

    def record(self) -> FoldsSeen:
        """Return the scores as `best.json` stores them."""
        return FoldsSeen(tuned_folds=self.tuned_score, fresh_folds=[*self.fresh_scores])


def confirm(tuning: Tuning, context: FitContext) -> list[Confirmed]:
    """Score the untuned default and the best trials on folds the study has not seen; [] if there are no other folds."""
    store, base = tuning.store, tuning.base
    fresh, metric = [splits_of(f, is_chained=False) for f in store.other_folds(N_REPEATS)], store.metric
    best = best_trials(tuning.study, metric, N_CONFIRMED)
    if not fresh or not best:
        return []
    say(f"tune: scoring the default and the {len(best)} best trials on {len(fresh)} other fold assignments")
    configs = {DEFAULT: base} | {str(trial.number): tuning.config_of(trial) for trial in best}
    with progress_bar("confirm") as update:
        on_tuned = _scores(tuning, {DEFAULT_TUNED: base}, [store.splits], context, first_seed=0)
        found = _scores(tuning, configs, fresh, context, first_seed=1, update=update)
    tuned_scores = [on_tuned[DEFAULT_TUNED][0], *(float(trial.value or 0.0) for trial in best)]
    return [Confirmed(configs[name], score, found[name]) for name, score in zip(configs, tuned_scores, strict=True)]


def kept_confirmation(tuning: Tuning) -> list[Confirmed]:
    """Return what `confirm` has found so far, in this call or earlier ones; [] without the default or any trial.

    Trials that lack an assignment that the default has are left out.
    """
    kept, trials = tuning.study.user_attrs, best_trials(tuning.study, tuning.metric, len(tuning.study.trials))
    if SCORES_OF + DEFAULT not in kept:
        return []
    default = Confirmed(tuning.base, kept[SCORES_OF + DEFAULT_TUNED][0], kept[SCORES_OF + DEFAULT])
    of_trials = [
        Confirmed(tuning.config_of(trial), float(trial.value or 0.0), kept[f"{SCORES_OF}{trial.number}"])
        for trial in trials
        if len(kept.get(f"{SCORES_OF}{trial.number}", [])) == len(default.fresh_scores)
    ]
    return [default, *of_trials] if of_trials else []


def _scores(
    tuning: Tuning,
    configs: Mapping[str, RunConfig],
    assignments: Sequence[Sequence[Split]],
    context: FitContext,
    *,
    first_seed: int,
    update: Callable[[float, str], None] = lambda _, __: None,
) -> dict[str, list[float]]:
    """Return each configuration's score with one seed on each fold assignment; NaN where the network diverges.

    The study keeps them by their names, so that none is trained again.
    """
    kept = tuning.study.user_attrs
    scores = {name: list[float](kept.get(SCORES_OF + name, [])) for name in configs}
    for number, splits in enumerate(assignments):
        missing = [name for name in configs if len(scores[name]) <= number]
        if not missing:
            continue

        def on_progress(share: float, _: object, number: int = number) -> None:
            update((number + share) / len(assignments), "")

        found = cross_validate_together(
            [as_trial(configs[name]) for name in missing],
            tuning.store.problem,
            splits,
            replace(context, on_progress=on_progress),
            seed_offset=first_seed + number,
        )
        for name, one in zip(missing, found, strict=True):
            scores[name].append(float("nan") if one is None else one.scores()[0])
            tuning.study.set_user_attr(SCORES_OF + name, scores[name])
    return scores


def confirmed_choice(tuning: Tuning, confirmed: list[Confirmed]) -> tuple[RunConfig, float, Confirmation]:
    """Choose the configuration that is best on the other folds, perhaps the default (which comes first).

    Returns it with its score on the study's folds and the record of all scores.
    """
    metric = tuning.store.metric
    default, *tried = confirmed
    finite = [one for one in confirmed if np.isfinite(one.fresh_mean)] or tried
    chosen = min(finite, key=lambda one: float(metric.losses(one.fresh_mean)))
    lead = metric.gain(chosen.tuned_score, default.tuned_score)
    fresh_lead = metric.gain(chosen.fresh_mean, default.fresh_mean)
    say(
        f"tune: one seed, {metric.name}: default {default.tuned_score:.5f} on the study's folds and "
        f"{default.fresh_mean:.5f} on other folds; chosen {chosen.tuned_score:.5f} and {chosen.fresh_mean:.5f}: "
        f"a lead of {lead:.5f} on the study's folds and of {fresh_lead:.5f} on folds it has not seen"
        f"{'; none of the best trials beats the default there' if chosen is default else ''}"
    )
    record = Confirmation(
        default=default.record(),
        chosen=chosen.record(),
        candidates=[one.record() for one in tried],
        lead_on_tuned_folds=lead,
        lead_on_fresh_folds=fresh_lead,
    )
    return chosen.config, chosen.tuned_score, record
