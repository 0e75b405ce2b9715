"""Stage `tune`: an Optuna study over folds x trials -> `tuning/<model>/`: storage, trials, best.json, plots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from optuna.trial import TrialState

from pipeline.base import files
from pipeline.base.interruption import ENDED_EARLY, on_interrupt
from pipeline.base.progress import progress_bar, say
from pipeline.competition.store import FeatureStore
from pipeline.config.records import TuningResult
from pipeline.config.run import RunConfig
from pipeline.models.base import EpochScores, FitContext
from pipeline.models.registry import entry_of
from pipeline.tuning import (
    Confirmed,
    Tuning,
    best_trials,
    confirm,
    finished_trials,
    open_tuning,
    quiet_optuna,
)
from pipeline.tuning.choice import Ensemble, as_ensemble, as_preset, comparison, confirmed_choice, ensemble_of_trials
from pipeline.tuning.report import importances, trial_table, write_plots

SHOW_EVERY_S = 0.25
TABLES = ("trials.parquet", "importances.parquet")


@quiet_optuna()
def tune(
    store: FeatureStore,
    base: RunConfig,
    context: FitContext,
    *,
    n_trials: int,
    batch_size: int,
    sampler: str,
    pruner: str,
    storage: str | None,
) -> Path:
    """Go on with the model's study until it has `n_trials`; the path of `best.json`. Raises SpecError.

    The study is that of these features, this preset and this search space: with another of them, another begins.
    `store` may show a sample of the train rows: that is another study, too, and `best.json` says so. Interrupted, it
    writes what it has, and raises Stopped.
    """
    tuning = open_tuning(store, base, sampler=sampler, pruner=pruner, storage=storage)
    n_known = len(finished_trials(tuning.study))
    if sampled := _sampled(store):
        say(f"tune:{sampled}; scores are those of the sample")
    say(f"tune: study {tuning.study.study_name}: {n_known} of {n_trials} trials are there; {', '.join(tuning.space)}")
    started = time.monotonic()
    try:
        with on_interrupt(context.stop.set):  # no write to the storage is cut in two
            at_once = batch_size if entry_of(base.model).is_network else 1
            _run_trials(tuning, n_trials, at_once, context)
            n_new = len(finished_trials(tuning.study)) - n_known
            say(f"tune: {_summary(tuning)}; {n_new} trials in {time.monotonic() - started:.0f} s")
            confirmed = confirm(tuning, context)
            ensemble = ensemble_of_trials(tuning, context)
    except ENDED_EARLY:
        _write(tuning, [], None)
        raise
    return _write(tuning, confirmed, ensemble)


def _run_trials(tuning: Tuning, n_trials: int, batch_size: int, context: FitContext) -> None:
    """Train trials up to the total, with a bar of what is done."""
    study, started, shown_at = tuning.study, time.monotonic(), 0.0
    with progress_bar("tune") as update:

        def show(share_of_batch: float) -> None:
            nonlocal shown_at
            if share_of_batch and time.monotonic() - shown_at < SHOW_EVERY_S:
                return
            shown_at = time.monotonic()
            done = len(finished_trials(study))
            in_batch = min(batch_size, n_trials - done)
            rate = tuner.member_epochs / (shown_at - started)
            text = f", {rate:.0f} network epochs/s" if rate else ""
            update(min(1.0, (done + share_of_batch * in_batch) / n_trials), _summary(tuning) + text)

        def on_progress(share: float, _: Sequence[EpochScores]) -> None:
            if share < 1.0:
                show(share)

        tuner = tuning.tuner(replace(context, on_progress=on_progress))

        def go_on() -> bool:
            show(0.0)
            return True

        tuner.run(n_trials, batch_size, go_on)


def _summary(tuning: Tuning) -> str:
    metric, trials = tuning.store.spec.metric, finished_trials(tuning.study)
    states = [trial.state for trial in trials]
    best = best_trials(tuning.study, tuning.store.spec.scorer, 1)
    shown = f"best {metric} {best[0].value:.5f} (trial {best[0].number})" if best else "none complete yet"
    n_pruned, n_failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    return f"{len(trials)} trials, {n_pruned} pruned, {n_failed} failed, {shown}"


def _write(tuning: Tuning, confirmed: list[Confirmed], ensemble: Ensemble | None) -> Path:
    """`trials.parquet`, `importances.parquet`, `best.json`, `study.html`.

    The single configuration is the best of `confirmed` (the default comes first there), or of the trials; the
    ensemble replaces it where its nested estimate is clearly better.
    """
    study, store, metric = tuning.study, tuning.store, tuning.store.spec.scorer
    path = tuning.folder / "best.json"
    for name, table in zip(TABLES, (trial_table(study, tuning.space), importances(study)), strict=True):
        files.write_parquet(tuning.folder / name, table)
    best = best_trials(study, metric, 1)
    if not best:
        say("tune: no trial is complete yet")
        return path
    config, score = tuning.config_of(best[0]), float(best[0].value or 0.0)
    confirmation = compared = None
    if confirmed:
        config, score, confirmation = confirmed_choice(tuning, confirmed)
    config = as_preset(config, f"the best of {len(finished_trials(study))} trials{_sampled(store)}")
    if ensemble is not None:
        compared = comparison(tuning, ensemble)
        if compared.is_chosen:
            config, score = as_ensemble(tuning.base, ensemble), ensemble.selection.score
    result = TuningResult(
        study=study.study_name,
        n_trials=len(finished_trials(study)),
        metric=metric.name,
        cv_score=score,
        n_train_rows=len(store.train_rows),
        is_of_all_rows=not _sampled(store),
        confirmation=confirmation,
        ensemble=compared,
        config=config,
        features=store.manifest.fingerprint,
        is_sample=store.is_sample,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    result.write(path)
    write_plots(study, tuning.folder / "study.html", metric.name)
    return path


def _sampled(store: FeatureStore) -> str:
    """What to tell of a sample of the rows; nothing of all."""
    n_seen, n_all = len(store.train_rows), store.manifest.n_train_rows
    return "" if n_seen == n_all else f" on a sample of {n_seen} of {n_all} train rows"
