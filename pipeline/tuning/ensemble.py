"""The ensemble of a study's trials, compared with the best single trial; configurations as `best.json` holds them.

Knows studies, features and out-of-fold predictions; knows nothing of commands or of `best.json`'s path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial

from pipeline.base.arrays import FloatArray
from pipeline.base.progress import progress_bar, say
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.config.records import EnsembleComparison
from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.models.registry import entry_of
from pipeline.scoring.ensembling import Selection, best_by_fold, lead, nested_prediction_of_singles, select_greedily
from pipeline.scoring.together import cross_validate_together
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import best_trials
from pipeline.tuning.tuner import OOF, as_trial, n_epochs

MOST_SEEDS = 4  # of a single trial in the comparison: more would take as long as the study
N_TRAINED_AGAIN = 5  # of the best trials: those whose predictions are on other machines
CURVE_POINTS = 8  # of a tuned network's history
TUNED = "tuned"  # preset name of the configuration in `best.json`


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of trials, and its nested lead over the best single trial with as many seeds."""

    selection: Selection
    configs: dict[str, RunConfig]  # trial -> its configuration
    n_seeds: int  # of the single trials
    single_nested_score: float
    lead: float  # mean difference of the fold scores
    lead_error: float  # its standard error


def ensemble_of_trials(tuning: Tuning, context: FitContext) -> Ensemble | None:
    """Select an ensemble greedily from the trials' predictions; None for fewer than two trials or folds.

    Averaging seeds helps by itself, and the final run trains several seeds of a single configuration. For a fair
    comparison the single trials get as many seeds as the ensemble has parts (at most the run's, and `MOST_SEEDS`).
    """
    store, metric = tuning.store, tuning.store.metric
    fold_of_row, target = store.fold_of_row, store.target
    complete = {str(trial.number): trial for trial in best_trials(tuning.study, metric, len(tuning.study.trials))}
    oofs = _stored_oofs(tuning, complete, context)
    if len(oofs) < 2 or len(store.splits) < 2:
        return None
    selection = select_greedily(oofs, target, fold_of_row, metric)
    by_fold = best_by_fold(oofs, target, fold_of_row, metric)
    n_seeds = min(len(selection.weights), tuning.base.seeds, MOST_SEEDS)
    if n_seeds > 1:
        singles = {name: tuning.config_of(complete[name]) for name in sorted(set(by_fold.values()))}
        oofs |= _with_seeds(tuning, singles, n_seeds, context)
    single = nested_prediction_of_singles(by_fold, oofs, fold_of_row)
    validated = fold_of_row != NEVER_VALIDATED
    return Ensemble(
        selection,
        {name: tuning.config_of(complete[name]) for name in selection.weights},
        n_seeds,
        metric.at(validated)(target[validated], single[validated]),
        *lead(selection.nested_prediction, single, target, fold_of_row, metric),
    )


def _stored_oofs(tuning: Tuning, trials: dict[str, FrozenTrial], context: FitContext) -> dict[str, FloatArray]:
    """Return the trials' stored predictions, best first.

    Broken ones are computed again. Of those that other machines keep, the best are trained again and the rest left out.
    """
    oofs: dict[str, FloatArray] = {}
    missing: dict[str, RunConfig] = {}
    elsewhere = [name for name, one in trials.items() if OOF in one.user_attrs and not tuning.has_oof(one)]
    again = [name for name in elsewhere if name in [*trials][:N_TRAINED_AGAIN]]
    if elsewhere:
        say(
            f"tune: the predictions of {len(elsewhere)} of {len(trials)} trials are on other machines; "
            f"{len(again)} of the best {N_TRAINED_AGAIN} trials are trained again for the ensemble, the rest left out"
        )
    for name, trial in trials.items():
        oof = tuning.oof_of(trial) if tuning.has_oof(trial) else None
        if oof is not None:
            oofs[name] = oof
        elif tuning.has_oof(trial) or name in again:
            missing[name] = tuning.config_of(trial)
    found = oofs | (_with_seeds(tuning, missing, 1, context) if missing else {})
    return {name: found[name] for name in trials if name in found}


def _with_seeds(
    tuning: Tuning, configs: dict[str, RunConfig], n_seeds: int, context: FitContext
) -> dict[str, FloatArray]:
    """Return the out-of-fold predictions of `n_seeds` seeds; a configuration that diverges is left out."""

    trials = [as_trial(config, n_seeds=n_seeds) for config in configs.values()]
    with progress_bar("compare") as update:
        shown = replace(context, on_progress=lambda share, _: update(share, ""))
        found = cross_validate_together(trials, tuning.store.problem, tuning.store.splits, shown)
    return {name: one.oof_prediction for name, one in zip(configs, found, strict=True) if one is not None}


def comparison(tuning: Tuning, ensemble: Ensemble) -> EnsembleComparison:
    """Choose the ensemble if its lead exceeds the standard error, since every part costs a training; say why."""
    metric, selection = tuning.store.metric, ensemble.selection
    is_better = len(selection.weights) > 1 and ensemble.lead > ensemble.lead_error
    say(
        f"tune: nested {metric.name}: ensemble of {len(selection.weights)} trials {selection.nested_score:.5f} "
        f"({selection.score:.5f} on the folds it was selected on), best single trial with {ensemble.n_seeds} seeds "
        f"{ensemble.single_nested_score:.5f}; a lead of {ensemble.lead:.5f} with a standard error of "
        f"{ensemble.lead_error:.5f}: best.json holds {'the ensemble' if is_better else 'a single configuration'}"
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
    """Return a trial's configuration as a run's: named, and evaluated often enough for curves."""
    params = dict(config.params)
    if entry_of(config.model).is_network:
        params["evaluate_every"] = max(1, n_epochs(config) // CURVE_POINTS)
    return config.model_copy(update={"preset": TUNED, "description": description, "params": params})


def as_ensemble(base: RunConfig, ensemble: Ensemble) -> RunConfig:
    """Return the run that trains every part of the ensemble."""
    parts = [
        as_preset(ensemble.configs[name], "").as_part(weight, has_own_seeds=False)
        for name, weight in ensemble.selection.weights.items()
    ]
    kept = {key: getattr(base, key) for key in ("model", "seeds", "seed", "final", "final_reason")}
    return RunConfig(preset=TUNED, description=f"an ensemble of {len(parts)} trials", parts=parts, **kept)
