"""Train the trials of a study: networks in packs with pruning, other models one by one.

Knows studies and fits; knows nothing of files. All trials share folds, initial weights and shuffles, so that they
differ by their parameters alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import TrainingError
from pipeline.base.interruption import Stopped
from pipeline.base.progress import say
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.metrics import Metric
from pipeline.models.base import FitContext
from pipeline.models.networks.model import Failed
from pipeline.models.registry import entry_of
from pipeline.scoring.cross_validation import CVResult, cross_validate
from pipeline.scoring.together import Together
from pipeline.tuning.ownership import Ownership, tell_if_mine
from pipeline.tuning.pruning import note_fold_scores
from pipeline.tuning.study import REASON, RUNGS, finished_trials, suggest, with_values

FOLD_SCORES, OOF = "fold_scores", "oof"  # user attributes of complete trials; the sha256 of the stored prediction
WAIT_S = 1.0
WAITING = "tune: waiting for the trials of other processes"
SILENT = "tune: another process is silent; waiting until it finishes its trials or can be replaced"


@dataclass
class Tuner:
    """Trains batches of trials of one study."""

    study: optuna.Study
    ownership: Ownership
    space: Mapping[str, SpaceEntry]
    base: RunConfig
    metric: Metric
    problem_of: Callable[[RunConfig], Problem]
    splits: Sequence[Split]
    context: FitContext
    keep_oof: Callable[[int, FloatArray], str]  # trial number, out-of-fold prediction -> sha256 of the file
    sleep: Callable[[float], None] = time.sleep
    epochs_of: dict[int, int] = field(default_factory=dict)  # trial -> epochs that this process has trained
    _together: Together | None = None

    @property
    def member_epochs(self) -> int:
        """Number of network epochs that this process has trained."""
        return len(self.splits) * sum(self.epochs_of.values())

    def run(self, n_trials: int, batch_size: int, go_on: Callable[[], bool]) -> None:
        """Train until the study has `n_trials` finished trials, or `go_on`, called after every batch, returns False.

        Trials of killed processes do not count; their values are proposed again. Waits for the trials of other
        processes, until they are finished or their process is known to be dead. Raises Stopped when stopped; the
        trials of the batch are then given back.
        """
        said: set[str] = set()
        with self.ownership.beating():
            while True:
                if self.context.stop.is_set():
                    raise Stopped
                if trials := self._take(n_trials, batch_size):
                    self._train(trials)
                    if not go_on():
                        return
                elif len(finished_trials(self.study)) >= n_trials:
                    return
                else:
                    if (text := SILENT if self.ownership.has_silent_others() else WAITING) not in said:
                        say(text)
                        said.add(text)
                    self.sleep(WAIT_S)

    def _take(self, n_trials: int, batch_size: int) -> list[Trial]:
        """Start up to a batch of trials, as many as the total has room for; no other process does so meanwhile."""
        while True:
            trials: list[Trial] = []
            try:
                with self.ownership.turn() as is_held:
                    self.ownership.reap()
                    running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                    n_asked = len(finished_trials(self.study)) + len(running)
                    n_rest = batch_size - n_asked % batch_size  # of a batch that a kill cut short
                    for _ in range(min(n_rest, n_trials - n_asked)):
                        trials.append(self.study.ask())
                        self.ownership.take(trials[-1])
                    if is_held():
                        return trials
            except BaseException:
                self.ownership.give_back(trials)
                raise
            self.ownership.give_back(trials)  # a server has restarted: another process may have counted them, too

    def _train(self, trials: list[Trial]) -> None:
        configs: dict[int, RunConfig] = {}
        try:
            for trial in trials:
                with contextlib.suppress(UpdateFinishedTrialError):  # another process took the trial over
                    configs[trial.number] = self._proposed(trial)
            new = [trial for trial in trials if trial.number in configs and not self._is_known(trial)]
            train = self._train_together if entry_of(self.base.model).is_network else self._train_one_by_one
            train(new, [configs[trial.number] for trial in new])
        except BaseException:
            self.ownership.give_back(trials)
            raise

    def _proposed(self, trial: Trial) -> RunConfig:
        """Return the configuration with the values that the study proposes for the trial."""
        values = suggest(trial, self.space)
        self.ownership.note_proposed(trial)
        return with_values(self.base, values)

    def _is_known(self, trial: Trial) -> bool:
        """Tell the result of a complete trial with the same values, if there is one, instead of training again."""
        complete: list[FrozenTrial] = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        twin = next((other for other in complete if other.params == trial.params), None)
        if twin is None or not trial.params:
            return False
        with contextlib.suppress(UpdateFinishedTrialError):  # another process took the trial over
            trial.set_user_attr(REASON, f"same values as trial {twin.number}")
            trial.set_user_attr(FOLD_SCORES, twin.user_attrs.get(FOLD_SCORES, []))
            tell_if_mine(self.study, trial, values=twin.value)
        return True

    def _train_one_by_one(self, trials: Sequence[Trial], configs: Sequence[RunConfig]) -> None:
        for trial, config in zip(trials, configs, strict=True):
            try:
                found = cross_validate(as_trial(config), self.problem_of, self.splits, self.context)
            except TrainingError as error:
                self._tell_failure(trial, error.message)
            else:
                self._tell(trial, found)

    def _train_together(self, trials: Sequence[Trial], configs: Sequence[RunConfig]) -> None:
        def should_prune(number: int, epoch: int, fold_scores: list[float]) -> bool:
            trial = trials[number]
            self.epochs_of[trial.number] = epoch
            try:
                note_fold_scores(trial, epoch, fold_scores)
                trial.report(float(np.mean(fold_scores)), epoch)
            except UpdateFinishedTrialError:  # silent for too long: another process took the trial over
                return True
            return trial.should_prune()

        if self._together is None:
            self._together = Together(self.problem_of, self.splits, self.context, self.base.seed)
        fits = self._together.fit(
            [as_trial(config, n_evaluations=RUNGS) for config in configs],
            should_prune=should_prune,
            may_prune=not isinstance(self.study.pruner, optuna.pruners.NopPruner),
        )
        for number, fit in fits:
            if isinstance(fit, CVResult):
                self.epochs_of[trials[number].number] = n_epochs(configs[number])
                self._tell(trials[number], fit)
            elif isinstance(fit, Failed):
                self._tell_failure(trials[number], fit.reason)
            else:
                tell_if_mine(self.study, trials[number], state=TrialState.PRUNED)

    def _tell_failure(self, trial: Trial, reason: str) -> None:
        try:
            trial.set_user_attr(REASON, reason)
        except UpdateFinishedTrialError:  # another process took the trial over
            return
        tell_if_mine(self.study, trial, state=TrialState.FAIL)

    def _tell(self, trial: Trial, found: CVResult) -> None:
        score, fold_scores = found.scores(self.metric)
        if not np.isfinite(score):
            self._tell_failure(trial, f"{self.metric.name} is {score}")
            return
        try:
            trial.set_user_attr(FOLD_SCORES, fold_scores)
            trial.set_user_attr(OOF, self.keep_oof(trial.number, found.oof_prediction))
        except UpdateFinishedTrialError:  # another process took the trial over
            return
        tell_if_mine(self.study, trial, values=score)


def n_epochs(config: RunConfig) -> int:
    """Number of epochs that a trial of this configuration trains; 1 for a model without epochs."""
    return int(config.params.get("epochs", 1))


def as_trial(config: RunConfig, *, n_seeds: int = 1, n_evaluations: int = 1) -> RunConfig:
    """Return the configuration as trials use it: no curves, early stopping, calibration or threshold."""
    params = config.params
    if entry_of(config.model).is_network:
        params = {**params, "evaluate_every": max(1, n_epochs(config) // n_evaluations), "patience": None}
    return config.model_copy(update={"params": params, "seeds": n_seeds, "calibration": "none", "threshold": "half"})
