"""Seeds a sampler for each trial, so that the state of a study alone decides what it proposes next.

Knows Optuna's samplers; must not know which one it seeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from pipeline.base.seeds import derive_seed
from pipeline.tuning.ownership import ordinals, without_killed


class SeededSampler(BaseSampler):
    """Proposes each trial with a sampler of its own, seeded by the seed of the study and the trial's ordinal.

    A sampler that lived as long as its process would propose other values after a kill. Processes that share a study
    need no seeds of their own, since no two trials have the same ordinal.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._of_trial: dict[int, tuple[BaseSampler, int]] = {}  # trial that is not finished -> its ordinal

    def _parts(self, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, optuna.Study, FrozenTrial]:
        """Return the trial's sampler, and what it may see: study and trial as if none had been killed."""
        if trial.number not in self._of_trial:
            ordinal = ordinals(study)[trial.number]
            self._of_trial[trial.number] = self._make(derive_seed(self._seed, "trial", ordinal) % 2**32), ordinal
        sampler, ordinal = self._of_trial[trial.number]
        if isinstance(study.pruner, HyperbandPruner):  # the study is one bracket, which cannot be copied
            return sampler, study, trial
        seen = copy.copy(trial)
        seen.number = ordinal
        return sampler, without_killed(study), seen

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare a trial."""
        sampler, study, trial = self._parts(study, trial)
        sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is sampled jointly."""
        sampler, study, trial = self._parts(study, trial)
        return sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample jointly."""
        sampler, study, trial = self._parts(study, trial)
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample one parameter."""
        sampler, study, trial = self._parts(study, trial)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Store what the sampler keeps of a finished trial."""
        sampler, seen_study, seen = self._parts(study, trial)
        sampler.after_trial(seen_study, seen, state, values)
        del self._of_trial[trial.number]
