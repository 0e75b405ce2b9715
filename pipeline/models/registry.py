"""The registry: the one list of models, with the facts that stages, tuning and preset best need.

Knows models; must not know data, runs or studies. A new model is a module and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config import search_space
from pipeline.config.run import RunConfig
from pipeline.config.search_space import SpaceEntry
from pipeline.config.table import Table, validated
from pipeline.metrics import Task
from pipeline.models.arrays.baselines import Baseline
from pipeline.models.arrays.boosting import BoostingParams
from pipeline.models.arrays.catboost import CatBoost
from pipeline.models.arrays.kernels import KernelParams, KernelRidge, SupportVectors
from pipeline.models.arrays.learners import Learner, NoParams
from pipeline.models.arrays.lightgbm import LightGBM
from pipeline.models.arrays.linear import ElasticNet, Huber, Lasso, LinearParams, Logistic, Ridge
from pipeline.models.arrays.model import ArrayModel, FittedArrayModel
from pipeline.models.arrays.neighbours import NeighbourParams, Neighbours
from pipeline.models.arrays.trees import ExtraTrees, ForestParams, HistogramBoosting, HistogramParams, RandomForest
from pipeline.models.arrays.xgboost import XGBoost
from pipeline.models.base import FittedModel, Model
from pipeline.models.entry import ModelEntry
from pipeline.models.in_context.engine import Engine
from pipeline.models.in_context.fitted import FittedInContext
from pipeline.models.in_context.model import InContextModel, InContextParams
from pipeline.models.in_context.tabicl import TabICL
from pipeline.models.in_context.tabpfn import TabPFN
from pipeline.models.networks.architectures import ConvNetParams, MLPParams
from pipeline.models.networks.fitted import FittedNeural, StoredConvNets
from pipeline.models.networks.model import NeuralModel
from pipeline.models.texts import FittedTextModel, TextModel, TextParams


def _network(
    description: str,
    params: type[Table],
    defaults: Mapping[str, Any],
    load: Callable[[Path], FittedModel] = FittedNeural.load,
    **facts: Any,
) -> ModelEntry:
    return ModelEntry(description, params, NeuralModel, load, defaults, is_network=True, has_space=True, **facts)


def _array_model(
    description: str,
    learner: type[Learner],
    params: type[Table],
    **facts: Any,
) -> ModelEntry:
    load = partial(FittedArrayModel.load, learner_class=learner, params_class=params)
    return ModelEntry(description, params, partial(ArrayModel, learner), load, is_seeded=learner.is_seeded, **facts)


def _pretrained(description: str, engine: Engine) -> ModelEntry:
    return ModelEntry(
        description,
        InContextParams,
        partial(InContextModel, engine),
        partial(FittedInContext.load, engine=engine),
        family="pretrained",
        uses_gpu=True,
        package=engine.package,
        is_pretrained=True,
    )


_smooth = partial(_array_model, family="smooth")
_forest = partial(_array_model, family="forests", has_space=True)
_boosting = partial(_array_model, family="boosting", has_space=True)


MODELS: dict[str, ModelEntry] = {
    "linear": _network(
        "linear or softmax regression trained by gradient descent",
        MLPParams,
        {"lr": 0.01, "epochs": 60, "schedule": "cosine", "weight_decay": 0.01},
        family="lines",
    ),
    "mlp": _network(
        "fully connected network",
        MLPParams,
        {"hidden_sizes": (128,), "dropout": 0.1, "lr": 2e-3, "epochs": 60, "schedule": "cosine", "weight_decay": 0.05},
    ),
    "cnn": _network(
        "convolutional network for grey images, a column per pixel",
        ConvNetParams,
        {
            "dropout": 0.3,
            "lr": 4e-3,
            "weight_decay": 0.05,
            "schedule": "one_cycle",
            "batch_size": 128,
            "epochs": 12,
            "evaluate_every": 3,
        },
        partial(FittedNeural.load, stored_class=StoredConvNets),
        family="images",
    ),
    "baseline": _smooth("mean, median or class frequencies: the score to beat", Baseline, NoParams),
    "ridge": _smooth("linear or logistic regression, squared penalty", Ridge, LinearParams),
    "lasso": _smooth(
        "linear or logistic regression, absolute penalty",
        Lasso,
        LinearParams,
    ),
    "elastic_net": _smooth(
        "linear or logistic regression, both penalties",
        ElasticNet,
        LinearParams,
    ),
    "huber": _smooth("linear regression robust against outliers", Huber, LinearParams),
    "logistic": _smooth("logistic or softmax regression", Logistic, LinearParams),
    "kernel_ridge": _smooth("ridge on radial kernels", KernelRidge, KernelParams),
    "svm": _smooth(
        "support vectors with a radial kernel",
        SupportVectors,
        KernelParams,
        has_space=True,
    ),
    "neighbours": _smooth("mean of the nearest rows", Neighbours, NeighbourParams),
    "text_linear": ModelEntry(
        "linear or logistic regression on the TF-IDF of words and characters, beside the other columns",
        TextParams,
        TextModel,
        FittedTextModel.load,
        family="terms",
        is_seeded=False,
    ),
    "random_forest": _forest(
        "trees on bootstrapped rows",
        RandomForest,
        ForestParams,
        storage_package="skops",
    ),
    "extra_trees": _forest(
        "trees with random thresholds",
        ExtraTrees,
        ForestParams,
        storage_package="skops",
        defaults={"max_features": 0.5},
    ),
    "histogram_boosting": _boosting(
        "scikit-learn's gradient boosting",
        HistogramBoosting,
        HistogramParams,
        storage_package="skops",
    ),
    "lightgbm": _boosting(
        "LightGBM",
        LightGBM,
        BoostingParams,
        package="lightgbm",
    ),
    "xgboost": _boosting(
        "XGBoost (extra: boosting)",
        XGBoost,
        BoostingParams,
        package="xgboost",
        uses_gpu=True,
    ),
    "catboost": _boosting(
        "CatBoost (extra: boosting)",
        CatBoost,
        BoostingParams,
        defaults={"one_hot_max": 30},
        package="catboost",
    ),
    "tabicl": _pretrained("pretrained TabICL, which reads the train rows as context (extra: foundation)", TabICL()),
    "tabpfn": _pretrained("pretrained TabPFN, which reads the train rows as context (extra: foundation)", TabPFN()),
}


def entry_of(name: str) -> ModelEntry:
    """The entry called `name`. Raises SpecError."""
    if name not in MODELS:
        raise SpecError(f"unknown model {name!r}", hint=did_you_mean(name, MODELS))
    return MODELS[name]


def model_params(name: str, params: Mapping[str, Any], *, where: str) -> Table:
    """The model's defaults overridden by `params`. Raises SpecError naming the wrong key."""
    entry = entry_of(name)
    return validated(entry.params, {**entry.defaults, **params}, where=f"{where}, [params] of {name}")


def complete_params(name: str, params: Mapping[str, Any], *, where: str) -> Table:
    """The parameters of a resolved run configuration. Raises SpecError if any has no value."""
    entry = entry_of(name)
    if lacking := entry.params.model_fields.keys() - params.keys():
        raise SpecError(
            f"missing parameters: {', '.join(sorted(lacking))}",
            where=f"{where}, [params] of {name}",
            hint="`models.run_configuration.resolved` adds the defaults.",
        )
    return validated(entry.params, params, where=f"{where}, [params] of {name}")


def make_model(name: str, params: Mapping[str, Any], *, where: str) -> Model:
    """The model of a resolved run configuration. Raises SpecError."""
    return entry_of(name).make(complete_params(name, params, where=where))


def packages_of(config: RunConfig) -> list[str]:
    """Packages that the models of a run need and the other models do not."""
    entries = [entry_of(part.model) for _, part in config.weighted_parts]
    return sorted({name for entry in entries for name in (entry.package, entry.storage_package) if name})


def gains_from_gpus(config: RunConfig) -> bool:
    """Whether the run has fits that train on a GPU, so that a second GPU makes it faster."""
    entries = [entry_of(part.model) for _, part in config.weighted_parts]
    return any(entry.is_network or entry.uses_gpu for entry in entries)


def load_search_space(
    model: str, task: Task, own: Mapping[str, SpaceEntry], *, n_numbers: int = 0
) -> dict[str, SpaceEntry]:
    """The model's search space, updated by a spec's `own` entries; {} for a model without one. Raises SpecError.

    It depends on the task and the number of numeric columns.
    """
    text = ""
    if entry_of(model).has_space:
        text = resources.files("pipeline.models.spaces").joinpath(f"{model}.toml").read_text("utf-8")
    return search_space.parse_search_space(text, model, task, own, n_numbers=n_numbers)
