"""What the steps of one call of tuning share: features, the configuration that is varied, its space, its study.

Knows studies, feature stores and the folder of a model's tuning; knows nothing of what trains or of `best.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.metrics import Metric
from pipeline.models.base import FitContext
from pipeline.models.registry import load_search_space
from pipeline.tuning.ownership import Ownership
from pipeline.tuning.study import default_values, differences, open_study, values_of, with_values
from pipeline.tuning.tuner import Tuner, n_epochs


@dataclass(frozen=True)
class Tuning:
    """One call of tuning."""

    store: FeatureStore
    base: RunConfig
    metric: Metric  # what a trial's value is
    space: dict[str, SpaceEntry]
    study: optuna.Study
    storage: BaseStorage
    folder: Path

    @property
    def oofs(self) -> Path:
        """Out-of-fold predictions of this study's trials."""
        return self.folder / "oof" / self.study.study_name

    def keep_oof(self, number: int, oof: FloatArray) -> None:
        """Keep the out-of-fold prediction of a trial."""
        files.write_npy(self.oofs / f"{number}.npy", oof)

    def config_of(self, trial: optuna.trial.FrozenTrial) -> RunConfig:
        """The configuration a trial stands for."""
        return with_values(self.base, values_of(trial, self.space))

    def tuner(self, context: FitContext) -> Tuner:
        """What trains the study's trials."""
        store = self.store
        ownership = Ownership(self.study, self.storage)
        return Tuner(
            self.study,
            ownership,
            self.space,
            self.base,
            self.metric,
            store.problem,
            store.splits,
            context,
            self.keep_oof,
        )


def open_tuning(
    store: FeatureStore,
    base: RunConfig,
    *,
    metric: Metric | None = None,
    sampler: str = "tpe",
    pruner: str = "halving",
    storage: str | None = None,
) -> Tuning:
    """The study of these features, this configuration and its model's search space: with another of them, another.

    `metric` stands in for the competition's. Raises SpecError.
    """
    if base.parts:
        raise SpecError("an ensemble cannot be tuned", where=f"preset {base.preset}", hint="Tune one configuration.")
    folder = store.workspace.tuning(base.model)
    n_numbers = sum(role == "number" for role in store.problem(base).roles.values())
    space = load_search_space(base.model, store.spec.task, store.spec.tune.get(base.model, {}), n_numbers=n_numbers)
    if not space:
        raise SpecError(
            f"the model {base.model!r} has no search space",
            where=f"[tune.{base.model}]",
            hint="Some models choose for themselves inside every fit; a spec's [tune.MODEL.PARAMETER] gives a range.",
        )
    made_of = {
        "for": f"{store.workspace.competition}, {base.model}",
        **store.inputs(base),
        "search space": {name: entry.model_dump(mode="json", exclude={"tasks"}) for name, entry in space.items()},
    }
    if metric is not None and metric.name != store.spec.metric:
        made_of["metric"] = metric.name
    metric = metric or store.spec.scorer
    study, backend = open_study(
        storage or folder / "study.log",
        f"{store.workspace.competition}-{base.model}-{files.sha256_of_json(made_of)[:8]}",
        metric=metric,
        sampler=sampler,
        pruner=pruner,
        epochs=n_epochs(base),
        seed=base.seed,
        made_of=made_of,
    )
    if not study.get_trials(deepcopy=False):
        if changed := differences(study, backend):
            say(f"tune: a new study begins; {changed}; what was finished there stays in the storage")
        if defaults := default_values(base, space):
            study.enqueue_trial(defaults, skip_if_exists=True)
    return Tuning(store, base, metric, space, study, backend, folder)
