"""The registry: every model by name, with its parameters and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.table import Table, validated
from pipeline.models.arrays.baselines import Baseline
from pipeline.models.arrays.boosting import BoostingParams, CatBoost, LightGBM, XGBoost
from pipeline.models.arrays.kernels import KernelParams, KernelRidge, NeighbourParams, Neighbours, SupportVectors
from pipeline.models.arrays.learners import Learner, NoParams
from pipeline.models.arrays.linear import ElasticNet, Huber, Lasso, LinearParams, Logistic, Ridge
from pipeline.models.arrays.model import ArrayModel, FittedArrayModel
from pipeline.models.arrays.trees import ExtraTrees, ForestParams, HistogramBoosting, HistogramParams, RandomForest
from pipeline.models.base import FittedModel, Model
from pipeline.models.networks.architectures import ConvNetParams, MLPParams
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import NeuralModel
from pipeline.nets.convolutional import ConvNet


@dataclass(frozen=True)
class ModelEntry:
    """A registered model: what it is, its parameters' class, the defaults that differ from it, and how it is loaded."""

    description: str
    params: type[Table]
    defaults: Mapping[str, Any]
    make: Callable[[Any], Model]
    load: Callable[[Path], FittedModel]


def _array_model(
    description: str, learner: type[Learner], params: type[Table], defaults: Mapping[str, Any] | None = None
) -> ModelEntry:
    load = partial(FittedArrayModel.load, learner_class=learner, params_class=params)
    return ModelEntry(description, params, defaults or {}, partial(ArrayModel, learner), load)


MODELS: dict[str, ModelEntry] = {
    "linear": ModelEntry(
        "linear or softmax regression trained by gradient descent",
        MLPParams,
        {"lr": 0.01, "epochs": 60, "schedule": "cosine", "weight_decay": 0.01},
        NeuralModel,
        FittedNeural.load,
    ),
    "mlp": ModelEntry(
        "fully connected network",
        MLPParams,
        {"hidden_sizes": (128,), "dropout": 0.1, "lr": 2e-3, "epochs": 60, "schedule": "cosine", "weight_decay": 0.05},
        NeuralModel,
        FittedNeural.load,
    ),
    "cnn": ModelEntry(
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
        NeuralModel,
        partial(FittedNeural.load, network_from_json=ConvNet.from_json),
    ),
    "baseline": _array_model("mean, median or shares of the classes: the floor", Baseline, NoParams),
    "ridge": _array_model("linear or logistic regression, squared penalty", Ridge, LinearParams),
    "lasso": _array_model("linear or logistic regression, absolute penalty", Lasso, LinearParams),
    "elastic_net": _array_model("linear or logistic regression, both penalties", ElasticNet, LinearParams),
    "huber": _array_model("linear regression robust against outliers", Huber, LinearParams),
    "logistic": _array_model("logistic or softmax regression", Logistic, LinearParams),
    "kernel_ridge": _array_model("ridge on radial kernels", KernelRidge, KernelParams),
    "svm": _array_model("support vectors with a radial kernel", SupportVectors, KernelParams),
    "neighbours": _array_model("mean of the nearest rows", Neighbours, NeighbourParams),
    "random_forest": _array_model("trees on bootstrapped rows", RandomForest, ForestParams),
    "extra_trees": _array_model("trees with random thresholds", ExtraTrees, ForestParams, {"max_features": 0.5}),
    "histogram_boosting": _array_model("scikit-learn's gradient boosting", HistogramBoosting, HistogramParams),
    "lightgbm": _array_model("LightGBM (extra: boosting)", LightGBM, BoostingParams),
    "xgboost": _array_model("XGBoost (extra: boosting)", XGBoost, BoostingParams),
    "catboost": _array_model("CatBoost (extra: boosting)", CatBoost, BoostingParams, {"one_hot_max": 30}),
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


def make_model(name: str, params: Mapping[str, Any], *, where: str) -> Model:
    """The model with its defaults overridden by `params`. Raises SpecError naming the wrong key."""
    return entry_of(name).make(model_params(name, params, where=where))
