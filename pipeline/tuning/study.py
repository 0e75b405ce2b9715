"""Optuna studies: samplers and pruners by name, search spaces, trials and their values.

Knows search spaces and configurations; knows nothing of how a trial is trained.
"""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.run import RunConfig, set_value
from pipeline.config.search_space import SpaceEntry
from pipeline.config.table import validated
from pipeline.metrics import Metric
from pipeline.models.run_configuration import resolved
from pipeline.tuning.ownership import check_seals, was_killed
from pipeline.tuning.pruning import HalvingPruner, WilcoxonFoldPruner
from pipeline.tuning.sampling import SeededSampler
from pipeline.tuning.storages import AT_OPENING, open_storage, storage_errors

NOT_TUNED = {"preset", "description", "model", "parts", "params", "final", "final_reason"}  # fields of a run
REASON = "reason"  # user attribute of trials: why it failed or was not trained
MADE_OF = "made_of"  # user attribute of studies: features, configuration and search space
RUNGS = 4  # evaluations of a trial at which it may be pruned

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
    "halving": lambda epochs: HalvingPruner(min_resource=max(1, epochs // RUNGS)),
    "hyperband": lambda epochs: optuna.pruners.HyperbandPruner(
        min_resource=max(1, epochs // RUNGS), max_resource=epochs
    ),
    "median": lambda _: optuna.pruners.MedianPruner(n_startup_trials=16),
    "wilcoxon": lambda _: WilcoxonFoldPruner(),
    "none": lambda _: optuna.pruners.NopPruner(),
}


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log of trials and its warnings about experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@quiet_optuna()
def open_study(
    storage: str | Path,
    name: str,
    *,
    metric: Metric,
    sampler: str,
    pruner: str,
    epochs: int,
    seed: int,
    made_of: Mapping[str, Any] | None = None,
    stop: threading.Event | None = None,
) -> tuple[optuna.Study, BaseStorage]:
    """Open or create the study called `name` in `storage`, a journal file's path or an Optuna URL.

    `made_of` is stored with a new study for `differences`; `stop` ends the waiting for a server that is away. Raises
    SpecError for an unknown sampler or pruner, ArtifactError for a storage that cannot be opened.
    """
    if sampler not in SAMPLERS:
        raise SpecError(f"unknown sampler {sampler!r}", hint=did_you_mean(sampler, SAMPLERS))
    if pruner not in PRUNERS:
        raise SpecError(f"unknown pruner {pruner!r}", hint=did_you_mean(pruner, PRUNERS))
    backend = open_storage(storage, stop)
    with storage_errors(storage, *AT_OPENING):
        study = _opened(backend, name, metric, dict(made_of or {}))
    study.sampler, study.pruner = SeededSampler(quiet_optuna()(SAMPLERS[sampler]), seed), PRUNERS[pruner](epochs)
    return study, backend


def _opened(backend: BaseStorage, name: str, metric: Metric, made_of: dict[str, Any]) -> optuna.Study:
    direction = StudyDirection.MAXIMIZE if metric.greater_is_better else StudyDirection.MINIMIZE
    try:
        study = optuna.create_study(storage=backend, study_name=name, direction=direction)
        study.set_user_attr(MADE_OF, made_of)
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=backend)
        check_seals(study)
    return study


def differences(study: optuna.Study, storage: BaseStorage) -> str:
    """Describe what has changed since the most similar earlier study in the storage; "" if there is none."""
    own = study.user_attrs.get(MADE_OF, {})
    others = [
        (summary.study_name, summary.user_attrs.get(MADE_OF, {}), summary.n_trials)
        for summary in optuna.study.get_all_study_summaries(storage)
        if summary.study_name != study.study_name
    ]
    kin = [one for one in others if one[1].keys() == own.keys() and one[1].get("for") == own.get("for") and one[2]]
    if not kin:
        return ""
    name, made_of, n_trials = min(reversed(kin), key=lambda one: sum(one[1][key] != own[key] for key in own))
    changed = []
    for key, value in own.items():
        if value != made_of[key]:
            is_table = isinstance(value, dict) and isinstance(made_of[key], dict)
            parts = sorted(k for k in value | made_of[key] if value.get(k) != made_of[key].get(k)) if is_table else []
            changed.append(f"{key} ({', '.join(parts)})" if parts else key)
    return f"changed since study {name} of {n_trials} trials: {'; '.join(changed)}" if changed else ""


def suggest(trial: Trial, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """Suggest a value for every entry whose conditions hold, in the order of the space."""
    values: dict[str, Any] = {}
    for name, entry in space.items():
        if any(values.get(other) != wanted for other, wanted in entry.when.items()):
            continue
        if entry.choices is not None:  # as JSON: storages accept plain values only
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
    """Return the configuration with a trial's values. Raises SpecError for a wrong name or value."""
    raw = json.loads(base.model_dump_json())
    for name, value in values.items():
        set_value(raw, name, value)
    return resolved(validated(RunConfig, raw, where="search space"), where="search space")


def check_space(base: RunConfig, space: Mapping[str, SpaceEntry]) -> None:
    """Raise SpecError unless every entry is a setting that can be tuned and its values are valid ones."""
    for name, entry in space.items():
        where = f"[tune.{base.model}.{name}]"
        if name.split(".")[0] in NOT_TUNED:
            raise SpecError(
                f"{name!r} cannot be tuned", where=where, hint="Tune parameters of the model or features.*."
            )
        ends = [int(end) if entry.whole else end for end in (entry.low, entry.high) if end is not None]
        for value in ends if entry.choices is None else entry.choices:
            try:
                with_values(base, {name: value})
            except SpecError as error:
                raise SpecError(error.what, where=where, hint=error.hint) from None


def default_values(base: RunConfig, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """Return the untuned configuration as a trial's stored values; values outside an entry's range are left out."""
    values: dict[str, Any] = {}
    for name, entry in space.items():
        table, _, key = name.rpartition(".")
        value = base.params.get(key) if table in ("", "params") else getattr(getattr(base, table), key, None)
        if entry.choices is not None:
            if value in entry.choices:
                values[name] = json.dumps(value)
        elif isinstance(value, int | float) and (entry.low or 0.0) <= value <= (entry.high or 0.0):
            values[name] = value
    return values


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete, pruned and failed trials, without those of killed processes."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [trial for trial in study.get_trials(deepcopy=False, states=states) if not was_killed(trial)]


def best_trials(study: optuna.Study, metric: Metric, n_best: int) -> list[FrozenTrial]:
    """Return the best complete trials, best first, without repeated values."""
    complete = {
        json.dumps(t.params, sort_keys=True): t
        for t in reversed(study.get_trials(states=(TrialState.COMPLETE,)))  # keeps the first of equal trials
        if t.value is not None
    }
    ordered = sorted(complete.values(), key=lambda t: t.number)
    return sorted(ordered, key=lambda t: float(metric.losses(t.value or 0.0)))[:n_best]


def values_of(trial: FrozenTrial, space: Mapping[str, SpaceEntry]) -> dict[str, Any]:
    """Return a stored trial's values, with choices decoded."""
    return {
        name: json.loads(value) if name in space and space[name].choices is not None else value
        for name, value in trial.params.items()
    }
