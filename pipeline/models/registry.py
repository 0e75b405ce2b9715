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
from pipeline.models.entry import Cost, ModelEntry, Variant
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
    cost: Cost | None = None,
    variants: Mapping[str, Variant] | None = None,
    **facts: Any,
) -> ModelEntry:
    """`cost` is that of the plain configuration, if preset best may train it; `variants` are the others."""
    facts["variants"] = ({} if cost is None else {"": Variant(cost)}) | dict(variants or {})
    load = partial(FittedArrayModel.load, learner_class=learner, params_class=params)
    return ModelEntry(description, params, partial(ArrayModel, learner), load, is_seeded=learner.is_seeded, **facts)


_smooth = partial(_array_model, family="smooth")
_forest = partial(_array_model, family="forests", has_space=True)
_boosting = partial(_array_model, family="boosting", has_space=True)


def _quick(seconds: float, *overrides: str, column_share: str = "column_share") -> Variant:
    """Boosting in few large steps, for a table too large for the time."""
    cost = Cost(seconds, rows=0.6, columns=0.5, classes=0.9)
    return Variant(cost, ("lr=0.2", *overrides), column_share=column_share)


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
        variants={
            "": Variant(
                Cost(1.5, rows=0.9, columns=0.4),
                ("number_embedding=none", "hidden_sizes=[256]", "dropout=0.1", "weight_decay=0.05"),
            ),
            "pbld": Variant(
                Cost(7.0, rows=0.9, columns=0.7),
                ("number_embedding=pbld", "dropout=0.2"),
                for_classes=("number_embedding=pbld", "dropout=0.5"),  # a class says less per row than a number
            ),
        },
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
    "baseline": _smooth("mean, median or class frequencies: the score to beat", Baseline, NoParams, Cost(0.5)),
    "ridge": _smooth("linear or logistic regression, squared penalty", Ridge, LinearParams, Cost(2.0, rows=0.8)),
    "lasso": _smooth(
        "linear or logistic regression, absolute penalty",
        Lasso,
        LinearParams,
        Cost(2.0, classes_factor=12.0, most_rows=100_000),
    ),
    "elastic_net": _smooth(
        "linear or logistic regression, both penalties",
        ElasticNet,
        LinearParams,
        Cost(2.0, classes_factor=12.0, most_rows=100_000),
    ),
    "huber": _smooth("linear regression robust against outliers", Huber, LinearParams),
    "logistic": _smooth("logistic or softmax regression", Logistic, LinearParams),
    "kernel_ridge": _smooth(
        "ridge on radial kernels", KernelRidge, KernelParams, Cost(8.0, rows=0.9, most_rows=50_000)
    ),
    "svm": _smooth(
        "support vectors with a radial kernel",
        SupportVectors,
        KernelParams,
        Cost(9.0, rows=1.9, most_rows=5_000),
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
        variants={"": Variant(Cost(5.0, rows=1.0, columns=0.0, classes=0.5))},
    ),
    "random_forest": _forest(
        "trees on bootstrapped rows",
        RandomForest,
        ForestParams,
        Cost(12.0, rows=1.0, columns=0.0, classes=0.3),
        storage_package="skops",
    ),
    "extra_trees": _forest(
        "trees with random thresholds",
        ExtraTrees,
        ForestParams,
        Cost(11.0, rows=1.0, columns=0.0, most_rows=50_000, classes=0.3),
        storage_package="skops",
        defaults={"max_features": 0.5},
    ),
    "histogram_boosting": _boosting(
        "scikit-learn's gradient boosting",
        HistogramBoosting,
        HistogramParams,
        Cost(10.0, rows=0.7, classes=0.7),
        {"quick": _quick(2.0, "max_rounds=60", column_share="max_features")},
        storage_package="skops",
    ),
    "lightgbm": _boosting(
        "LightGBM (extra: boosting)",
        LightGBM,
        BoostingParams,
        Cost(5.0, rows=0.6, classes_factor=1.5, classes=0.7),
        {
            # if only few of many columns matter, few trees that use 30 % of the columns see them
            "all columns": Variant(
                Cost(3.5, rows=0.6, classes_factor=1.5, classes=0.7), ("column_share=1.0", "row_share=0.8", "lr=0.1")
            ),
            "quick": _quick(1.0, "rounds=60", "row_share=0.8", "max_leaves=31"),
        },
        package="lightgbm",
    ),
    "xgboost": _boosting(
        "XGBoost (extra: boosting)",
        XGBoost,
        BoostingParams,
        Cost(9.0, rows=0.6, classes_factor=2.0, classes=0.7),
        {"quick": _quick(1.5, "rounds=60", "row_share=0.8", "max_depth=6")},
        package="xgboost",
        uses_gpu=True,
    ),
    "catboost": _boosting(
        "CatBoost (extra: boosting)",
        CatBoost,
        BoostingParams,
        Cost(28.0, rows=0.3, classes_factor=0.7, classes=0.7),
        {"quick": _quick(2.0, "rounds=60", "row_share=0.8", "max_depth=7")},
        defaults={"one_hot_max": 30},
        package="catboost",
    ),
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
