"""Optuna study <-> packs: ask for a batch of trials, train trials x folds together, prune, tell.

Knows studies, configurations and packed fits; knows nothing of files but the study's storage. Every trial meets the
same folds, initial weights and shuffles, so that trials differ by their parameters alone.
"""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.config import RunConfig, SpaceEntry, set_value, validated
from pipeline.errors import SpecError, did_you_mean
from pipeline.folds import Split
from pipeline.metrics import Metric
from pipeline.models import model_params
from pipeline.models.base import FitContext, FloatArray, Problem
from pipeline.models.fitted_neural import FittedNeural
from pipeline.models.neural import Failed, NeuralParams, Pruned, fit_many
from pipeline.models.prepared import PreparedSplits, prepare_splits

OWNER, KILLED, REASON = "owner", "killed", "reason"  # user attributes of trials
RUNGS = 4  # evaluations of a trial, at which it may be pruned

SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=16
    ),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "halving": lambda epochs: optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, epochs // RUNGS)),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(
        min_resource=max(1, epochs // RUNGS), max_resource=epochs
    ),
    "median": lambda _: optuna.pruners.MedianPruner(n_startup_trials=16),
    "none": lambda _: optuna.pruners.NopPruner(),
}


def open_study(
    storage: str | Path, name: str, *, metric: Metric, sampler: str, pruner: str, epochs: int, seed: int
) -> tuple[optuna.Study, BaseStorage]:
    """The study called `name`, made if it is new, and its storage: a journal file's path or an Optuna URL."""
    if sampler not in SAMPLERS:
        raise SpecError(f"unknown sampler {sampler!r}", hint=did_you_mean(sampler, SAMPLERS))
    if pruner not in PRUNERS:
        raise SpecError(f"unknown pruner {pruner!r}", hint=did_you_mean(pruner, PRUNERS))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if isinstance(storage, Path):
        storage.parent.mkdir(parents=True, exist_ok=True)
        backend: BaseStorage = JournalStorage(JournalFileBackend(str(storage)))
    else:
        backend = optuna.storages.get_storage(storage)
    known = {summary.study_name for summary in optuna.study.get_all_study_summaries(backend)}
    return optuna.create_study(
        storage=backend,
        study_name=name,
        # a second process must not draw the random start of the first again
        sampler=SAMPLERS[sampler](seed + os.getpid() if name in known else seed),
        pruner=PRUNERS[pruner](epochs),
        direction="maximize" if metric.greater_is_better else "minimize",
        load_if_exists=True,
    ), backend


def suggest(trial: Trial, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """One value for every entry whose conditions hold, in the order of the space."""
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if any(values.get(other) != wanted for other, wanted in entry.when.items()):
            continue
        if entry.choices is not None:  # as JSON: a storage keeps plain values only
            values[name] = json.loads(trial.suggest_categorical(name, [json.dumps(c) for c in entry.choices]))
            continue
        assert entry.low is not None
        assert entry.high is not None
        if entry.whole:
            values[name] = trial.suggest_int(name, int(entry.low), int(entry.high), log=entry.log)
        else:
            values[name] = trial.suggest_float(name, entry.low, entry.high, log=entry.log)
    return values


def with_values(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The configuration with a trial's values in it. Raises SpecError for a name that is no key of a run."""
    raw = json.loads(base.model_dump_json())
    for name, value in values.items():
        set_value(raw, name, value)
    return validated(RunConfig, raw, where="search space")


@dataclass
class Tuner:
    """Trains batches of trials of one study."""

    study: optuna.Study
    storage: BaseStorage
    space: Mapping[str, SpaceEntry]
    base: RunConfig
    metric: Metric
    problem_of: Callable[[RunConfig], Problem]
    splits: Sequence[Split]
    context: FitContext
    keep_oof: Callable[[int, FloatArray], None]  # trial number, out-of-fold prediction
    _prepared: dict[str, tuple[Problem, PreparedSplits]] = field(default_factory=dict)

    def run(self, n_trials: int, batch_size: int, after_batch: Callable[[], None]) -> None:
        """Go on until the study has `n_trials` finished trials; killed ones do not count and are asked for again.

        Raises KeyboardInterrupt when stopped; the trials of the batch are then given back.
        """
        while True:
            self._reap()
            n_left = n_trials - self._n_finished() - self._n_running()
            if n_left <= 0:
                return
            trials = [self.study.ask() for _ in range(min(batch_size, n_left))]
            owner = f"{socket.gethostname()}:{os.getpid()}"
            for trial in trials:
                trial.set_user_attr(OWNER, owner)
            try:
                self._train(trials, [with_values(self.base, suggest(trial, self.space)) for trial in trials])
            except BaseException:
                self._give_back(trials)
                raise
            after_batch()

    def _train(self, trials: Sequence[Trial], configs: Sequence[RunConfig]) -> None:
        groups: dict[str, list[int]] = {}
        params = [self._params(config) for config in configs]
        for number, config in enumerate(configs):
            groups.setdefault(_data_key(config, params[number]), []).append(number)
        for key, numbers in groups.items():
            problem, prepared = self._data(key, configs[numbers[0]], params[numbers[0]])

            def should_prune(
                number: int, epoch: int, fold_scores: list[float], numbers: Sequence[int] = numbers
            ) -> bool:
                trial = trials[numbers[number]]
                trial.report(float(np.mean(fold_scores)), epoch)
                return trial.should_prune()

            fits = fit_many(
                [params[number] for number in numbers],
                problem,
                self.splits,
                prepared,
                seed=self.base.seed,
                n_seeds=1,
                context=self.context,
                should_prune=should_prune,
            )
            for number, fit in zip(numbers, fits, strict=True):
                self._tell(trials[number], fit, problem, prepared)

    def _tell(
        self, trial: Trial, fit: FittedNeural | Failed | Pruned, problem: Problem, prepared: PreparedSplits
    ) -> None:
        if isinstance(fit, Failed):
            trial.set_user_attr(REASON, fit.reason)
            self.study.tell(trial, state=TrialState.FAIL)
        elif isinstance(fit, Pruned):
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            oof = oof_prediction(fit, prepared, self.splits, len(problem.target))
            rows = np.concatenate([split.valid_rows for split in self.splits])
            scores = [self.metric(problem.target[s.valid_rows], oof[s.valid_rows]) for s in self.splits]
            trial.set_user_attr("fold_scores", scores)
            self.keep_oof(trial.number, oof)
            self.study.tell(trial, self.metric(problem.target[rows], oof[rows]))

    def _params(self, config: RunConfig) -> NeuralParams:
        params = model_params(config.model, config.params, where="search space")
        assert isinstance(params, NeuralParams)
        return params.model_copy(update={"evaluate_every": max(1, params.epochs // RUNGS), "patience": None})

    def _data(self, key: str, config: RunConfig, params: NeuralParams) -> tuple[Problem, PreparedSplits]:
        if key not in self._prepared:
            if len(self._prepared) > 4:  # tables of feature steps seen before; the oldest goes
                self._prepared.pop(next(iter(self._prepared)))
            problem = self.problem_of(config)
            prepared = prepare_splits(
                problem,
                self.splits,
                scale_target=params.scales_target,
                seed=self.base.seed,
                device=self.context.device,
            )
            self._prepared[key] = problem, prepared
        return self._prepared[key]

    def _reap(self) -> None:
        """Give back the trials of processes on this machine that are no more."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            host, _, pid = str(trial.user_attrs.get(OWNER, "")).rpartition(":")
            if host == socket.gethostname() and not _is_alive(int(pid)):
                self._fail_and_enqueue(trial.number, trial.params)

    def _give_back(self, trials: Sequence[Trial]) -> None:
        running = {t.number for t in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
        for trial in trials:
            if trial.number in running:
                self._fail_and_enqueue(trial.number, trial.params)

    def _fail_and_enqueue(self, number: int, params: dict[str, Any]) -> None:
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self.storage.set_trial_user_attr(trial_id, KILLED, True)
        self.study.tell(number, state=TrialState.FAIL)
        if params:
            self.study.enqueue_trial(params)

    def _n_finished(self) -> int:
        return len(finished_trials(self.study))

    def _n_running(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, pruned, or failed for a reason of their own."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [t for t in study.get_trials(deepcopy=False, states=states) if not t.user_attrs.get(KILLED)]


def best_trials(study: optuna.Study, metric: Metric, n_best: int) -> list[FrozenTrial]:
    """The complete trials with the best scores, best first."""
    complete = [t for t in study.get_trials(states=(TrialState.COMPLETE,)) if t.value is not None]
    return sorted(complete, key=lambda t: t.value or 0.0, reverse=metric.greater_is_better)[:n_best]


def values_of(trial: FrozenTrial, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """A stored trial's values, choices decoded."""
    return {
        name: json.loads(value) if name in space and space[name].choices is not None else value
        for name, value in trial.params.items()
    }


def oof_prediction(fitted: FittedNeural, prepared: PreparedSplits, splits: Sequence[Split], n_rows: int) -> FloatArray:
    """(rows, ...) each valid row predicted by its own fold's members; NaN for rows no fold validates."""
    parts = {
        fold: fitted.predict_encoded({fold: prepared.data.x[fold, split.valid_rows]})
        for fold, split in enumerate(splits)
    }
    oof = np.full((n_rows, *parts[0].shape[1:]), np.nan)
    for fold, split in enumerate(splits):
        oof[split.valid_rows] = parts[fold]
    return oof


def default_values(base: RunConfig, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """The untuned configuration as a trial's stored values, for the entries whose range or choices hold its value."""
    params = model_params(base.model, base.params, where=f"preset {base.preset}")
    values: dict[str, Any] = {}
    for name, entry in space.items():
        table, _, key = name.rpartition(".")
        value = getattr(getattr(base, table) if table not in ("", "params") else params, key, None)
        value = list(value) if isinstance(value, tuple) else value
        if entry.choices is not None:
            if value in entry.choices:
                values[name] = json.dumps(value)
        elif isinstance(value, int | float) and (entry.low or 0.0) <= value <= (entry.high or 0.0):
            values[name] = value
    return values


def score_on(
    config: RunConfig, problem: Problem, metric: Metric, splits: Sequence[Split], seed: int, context: FitContext
) -> float:
    """The configuration's `cv_score` on some folds, one network a fold; NaN when it breaks down."""
    params = model_params(config.model, config.params, where="trial")
    assert isinstance(params, NeuralParams)
    prepared = prepare_splits(problem, splits, scale_target=params.scales_target, seed=seed, device=context.device)
    silent = params.model_copy(update={"evaluate_every": params.epochs, "patience": None})
    (fit,) = fit_many([silent], problem, splits, prepared, seed=seed, n_seeds=1, context=context)
    if not isinstance(fit, FittedNeural):
        return float("nan")
    rows = np.concatenate([split.valid_rows for split in splits])
    return metric(problem.target[rows], oof_prediction(fit, prepared, splits, len(problem.target))[rows])


def _data_key(config: RunConfig, params: NeuralParams) -> str:
    """Equal for configurations that train on the same encoded tables."""
    return json.dumps(
        [config.features.model_dump(), config.scope, config.target_transform, params.scales_target], sort_keys=True
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
