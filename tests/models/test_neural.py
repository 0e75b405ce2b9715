"""Laws of the packed networks as models: what is stored predicts as what was trained, whatever it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config import FeatureSteps
from pipeline.folds import Split
from pipeline.metrics import METRICS
from pipeline.models import entry_of, make_model
from pipeline.models.base import FitContext, Problem

N_ROWS = 60
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plr": {"number_embedding": "plr"},
    "pbld": {"number_embedding": "pbld"},
    "category embedding": {"category_embedding": 3},
    "norm, residual": {"hidden_sizes": [8, 8], "layer_norm": True, "residual": True},
    "heads": {"heads": 3},
    "input scale, mish": {"input_scale": True, "activation": "mish"},
    "all": {"number_embedding": "pbld", "category_embedding": 2, "layer_norm": True, "heads": 2, "input_scale": True},
}


def make_problem(task: Any) -> Problem:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=N_ROWS),
            "year": rng.integers(1990, 2020, N_ROWS).astype(float),
            "town": pd.Series(rng.choice(["a", "b", "c"], N_ROWS), dtype="str"),
            "kind": pd.Series(np.where(np.arange(N_ROWS) < 6, "seldom", "often"), dtype="str"),
        }
    )
    value = frame["size"] + (frame["town"] == "a") + rng.normal(0, 0.1, N_ROWS)
    is_regression = task == "regression"
    target = value.to_numpy() if is_regression else np.digitize(value, [-0.5, 0.7]).astype(float)
    return Problem(
        train=frame,
        test=frame.head(5),
        target=target,
        roles={"size": "number", "year": "number", "town": "category", "kind": "category"},
        ordered={},
        task=task,
        n_classes=0 if is_regression else 3,
        metric=METRICS["rmse" if is_regression else "log_loss"],
        sample_weight=None,
        features=FeatureSteps(),
        scope="train",
        target_transform="none",
    )


SPLITS = [Split(np.arange(6, N_ROWS), np.arange(6)), Split(np.arange(0, 40), np.arange(40, N_ROWS))]  # one level unseen


@pytest.mark.parametrize("task", ["regression", "multiclass"])
@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
def test_a_stored_network_predicts_what_the_trained_one_does(extras: dict[str, Any], task: str, tmp_path: Path) -> None:
    problem = make_problem(task)
    params = {"hidden_sizes": [8], "epochs": 15, "batch_size": 16, "lr": 0.02, **extras}
    fitted = make_model("mlp", params, where="test").fit(problem, SPLITS, seed=1, n_seeds=2, context=FitContext())
    predicted = fitted.predict(problem.train, [0, 1])
    assert predicted.shape == ((N_ROWS,) if task == "regression" else (N_ROWS, 3))
    fitted.save(tmp_path)
    stored = entry_of("mlp").load(tmp_path)
    assert np.array_equal(stored.predict(problem.train, [0, 1]), predicted)
    floor = problem.metric(problem.target, problem.target.mean() + 0 * predicted) if task == "regression" else np.log(3)
    assert problem.metric(problem.target, predicted) < 0.8 * floor
    if task == "multiclass":
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0)
