"""What a prediction goes by, measured on rows that were held."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.metrics import METRICS
from pipeline.report.compute.drivers import HeldRows, effect, permutation_importance, sizes
from tests.conftest import Toy


def held() -> list[HeldRows]:
    rng = np.random.default_rng(0)
    found = []
    for fold in range(3):
        frame = pd.DataFrame(
            {"x": rng.normal(size=200), "idle": rng.normal(size=200), "town": rng.choice(["a", "b"], 200)}
        )
        target = 2 * frame["x"].to_numpy() + (frame["town"] == "a").to_numpy()
        found.append(HeldRows(fold, frame, target, METRICS["rmse"]))
    return found


def predicted(frame: pd.DataFrame, _: int) -> np.ndarray:
    return 2 * frame["x"].to_numpy() + (frame["town"] == "a").to_numpy()


def test_columns_that_are_not_read_have_no_importance() -> None:
    groups = {"x": ["x"], "idle": ["idle"], "town": ["town"]}
    found = {one.name: one for one in permutation_importance(predicted, held(), groups, n_repeats=2)}
    assert found["idle"].loss == 0.0
    assert found["x"].loss > found["town"].loss > 0.0
    (both,) = permutation_importance(predicted, held(), {"both": ["x", "town"]}, n_repeats=2)
    assert both.loss > found["x"].loss
    assert next(iter(found)) == "x"
    assert found["x"].loss > 5 * found["x"].noise


def test_effects_are_those_of_the_function() -> None:
    def output(frame: pd.DataFrame, fold: int) -> np.ndarray:
        return predicted(frame, fold)[:, None]

    number = effect(output, held(), "x", is_number=True)
    assert number is not None
    (curve,), at = number.mean, np.array(number.at, dtype=float)
    assert np.diff(curve) == pytest.approx(2 * np.diff(at))
    level = effect(output, held(), "town", is_number=False)
    assert level is not None
    by_level = dict(zip(level.at, level.mean[0], strict=True))
    assert by_level["a"] - by_level["b"] == pytest.approx(1.0)


def test_few_rows_are_shuffled_often_and_many_are_sampled() -> None:
    assert sizes(891, 10) == (891, 5)
    assert sizes(10**6, 400) == (250, 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lightgbm", "xgboost", "catboost"])
def test_contributions_sum_to_the_prediction(toy: Toy, model: str) -> None:
    pytest.importorskip(model)
    trained = toy.run("train", "--model", model, "--set", "rounds=20", "--workers", "1")
    assert trained.exit_code == 0, trained.output
    result = toy.run("report")
    assert result.exit_code == 0, result.output
    assert "could not" not in result.output
    kept = json.loads(toy.workspace.page.with_name(f"drivers-{toy.only_run().name}.json").read_text())
    assert kept["booster"] == model
    for row in kept["rows"]:
        told = float(row["predicted"].replace(",", ""))
        assert sum(row["added"]) + row["rest"] == pytest.approx(np.log(told), abs=2e-4)
    page = toy.workspace.page.read_text()
    assert 'id="drivers"' in page
    assert "Why these rows are wrong" in page
