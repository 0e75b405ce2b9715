"""Stage `tune`: an Optuna study over folds x trials -> `tuning/<model>/`: storage, trials, best.json, plots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch

from pipeline import artifacts
from pipeline.config import CompetitionSpec, RunConfig, SpaceEntry, load_search_space
from pipeline.errors import SpecError
from pipeline.folds import Split, assign_folds, splits_of
from pipeline.models.base import EpochScores, FitContext
from pipeline.problems import FeatureStore
from pipeline.progress import progress_bar, say
from pipeline.tuning import (
    Tuner,
    best_trials,
    default_values,
    finished_trials,
    open_study,
    score_on,
    values_of,
    with_values,
)
from pipeline.tuning.report import trial_table, write_plots

N_CONFIRMED = 5  # best trials that are scored again on other folds
N_REPEATS = 2  # other assignments of folds
TUNED = "tuned"  # preset name of the configuration that `best.json` holds


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

    Interrupted, it writes what it has, and raises KeyboardInterrupt.
    """
    folder = store.workspace.tuning(base.model)
    space = load_search_space(base.model, store.spec.task, store.spec.tune.get(base.model, {}))
    if not space:
        raise SpecError(f"the model {base.model!r} has no search space", where=f"[tune.{base.model}]")
    epochs = int(base.params.get("epochs", 40))
    study, backend = open_study(
        storage or folder / "study.log",
        f"{store.workspace.competition}-{base.model}-{store.fingerprint(base)[:8]}",
        metric=store.spec.scorer,
        sampler=sampler,
        pruner=pruner,
        epochs=epochs,
        seed=base.seed,
    )
    n_known = len(finished_trials(study))
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(default_values(base, space))
    say(f"tune: study {study.study_name}: {n_known} of {n_trials} trials are there; {', '.join(space)}")
    started = time.monotonic()
    with progress_bar("tune") as update:

        def show(share_of_batch: float) -> None:
            done = len(finished_trials(study))
            in_batch = min(batch_size, n_trials - done)
            update(min(1.0, (done + share_of_batch * in_batch) / n_trials), _summary(study, store.spec))

        def on_progress(share: float, _: Sequence[EpochScores]) -> None:
            if share < 1.0:
                show(share)

        tuner = Tuner(
            study,
            backend,
            space,
            base,
            store.spec.scorer,
            store.problem,
            store.splits,
            FitContext(device, n_workers, None, on_progress),
            lambda number, oof: artifacts.write_npy(folder / "oof" / f"{number}.npy", oof),
        )
        try:
            tuner.run(n_trials, batch_size, lambda: show(0.0))
        except KeyboardInterrupt:
            _write(store, base, study, space, folder, [])
            raise
    elapsed_s = time.monotonic() - started
    n_new = len(finished_trials(study)) - n_known
    say(f"tune: {_summary(study, store.spec)}; {n_new} trials in {elapsed_s:.0f} s")
    confirmed = _confirm(store, base, study, space, FitContext(device, n_workers))
    return _write(store, base, study, space, folder, confirmed)


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


def _confirm(
    store: FeatureStore, base: RunConfig, study: optuna.Study, space: dict[str, SpaceEntry], context: FitContext
) -> list[Confirmed]:
    """The untuned default, then the best trials, scored again on folds the study has not seen; [] without such."""
    fresh, metric = _fresh_splits(store), store.spec.scorer
    best = best_trials(study, metric, N_CONFIRMED)
    if not fresh or not best:
        return []
    say(f"tune: scoring the default and the {len(best)} best trials again on {len(fresh)} other cuts of the folds")
    tuned = [(with_values(base, values_of(trial, space)), float(trial.value or 0.0)) for trial in best]
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


def _fresh_splits(store: FeatureStore) -> list[list[Split]]:
    """Other folds of the same kind and number; none where the spec leaves no choice."""
    folds = store.spec.folds
    if folds.kind in ("time", "column", "file"):
        return []
    kind = "shuffled" if folds.kind == "contiguous" else folds.kind
    tables = _fold_columns(store)
    return [
        splits_of(
            assign_folds(
                folds.model_copy(update={"kind": kind, "seed": folds.seed + 1 + repeat}),
                store.train_rows["id"],
                store.target,
                classes=store.classes,
                columns=tables,
                folder=store.workspace.folder,
            ),
            is_time=False,
        )
        for repeat in range(N_REPEATS)
    ]


def _fold_columns(store: FeatureStore) -> pd.DataFrame:
    """The groups, read back from the raw files, where folds need them."""
    from pipeline.tables import load_tables

    return load_tables(store.workspace.raw, store.spec).fold_columns if store.spec.folds.group else pd.DataFrame()


def _summary(study: optuna.Study, spec: CompetitionSpec) -> str:
    trials = finished_trials(study)
    states = [trial.state.name for trial in trials]
    best = best_trials(study, spec.scorer, 1)
    shown = f"best {spec.metric} {best[0].value:.5f} (trial {best[0].number})" if best else "none complete yet"
    return f"{len(trials)} trials, {states.count('PRUNED')} pruned, {states.count('FAIL')} failed, {shown}"


def _write(
    store: FeatureStore,
    base: RunConfig,
    study: optuna.Study,
    space: dict[str, SpaceEntry],
    folder: Path,
    confirmed: list[Confirmed],
) -> Path:
    """`trials.parquet`, `best.json`, `study.html`; with `confirmed` (the default first) the best is theirs."""
    path, metric = folder / "best.json", store.spec.scorer
    artifacts.write_parquet(folder / "trials.parquet", trial_table(study, space))
    best = best_trials(study, metric, 1)
    if not best:
        say("tune: no trial is complete yet")
        return path
    config, score = with_values(base, values_of(best[0], space)), best[0].value
    confirmation: dict[str, Any] = {}
    if confirmed:
        default, *tried = confirmed
        finite = [one for one in tried if np.isfinite(one.fresh_mean)] or tried
        chosen = (max if metric.greater_is_better else min)(finite, key=lambda one: one.fresh_mean)
        config, score = chosen.config, chosen.tuned_score
        sign = 1.0 if metric.greater_is_better else -1.0
        lead = sign * (chosen.tuned_score - default.tuned_score)
        fresh_lead = sign * (chosen.fresh_mean - default.fresh_mean)
        confirmation = {
            "default": {"tuned_folds": default.tuned_score, "fresh_folds": default.fresh_scores},
            "chosen": {"tuned_folds": chosen.tuned_score, "fresh_folds": chosen.fresh_scores},
            "candidates": [{"tuned_folds": one.tuned_score, "fresh_folds": one.fresh_scores} for one in tried],
            "lead_on_tuned_folds": lead,
            "lead_on_fresh_folds": fresh_lead,
        }
        say(
            f"tune: one network a fold, {metric.name}: default {default.tuned_score:.5f} on the study's folds, "
            f"{default.fresh_mean:.5f} on others; chosen {chosen.tuned_score:.5f} and {chosen.fresh_mean:.5f}: "
            f"a lead of {lead:.5f}, and of {fresh_lead:.5f} on folds it has not seen"
        )
    epochs = int(config.params.get("epochs", 40))
    config = config.model_copy(
        update={
            "preset": TUNED,
            "description": f"the best of {len(finished_trials(study))} trials",
            "params": {**config.params, "evaluate_every": max(1, epochs // 8)},
        }
    )
    artifacts.write_json(
        path,
        {
            "study": study.study_name,
            "n_trials": len(finished_trials(study)),
            "metric": metric.name,
            "cv_score": score,
            "confirmation": _without_nan(confirmation),
            "config": config.model_dump(),
            "features": store.manifest["fingerprint"],
            "is_sample": store.is_sample,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    write_plots(study, folder / "study.html", metric.name)
    return path


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
