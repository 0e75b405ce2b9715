"""The registry: every model by name, with its parameters and defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Table, validated
from pipeline.errors import SpecError, did_you_mean
from pipeline.models.base import FittedModel, Model
from pipeline.models.fitted_neural import FittedNeural
from pipeline.models.neural import NeuralModel, NeuralParams


@dataclass(frozen=True)
class ModelEntry:
    """A registered model: what it is, its parameters' class, the defaults that differ from it, and how it is loaded."""

    description: str
    params: type[Table]
    defaults: Mapping[str, Any]
    make: Callable[[Any], Model]
    load: Callable[[Path], FittedModel]


MODELS: dict[str, ModelEntry] = {
    "linear": ModelEntry(
        "linear or softmax regression trained by gradient descent",
        NeuralParams,
        {"lr": 0.01, "epochs": 60, "schedule": "cosine", "weight_decay": 0.01},
        NeuralModel,
        FittedNeural.load,
    ),
    "mlp": ModelEntry(
        "fully connected network",
        NeuralParams,
        {"hidden_sizes": (128,), "dropout": 0.1, "lr": 2e-3, "epochs": 60, "schedule": "cosine", "weight_decay": 0.05},
        NeuralModel,
        FittedNeural.load,
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


def make_model(name: str, params: Mapping[str, Any], *, where: str) -> Model:
    """The model with its defaults overridden by `params`. Raises SpecError naming the wrong key."""
    return entry_of(name).make(model_params(name, params, where=where))
