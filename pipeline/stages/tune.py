"""Stage `tune`: an Optuna study over folds x trials -> `tuning/<model>/`: storage, trials, best.json."""

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
from pipeline.tuning.agreement import agreed
from pipeline.tuning.confirmation import Confirmed, confirm, confirmed_choice, kept_confirmation
from pipeline.tuning.ensemble import Ensemble, as_ensemble, as_preset, comparison, ensemble_of_trials
from pipeline.tuning.report import importances, trial_table
from pipeline.tuning.session import TuneOptions, Tuning, open_tuning
from pipeline.tuning.storages import storage_errors
from pipeline.tuning.study import best_trials, finished_trials, quiet_optuna

SHOW_EVERY_S = 0.25
TABLES = ("trials.parquet", "importances.parquet")


@quiet_optuna()
def tune(store: FeatureStore, base: RunConfig, context: FitContext, options: TuneOptions) -> Path:
    """Continue the model's study until it has `n_trials` finished trials; return the path of `best.json`.

    A study belongs to its features (a sample of the train rows counts as other features), its preset and its search
    space. When interrupted, writes what it has and raises Stopped. Raises SpecError.
    """
    tuning = open_tuning(
        store, base, sampler=options.sampler, pruner=options.pruner, storage=options.storage, stop=context.stop
    )
    study, n_trials = tuning.study, options.n_trials
    n_known = len(finished_trials(study))
    if sampled := _sampled(store):
        say(f"tune:{sampled}; scores are those of the sample")
    say(f"tune: study {study.study_name}: {n_known} of {n_trials} trials are finished; {', '.join(tuning.space)}")
    if others := tuning.ownership(context).others():
        say(f"tune: other processes that take part: {', '.join(others)}")
    started = time.monotonic()
    with storage_errors(tuning.place):
        try:
            with on_interrupt(context.stop.set):  # no write to the storage is cut short
                _run_trials(tuning, n_trials, options.batch_size if entry_of(base.model).is_network else 1, context)
                n_new = len(finished_trials(study)) - n_known
                say(f"tune: {_summary(tuning)}; {n_new} trials in {time.monotonic() - started:.0f} s")
                result = _choose(tuning, context)
        except ENDED_EARLY:
            _write(tuning, _result(tuning, kept_confirmation(tuning), None))
            raise
        return _write(tuning, result)


def _choose(tuning: Tuning, context: FitContext) -> TuningResult | None:
    """Confirm the best trials and choose; the processes that share a database agree on what one of them finds."""

    def found() -> TuningResult | None:
        return _result(tuning, confirm(tuning, context), ensemble_of_trials(tuning, context))

    return found() if isinstance(tuning.place, Path) else agreed(tuning, found, context.stop)


def _run_trials(tuning: Tuning, n_trials: int, batch_size: int, context: FitContext) -> None:
    """Train trials up to the total and show their progress."""
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
    metric, states = tuning.store.metric, [trial.state for trial in finished_trials(tuning.study)]
    best = best_trials(tuning.study, metric, 1)
    shown = f"best {metric.name} {best[0].value:.5f} (trial {best[0].number})" if best else "none complete yet"
    n_pruned, n_failed = states.count(TrialState.PRUNED), states.count(TrialState.FAIL)
    return f"{len(states)} trials, {n_pruned} pruned, {n_failed} failed, {shown}"


def _result(tuning: Tuning, confirmed: list[Confirmed], ensemble: Ensemble | None) -> TuningResult | None:
    """Return what `best.json` holds: the ensemble if it is clearly better, otherwise the best of `confirmed`.

    Without any, that is the best trial; None without a complete trial.
    """
    study, store, metric = tuning.study, tuning.store, tuning.store.metric
    best = best_trials(study, metric, 1)
    if not best:
        say("tune: no trial is complete yet")
        return None
    config, score = tuning.config_of(best[0]), float(best[0].value or 0.0)
    confirmation = compared = None
    if confirmed:
        config, score, confirmation = confirmed_choice(tuning, confirmed)
    n_trials = len(finished_trials(study))
    config = as_preset(config, f"the best of {n_trials} trials{_sampled(store)}")
    if ensemble is not None:
        compared = comparison(tuning, ensemble)
        if compared.is_chosen:
            config, score = as_ensemble(tuning.base, ensemble), ensemble.selection.score
    return TuningResult(
        study=study.study_name,
        n_trials=n_trials,
        metric=metric.name,
        cv_score=score,
        n_train_rows=store.n_own_rows,
        is_of_all_rows=not _sampled(store),
        confirmation=confirmation,
        ensemble=compared,
        config=config,
        features=store.data_fingerprint(config),
        is_sample=store.is_sample,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write(tuning: Tuning, result: TuningResult | None) -> Path:
    """Write `trials.parquet`, `importances.parquet` and, if there is a result, `best.json`."""
    study, path = tuning.study, tuning.folder / "best.json"
    for name, table in zip(TABLES, (trial_table(study, tuning.space), importances(study)), strict=True):
        files.write_parquet(tuning.folder / name, table)
    if result is not None:
        result.write(path)
    return path


def _sampled(store: FeatureStore) -> str:
    """Describe the sample of the train rows; "" for all rows."""
    n_seen, n_all = store.n_own_rows, store.manifest.n_train_rows
    return "" if n_seen == n_all else f" on a sample of {n_seen} of {n_all} train rows"
