"""The training side: batches of trials as packs, members that are pruned, results that are told.

Knows studies and packed fits; knows nothing of files. Every trial meets the same folds, initial weights and shuffles,
so that trials differ by their parameters alone.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import Trial, TrialState

from pipeline.config import RunConfig, SpaceEntry
from pipeline.folds import Split
from pipeline.metrics import Metric
from pipeline.models import model_params
from pipeline.models.base import FitContext, FloatArray, Problem
from pipeline.models.fitted_neural import FittedNeural
from pipeline.models.neural import Failed, NeuralParams, Pruned, fit_many
from pipeline.models.prepared import PreparedSplits, prepare_splits
from pipeline.tuning.study import KILLED, OWNER, REASON, RUNGS, finished_trials, suggest, with_values


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
            rows = np.sort(
                np.concatenate([split.valid_rows for split in self.splits])
            )  # the order the file is scored in
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
