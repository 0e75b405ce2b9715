"""What a study's end makes of it: the confirmed best trial or, where it leads clearly, an ensemble of trials.

Knows studies, features and out-of-fold predictions; knows nothing of the command that asked or of `best.json`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from pipeline.base import files
from pipeline.base.errors import TrainingError
from pipeline.base.progress import progress_bar, say
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.config.records import Confirmation, EnsembleComparison, FoldsSeen
from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.models.registry import entry_of
from pipeline.scoring.cross_validation import cross_validate
from pipeline.scoring.ensembling import Selection, best_by_fold, lead, nested_prediction_of_singles, select_greedily
from pipeline.tuning.confirmation import Confirmed
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import best_trials
from pipeline.tuning.tuner import as_trial, n_epochs

MOST_SEEDS = 4  # of a single trial in the comparison: more would take as long as the study
CURVE_POINTS = 8  # of a tuned network's history
TUNED = "tuned"  # preset name of the configuration that `best.json` holds


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of trials, and the best single trial with as many seeds, both told by folds they did not see."""

    selection: Selection
    configs: dict[str, RunConfig]  # trial -> its configuration
    n_seeds: int  # that the single trials were given
    single_nested_score: float
    lead: float  # of the ensemble over the single: mean difference of the folds' scores
    lead_error: float  # its standard error


def ensemble_of_trials(tuning: Tuning, context: FitContext) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are kept, and what it is to be compared with.

    Averaging seeds helps by itself, and the final run trains several of a single configuration: the single trials are
    therefore given as many seeds as the ensemble has parts (at most the run's, and four).
    """
    store, metric = tuning.store, tuning.store.spec.scorer
    fold_of_row, target = store.fold_of_row, store.target
    complete = {str(trial.number): trial for trial in best_trials(tuning.study, metric, len(tuning.study.trials))}
    paths = {name: tuning.oofs / f"{name}.npy" for name in complete}
    oofs = {name: files.read_npy(path) for name, path in paths.items() if path.exists()}
    if len(oofs) < 2 or len(store.splits) < 2:  # nothing to average, or no other fold to tell it by
        return None
    selection = select_greedily(oofs, target, fold_of_row, metric)
    by_fold = best_by_fold(oofs, target, fold_of_row, metric)
    n_seeds = min(len(selection.weights), tuning.base.seeds, MOST_SEEDS)
    if n_seeds > 1:
        picked = sorted(set(by_fold.values()))
        with progress_bar("compare") as update:
            for number, name in enumerate(picked):
                config = as_trial(tuning.config_of(complete[name]), n_seeds=n_seeds)
                with suppress(TrainingError):  # with other seeds the network diverged: one seed must do
                    oofs[name] = cross_validate(config, store.problem, store.splits, context).oof_prediction
                update((number + 1) / len(picked), "")
    single = nested_prediction_of_singles(by_fold, oofs, fold_of_row)
    validated = fold_of_row != NEVER_VALIDATED
    configs = {name: tuning.config_of(complete[name]) for name in selection.weights}
    return Ensemble(
        selection,
        configs,
        n_seeds,
        metric(target[validated], single[validated]),
        *lead(selection.nested_prediction, single, target, fold_of_row, metric),
    )


def confirmed_choice(tuning: Tuning, confirmed: list[Confirmed]) -> tuple[RunConfig, float, Confirmation]:
    """The configuration that is best on the fresh folds, be it the default; its score on the study's; the numbers."""
    metric = tuning.store.spec.scorer
    default, *tried = confirmed
    finite = [one for one in confirmed if np.isfinite(one.fresh_mean)] or tried
    chosen = min(finite, key=lambda one: float(metric.losses(one.fresh_mean)))
    lead = metric.gain(chosen.tuned_score, default.tuned_score)
    fresh_lead = metric.gain(chosen.fresh_mean, default.fresh_mean)
    say(
        f"tune: one seed, {metric.name}: default {default.tuned_score:.5f} on the study's folds, "
        f"{default.fresh_mean:.5f} on others; chosen {chosen.tuned_score:.5f} and {chosen.fresh_mean:.5f}: "
        f"a lead of {lead:.5f}, and of {fresh_lead:.5f} on folds it has not seen"
        f"{': none of the best trials beats the default there' if chosen is default else ''}"
    )
    return (
        chosen.config,
        chosen.tuned_score,
        Confirmation(
            default=_folds_seen(default),
            chosen=_folds_seen(chosen),
            candidates=[_folds_seen(one) for one in tried],
            lead_on_tuned_folds=lead,
            lead_on_fresh_folds=fresh_lead,
        ),
    )


def _folds_seen(one: Confirmed) -> FoldsSeen:
    return FoldsSeen(tuned_folds=one.tuned_score, fresh_folds=[*one.fresh_scores])


def comparison(tuning: Tuning, ensemble: Ensemble) -> EnsembleComparison:
    """The numbers behind the choice between the ensemble and a single configuration.

    It costs a training a part: it must lead by more than the standard error of the lead.
    """
    metric, selection = tuning.store.spec.scorer, ensemble.selection
    is_better = len(selection.weights) > 1 and ensemble.lead > ensemble.lead_error
    say(
        f"tune: chosen on the other folds, {metric.name}: ensemble of {len(selection.weights)} trials "
        f"{selection.nested_score:.5f} ({selection.score:.5f} on the folds that chose it), best single trial with "
        f"{ensemble.n_seeds} seeds {ensemble.single_nested_score:.5f}, a lead by fold of {ensemble.lead:.5f} "
        f"with a standard error of {ensemble.lead_error:.5f}: "
        f"best.json holds {'the ensemble' if is_better else 'a single configuration'}"
    )
    return EnsembleComparison(
        is_chosen=is_better,
        weights=selection.weights,
        selection_score=selection.score,
        nested_score=selection.nested_score,
        single_nested_score=ensemble.single_nested_score,
        single_seeds=ensemble.n_seeds,
        lead=ensemble.lead,
        lead_error=ensemble.lead_error,
    )


def as_preset(config: RunConfig, description: str) -> RunConfig:
    """A trial's configuration as a run's: named, and evaluated often enough for curves."""
    params = dict(config.params)
    if entry_of(config.model).is_network:
        params["evaluate_every"] = max(1, n_epochs(config) // CURVE_POINTS)
    return config.model_copy(update={"preset": TUNED, "description": description, "params": params})


def as_ensemble(base: RunConfig, ensemble: Ensemble) -> RunConfig:
    """The run that trains every part of the ensemble."""
    parts = [
        as_preset(ensemble.configs[name], "").as_part(weight, has_own_seeds=False)
        for name, weight in ensemble.selection.weights.items()
    ]
    return RunConfig(
        preset=TUNED,
        description=f"an ensemble of {len(parts)} trials",
        model=base.model,
        seeds=base.seeds,
        seed=base.seed,
        final=base.final,
        final_reason=base.final_reason,
        parts=parts,
    )
