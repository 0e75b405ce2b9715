"""Small problems of every task, and every model but the networks with parameters that make it quick."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.config.types import Role
from pipeline.metrics import METRICS, Task
from pipeline.models.base import Model
from pipeline.models.registry import MODELS, entry_of, model_params

TASKS: tuple[Task, ...] = ("regression", "binary", "multiclass")
PRETRAINED = [name for name, entry in MODELS.items() if entry.is_pretrained]  # have laws of their own
ARRAY_MODELS = [name for name, entry in MODELS.items() if not entry.is_network and name not in PRETRAINED]
LEARNERS = [name for name in ARRAY_MODELS if name != "text_linear"]  # see one dense matrix
QUICK: dict[str, dict[str, Any]] = {  # of those that take long
    "mlp": {"epochs": 3},
    "elastic_net": {"l1_shares": [0.5]},
    "svm": {"gammas": [0.1], "penalties": [1.0, 10.0]},
    "random_forest": {"n_trees": 10},
    "extra_trees": {"n_trees": 10},
    "histogram_boosting": {"max_rounds": 15, "lr": 0.2, "max_features": 0.5},
    "lightgbm": {"max_rounds": 15, "lr": 0.2},
    "xgboost": {"max_rounds": 15, "lr": 0.2},
    "catboost": {"max_rounds": 15, "lr": 0.2},
}
EXTRA = [name for name in ARRAY_MODELS if MODELS[name].package]
STEPS = FeatureSteps(rare_min_count=2, text_parts=True, key_target_means=1000, ordered_mapping=True)


def default_model(name: str, params: dict[str, Any]) -> Model:
    """The model with its defaults overridden by `params`."""
    return entry_of(name).make(model_params(name, params, where="test"))


def quick(name: str, **params: Any) -> Model:
    """The model with few rounds and trees; skips where its library is not installed."""
    package = MODELS[name].package
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{name} is not installed: pip install -e '.[boosting]'")
    return default_model(name, {**QUICK.get(name, {}), **params})


def make_problem(task: Task, n_train: int = 90, n_test: int = 15, **changes: Any) -> Problem:
    """Numbers with gaps, categories, an ordered column, and texts; the target follows area, rooms and zone."""
    generator = np.random.default_rng(5)
    n_rows = n_train + n_test
    area = pd.Series(generator.normal(10, 3, n_rows)).mask(generator.random(n_rows) < 0.1)
    zone = pd.Series(generator.choice(["A", "B", "C"], n_rows), dtype="str").mask(generator.random(n_rows) < 0.1)
    rooms = generator.integers(1, 9, n_rows).astype(np.float64)
    frame = pd.DataFrame(
        {
            "area": area,
            "rooms": rooms,
            "zone": zone,
            "qual": pd.Series(generator.choice(["low", "mid", "high"], n_rows), dtype="str"),
            "cabin": [f"{generator.choice(['X', 'Y'])}/{i % 60}" for i in range(n_rows)],
        }
    ).astype({"cabin": "str"})
    signal = area.fillna(10.0).to_numpy() + 2.0 * rooms + 3.0 * (zone == "A") + generator.normal(0, 0.5, n_rows)
    roles: dict[str, Role] = {
        "area": "number",
        "rooms": "number",
        "zone": "category",
        "qual": "ordered",
        "cabin": "text",
    }
    n_classes = {"regression": 0, "binary": 2, "multiclass": 3}[task]
    if task == "regression":
        target = np.exp(np.asarray(signal) / 10.0)
    else:
        target = np.asarray(pd.qcut(signal, n_classes, labels=False), dtype=np.float64)
    settings: dict[str, Any] = {
        "train": frame[:n_train],
        "test": frame[n_train:].reset_index(drop=True),
        "target": target[:n_train],
        "roles": roles,
        "ordered": {"qual": ["low", "mid", "high"]},
        "task": task,
        "n_classes": n_classes,
        "metric": METRICS["log_rmse" if task == "regression" else "log_loss"],
        "sample_weight": None,
        "features": STEPS,
        "scope": "train",
        "target_transform": "log" if task == "regression" else "none",
    }
    return Problem(**{**settings, **changes})


def make_splits(n_rows: int = 90, n_folds: int = 3) -> list[Split]:
    rows = np.arange(n_rows)
    return [Split(rows[rows % n_folds != fold], rows[rows % n_folds == fold]) for fold in range(n_folds)]
