"""Stage `tune`: an Optuna study over folds x trials -> `tuning/<model>/`: storage, trials, best.json, plots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.trial import TrialState

from pipeline import artifacts
from pipeline.config import Part, RunConfig, SpaceEntry, load_search_space
from pipeline.ensembling import Selection, best_by_fold, lead, nested_prediction_of_singles, select_greedily
from pipeline.errors import SpecError
from pipeline.folds import NEVER_VALIDATED
from pipeline.interruption import on_interrupt
from pipeline.models import entry_of
from pipeline.models.base import EpochScores, FitContext
from pipeline.models.neural import NeuralParams
from pipeline.problems import FeatureStore
from pipeline.progress import progress_bar, say
from pipeline.tuning import (
    Confirmed,
    Ownership,
    Tuner,
    best_trials,
    confirm,
    default_values,
    differences,
    finished_trials,
    oof_of,
    open_study,
    values_of,
    with_values,
)
from pipeline.tuning.report import importances, trial_table, write_plots

TUNED = "tuned"  # preset name of the configuration that `best.json` holds
SHOW_EVERY_S = 0.25


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of trials, and the best single trial with as many networks, both told by folds they did not see."""

    selection: Selection
    configs: dict[str, RunConfig]  # trial -> its configuration
    n_seeds: int  # networks a fold that the single trials were given
    single_nested_score: float
    lead: float  # of the ensemble over the single: mean difference of the folds' scores
    lead_error: float  # its standard error


@dataclass(frozen=True)
class _Tuning:
    """What the steps of one call share."""

    store: FeatureStore
    base: RunConfig
    space: dict[str, SpaceEntry]
    study: optuna.Study
    folder: Path

    @property
    def oofs(self) -> Path:
        """Out-of-fold predictions of this study's trials."""
        return self.folder / "oof" / self.study.study_name

    def keep_oof(self, number: int, oof: NDArray[np.float64]) -> None:
        """Keep the out-of-fold prediction of a trial."""
        artifacts.write_npy(self.oofs / f"{number}.npy", oof)

    def config_of(self, trial: optuna.trial.FrozenTrial) -> RunConfig:
        """The configuration a trial stands for."""
        return with_values(self.base, values_of(trial, self.space))


def tune(
    store: FeatureStore,
    base: RunConfig,
    *,
    n_trials: int,
    batch_size: int,
    sampler: str,
    pruner: str,
    storage: str | None,
    device: torch.device,
    n_workers: int,
) -> Path:
    """Go on with the model's study until it has `n_trials`; the path of `best.json`. Raises SpecError.

    The study is that of these features, this preset and this search space: with another of them, another begins.
    Interrupted, it writes what it has, and raises KeyboardInterrupt.
    """
    if base.parts:
        raise SpecError("an ensemble cannot be tuned", where=f"preset {base.preset}", hint="Tune one configuration.")
    folder = store.workspace.tuning(base.model)
    space = load_search_space(base.model, store.spec.task, store.spec.tune.get(base.model, {}))
    if not issubclass(entry_of(base.model).params, NeuralParams):
        raise SpecError(
            f"the model {base.model!r} cannot be tuned yet; networks can",
            hint=f"Its defaults go by the data's size: `train --model {base.model}`; --set changes a parameter.",
        )
    if not space:
        raise SpecError(f"the model {base.model!r} has no search space", where=f"[tune.{base.model}]")
    made_of = {
        "for": f"{store.workspace.competition}, {base.model}",
        **store.inputs(base),
        "search space": {name: entry.model_dump(mode="json", exclude={"tasks"}) for name, entry in space.items()},
    }
    study, backend = open_study(
        storage or folder / "study.log",
        f"{store.workspace.competition}-{base.model}-{artifacts.sha256_of_json(made_of)[:8]}",
        metric=store.spec.scorer,
        sampler=sampler,
        pruner=pruner,
        epochs=int(base.params.get("epochs", 40)),
        seed=base.seed,
        made_of=made_of,
    )
    tuning = _Tuning(store, base, space, study, folder)
    n_known = len(finished_trials(study))
    if not study.get_trials(deepcopy=False):
        if changed := differences(study, backend):
            say(f"tune: a new study begins; {changed}; what was finished there stays in the storage")
        study.enqueue_trial(default_values(base, space), skip_if_exists=True)
    say(f"tune: study {study.study_name}: {n_known} of {n_trials} trials are there; {', '.join(space)}")
    started = time.monotonic()
    context = FitContext(device, n_workers)
    try:
        with on_interrupt(context.stop.set):  # no write to the storage is cut in two
            _run_trials(tuning, Ownership(study, backend), n_trials, batch_size, context)
            n_new = len(finished_trials(study)) - n_known
            say(f"tune: {_summary(tuning)}; {n_new} trials in {time.monotonic() - started:.0f} s")
            confirmed = confirm(store, base, study, space, context)
            ensemble = _choose_ensemble(tuning, context)
    except KeyboardInterrupt:
        _write(tuning, [], None)
        raise
    return _write(tuning, confirmed, ensemble)


def _run_trials(tuning: _Tuning, ownership: Ownership, n_trials: int, batch_size: int, context: FitContext) -> None:
    """Train trials up to the total, with a bar of what is done."""
    store, study, started, shown_at = tuning.store, tuning.study, time.monotonic(), 0.0
    with progress_bar("tune") as update:

        def show(share_of_batch: float) -> None:
            nonlocal shown_at
            if share_of_batch and time.monotonic() - shown_at < SHOW_EVERY_S:
                return
            shown_at = time.monotonic()
            done = len(finished_trials(study))
            in_batch = min(batch_size, n_trials - done)
            rate = tuner.member_epochs / (shown_at - started)
            text = f"{_summary(tuning)}, {rate:.0f} network epochs/s"
            update(min(1.0, (done + share_of_batch * in_batch) / n_trials), text)

        def on_progress(share: float, _: Sequence[EpochScores]) -> None:
            if share < 1.0:
                show(share)

        tuner = Tuner(
            study,
            ownership,
            tuning.space,
            tuning.base,
            store.spec.scorer,
            store.problem,
            store.splits,
            replace(context, on_progress=on_progress),
            tuning.keep_oof,
        )
        tuner.run(n_trials, batch_size, lambda: show(0.0))


def _choose_ensemble(tuning: _Tuning, context: FitContext) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are kept, and what it is to be compared with.

    Averaging networks helps by itself, and the final run trains several seeds of a single configuration: the single
    trials are therefore given as many networks a fold as the ensemble has parts (at most the run's seeds).
    """
    store, metric = tuning.store, tuning.store.spec.scorer
    fold_of_row, target = store.fold_of_row, store.target
    complete = {str(trial.number): trial for trial in best_trials(tuning.study, metric, len(tuning.study.trials))}
    paths = {name: tuning.oofs / f"{name}.npy" for name in complete}
    oofs = {name: artifacts.read_npy(path) for name, path in paths.items() if path.exists()}
    if len(oofs) < 2:
        return None
    selection = select_greedily(oofs, target, fold_of_row, metric)
    by_fold = best_by_fold(oofs, target, fold_of_row, metric)
    n_seeds = min(len(selection.weights), tuning.base.seeds)
    if n_seeds > 1:
        picked = sorted(set(by_fold.values()))
        with progress_bar("compare") as update:
            for number, name in enumerate(picked):
                config = tuning.config_of(complete[name])
                oof = oof_of(
                    config, store.problem(config), store.splits, seed=config.seed, n_seeds=n_seeds, context=context
                )
                oofs[name] = oofs[name] if oof is None else oof
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


def _summary(tuning: _Tuning) -> str:
    metric, trials = tuning.store.spec.metric, finished_trials(tuning.study)
    states = [trial.state for trial in trials]
    best = best_trials(tuning.study, tuning.store.spec.scorer, 1)
    shown = f"best {metric} {best[0].value:.5f} (trial {best[0].number})" if best else "none complete yet"
    n_pruned, n_failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    return f"{len(trials)} trials, {n_pruned} pruned, {n_failed} failed, {shown}"


def _write(tuning: _Tuning, confirmed: list[Confirmed], ensemble: Ensemble | None) -> Path:
    """`trials.parquet`, `importances.parquet`, `best.json`, `study.html`.

    The single configuration is the best of `confirmed` (the default comes first there), or of the trials; the
    ensemble replaces it where its nested estimate is clearly better.
    """
    study, store, metric = tuning.study, tuning.store, tuning.store.spec.scorer
    path = tuning.folder / "best.json"
    artifacts.write_parquet(tuning.folder / "trials.parquet", trial_table(study, tuning.space))
    artifacts.write_parquet(tuning.folder / "importances.parquet", importances(study))
    best = best_trials(study, metric, 1)
    if not best:
        say("tune: no trial is complete yet")
        return path
    config, score = tuning.config_of(best[0]), float(best[0].value or 0.0)
    confirmation: dict[str, Any] = {}
    if confirmed:
        config, score, confirmation = _confirmed_choice(tuning, confirmed)
    config = _as_preset(config, f"the best of {len(finished_trials(study))} trials")
    comparison: dict[str, Any] = {}
    if ensemble is not None:
        comparison, is_better = _comparison(tuning, ensemble)
        if is_better:
            config, score = _as_ensemble(tuning.base, ensemble), ensemble.selection.score
    artifacts.write_json(
        path,
        {
            "study": study.study_name,
            "n_trials": len(finished_trials(study)),
            "metric": metric.name,
            "cv_score": score,
            "confirmation": _without_nan(confirmation),
            "ensemble": _without_nan(comparison),
            "config": config.model_dump(),
            "features": store.manifest["fingerprint"],
            "is_sample": store.is_sample,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    write_plots(study, tuning.folder / "study.html", metric.name)
    return path


def _confirmed_choice(tuning: _Tuning, confirmed: list[Confirmed]) -> tuple[RunConfig, float, dict[str, Any]]:
    """The configuration that is best on the fresh folds, its score on the study's, and the numbers behind it."""
    metric = tuning.store.spec.scorer
    default, *tried = confirmed
    finite = [one for one in tried if np.isfinite(one.fresh_mean)] or tried
    chosen = (max if metric.greater_is_better else min)(finite, key=lambda one: one.fresh_mean)
    sign = 1.0 if metric.greater_is_better else -1.0
    lead = sign * (chosen.tuned_score - default.tuned_score)
    fresh_lead = sign * (chosen.fresh_mean - default.fresh_mean)
    say(
        f"tune: one network a fold, {metric.name}: default {default.tuned_score:.5f} on the study's folds, "
        f"{default.fresh_mean:.5f} on others; chosen {chosen.tuned_score:.5f} and {chosen.fresh_mean:.5f}: "
        f"a lead of {lead:.5f}, and of {fresh_lead:.5f} on folds it has not seen"
    )
    return (
        chosen.config,
        chosen.tuned_score,
        {
            "default": {"tuned_folds": default.tuned_score, "fresh_folds": default.fresh_scores},
            "chosen": {"tuned_folds": chosen.tuned_score, "fresh_folds": chosen.fresh_scores},
            "candidates": [{"tuned_folds": one.tuned_score, "fresh_folds": one.fresh_scores} for one in tried],
            "lead_on_tuned_folds": lead,
            "lead_on_fresh_folds": fresh_lead,
        },
    )


def _comparison(tuning: _Tuning, ensemble: Ensemble) -> tuple[dict[str, Any], bool]:
    """The numbers behind the choice between the ensemble and a single configuration, and whether it wins.

    It costs a training a part: it must lead by more than the standard error of the lead.
    """
    metric, selection = tuning.store.spec.scorer, ensemble.selection
    is_better = len(selection.weights) > 1 and ensemble.lead > ensemble.lead_error
    say(
        f"tune: chosen on the other folds, {metric.name}: ensemble of {len(selection.weights)} trials "
        f"{selection.nested_score:.5f} ({selection.score:.5f} on the folds that chose it), best single trial with "
        f"{ensemble.n_seeds} networks a fold {ensemble.single_nested_score:.5f}, a lead by fold of {ensemble.lead:.5f} "
        f"with a standard error of {ensemble.lead_error:.5f}: "
        f"best.json holds {'the ensemble' if is_better else 'a single configuration'}"
    )
    return {
        "is_chosen": is_better,
        "weights": selection.weights,
        "selection_score": selection.score,
        "nested_score": selection.nested_score,
        "single_nested_score": ensemble.single_nested_score,
        "single_networks_a_fold": ensemble.n_seeds,
        "lead": ensemble.lead,
        "lead_error": ensemble.lead_error,
    }, is_better


def _as_preset(config: RunConfig, description: str) -> RunConfig:
    """A trial's configuration as a run's: named, and evaluated often enough for curves."""
    epochs = int(config.params.get("epochs", 40))
    params = {**config.params, "evaluate_every": max(1, epochs // 8)}
    return config.model_copy(update={"preset": TUNED, "description": description, "params": params})


def _as_ensemble(base: RunConfig, ensemble: Ensemble) -> RunConfig:
    """The run that trains every part of the ensemble."""
    parts = []
    for name, weight in ensemble.selection.weights.items():
        config = _as_preset(ensemble.configs[name], "")
        parts.append(
            Part(
                weight=weight,
                model=config.model,
                params=config.params,
                features=config.features,
                scope=config.scope,
                target_transform=config.target_transform,
            )
        )
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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
