"""One call of tuning: the features, the configuration that is varied, its search space and its study.

Knows studies, feature stores and the folder of a model's tuning; knows nothing of training or of `best.json`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import ArtifactError, SpecError, did_you_mean
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.store import FeatureStore
from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.config.types import NUMERIC
from pipeline.metrics import Metric
from pipeline.models.base import FitContext
from pipeline.models.registry import MODELS, load_search_space
from pipeline.tuning.ownership import Ownership
from pipeline.tuning.postgresql import PostgresStorage
from pipeline.tuning.storages import storage_errors
from pipeline.tuning.study import check_space, default_values, differences, open_study, values_of, with_values
from pipeline.tuning.tuner import OOF, Tuner, n_epochs
from pipeline.tuning.turns import backend_of, turn


@dataclass(frozen=True)
class TuneOptions:
    """How a study is run; `storage` is an Optuna URL, `n_rows` the size of a sample of the train rows."""

    n_trials: int = 100
    batch_size: int = 16
    sampler: str = "tpe"
    pruner: str = "halving"
    storage: str | None = None
    n_rows: int | None = None


@dataclass(frozen=True)
class Tuning:
    """An open study and what it tunes."""

    store: FeatureStore
    base: RunConfig
    metric: Metric  # of trial values
    space: dict[str, SpaceEntry]
    study: optuna.Study
    storage: BaseStorage
    folder: Path
    place: str | Path  # of the storage

    @property
    def oofs(self) -> Path:
        """The folder of the trials' out-of-fold predictions."""
        return self.folder / "oof" / self.study.study_name

    def keep_oof(self, number: int, oof: FloatArray) -> str:
        """Store a trial's out-of-fold prediction and return its sha256."""
        path = self.oofs / f"{number}.npy"
        files.write_npy(path, oof)
        return files.sha256_of(path)

    def has_oof(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Return whether the trial's out-of-fold prediction is on this machine."""
        return (self.oofs / f"{trial.number}.npy").exists()

    def oof_of(self, trial: optuna.trial.FrozenTrial) -> FloatArray | None:
        """Return a trial's stored out-of-fold prediction; None if it is broken, which is said."""
        path, recorded = self.oofs / f"{trial.number}.npy", trial.user_attrs.get(OOF)
        try:
            if recorded is not None and not files.is_unchanged(path, recorded):
                raise ArtifactError("was changed after it was written", where=str(path))
            return files.read_npy(path)
        except ArtifactError as error:
            say(f"tune: {error.where}: {error.what}; trial {trial.number} is trained again for the ensemble")
            return None

    def config_of(self, trial: optuna.trial.FrozenTrial) -> RunConfig:
        """Return the trial's configuration."""
        return with_values(self.base, values_of(trial, self.space))

    def ownership(self, context: FitContext) -> Ownership:
        """Return this process's part in the study."""
        ownership = Ownership(self.study, self.storage, stop=context.stop)
        if isinstance(backend := backend_of(self.storage), PostgresStorage):  # clocks of machines differ
            ownership.clock, ownership.up_since = lambda: backend.times()[0], lambda: backend.times()[1]
        return ownership

    def tuner(self, context: FitContext) -> Tuner:
        """Return what trains the study's trials."""
        of_study = (self.study, self.ownership(context), self.space, self.base, self.metric)
        return Tuner(*of_study, self.store.problem, self.store.splits, context, self.keep_oof)


def open_tuning(
    store: FeatureStore,
    base: RunConfig,
    *,
    metric: Metric | None = None,
    sampler: str = "tpe",
    pruner: str = "halving",
    storage: str | None = None,
    stop: threading.Event | None = None,
) -> Tuning:
    """Open the study of these features, this configuration and its model's search space; create it if there is none.

    `metric` replaces the competition's; `stop` ends the waiting for a server. Raises SpecError.
    """
    if base.parts:
        raise SpecError("an ensemble cannot be tuned", where=f"preset {base.preset}", hint="Tune a single model.")
    for model in store.spec.tune:
        if model not in MODELS:
            raise SpecError(f"unknown model {model!r}", where=f"[tune.{model}]", hint=did_you_mean(model, MODELS))
    folder = store.workspace.tuning(base.model)
    n_numbers = sum(role in NUMERIC for role in store.problem(base).roles.values())
    space = load_search_space(base.model, store.spec.task, store.spec.tune.get(base.model, {}), n_numbers=n_numbers)
    if not space:
        raise SpecError(
            f"the model {base.model!r} has no search space",
            where=f"[tune.{base.model}]",
            hint="Some models tune themselves inside every fit. To tune one anyway, give a range in the spec: "
            "[tune.MODEL.PARAMETER].",
        )
    check_space(base, space)
    other_metric = metric.name if metric is not None and metric.name != store.spec.metric else None
    made_of = dependencies.of_study(store.workspace.competition, base.model, store.inputs(base), space, other_metric)
    metric = metric or store.metric
    place = storage or folder / "study.log"
    study, backend = open_study(
        place,
        f"{store.workspace.competition}-{base.model}-{files.sha256_of_json(made_of)[:8]}",
        metric=metric,
        sampler=sampler,
        pruner=pruner,
        epochs=n_epochs(base),
        seed=base.seed,
        made_of=made_of,
        stop=stop,
    )
    with storage_errors(place), turn(study, "trials", stop):
        is_new = not study.get_trials(deepcopy=False)
        if is_new and (defaults := default_values(base, space)):
            study.enqueue_trial(defaults, skip_if_exists=True)
    if is_new and (changed := differences(study, backend)):
        say(f"tune: starting a new study; {changed}; the earlier trials stay in the storage")
    return Tuning(store, base, metric, space, study, backend, folder, place)
