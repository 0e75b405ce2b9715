"""Laws of the metric table: the published numbers, the right direction, and no number from arrays that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from pipeline.metrics import DEFAULT_METRIC, METRICS

VALUE = [name for name, metric in METRICS.items() if metric.reads == "value"]
CLASS = [name for name, metric in METRICS.items() if metric.reads != "value"]

PRICES = hnp.arrays(np.float64, 7, elements=st.floats(1.0, 1e6))


def _probabilities(n_rows: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), generator.integers(0, n_classes, n_rows - n_classes)])
    return codes, generator.dirichlet(np.ones(n_classes), n_rows)


SKLEARN_VALUE: dict[str, Callable[[Any, Any], float]] = {
    "rmse": sk.root_mean_squared_error,
    "rmsle": sk.root_mean_squared_log_error,
    "log_rmse": lambda y, p: sk.root_mean_squared_error(np.log(y), np.log(p)),
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
}


@pytest.mark.slow
@given(y_true=PRICES, y_pred=PRICES)
def test_values_are_scored_as_scikit_learn_does(y_true: np.ndarray, y_pred: np.ndarray) -> None:
    for name, expected in SKLEARN_VALUE.items():
        if name != "r2" or np.ptp(y_true) > 1e-3:
            assert METRICS[name](y_true, y_pred) == pytest.approx(expected(y_true, y_pred), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_classes_are_scored_as_scikit_learn_does(n_classes: int, seed: int) -> None:
    codes, probability = _probabilities(60, n_classes, seed)
    label = probability.argmax(axis=1)
    is_binary = n_classes == 2
    auc = sk.roc_auc_score(codes, probability[:, 1] if is_binary else probability, multi_class="ovr")
    expected = {
        "accuracy": sk.accuracy_score(codes, label),
        "balanced_accuracy": sk.balanced_accuracy_score(codes, label),
        "roc_auc": auc,
        "log_loss": sk.log_loss(codes, probability),
        "brier": sk.brier_score_loss(codes, probability[:, 1] if is_binary else probability),
        "f1": sk.f1_score(codes, label) if is_binary else None,
        "f1_macro": sk.f1_score(codes, label, average="macro"),
        "f1_weighted": sk.f1_score(codes, label, average="weighted"),
        "quadratic_kappa": sk.cohen_kappa_score(codes, label, weights="quadratic"),
        "mcc": sk.matthews_corrcoef(codes, label),
    }
    assert expected.keys() == set(CLASS)
    for name, score in expected.items():
        if score is not None:
            assert METRICS[name](codes, probability) == pytest.approx(score, rel=1e-9), name


def test_values_computed_by_hand() -> None:
    assert METRICS["rmse"](np.array([1.0, 3.0]), np.array([1.0, 7.0])) == pytest.approx(math.sqrt(8.0))
    assert METRICS["mae"](np.array([1.0, 3.0]), np.array([1.0, 7.0])) == 2.0
    assert METRICS["log_rmse"](np.array([1.0, math.e]), np.array([1.0, math.e**3])) == pytest.approx(math.sqrt(2.0))
    assert METRICS["rmsle"](np.array([0.0]), np.array([math.e - 1.0])) == pytest.approx(1.0)
    assert METRICS["log_loss"](np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])) == pytest.approx(
        1.5 * math.log(2)
    )
    assert METRICS["balanced_accuracy"](np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 0]]) == 0.5


@pytest.mark.parametrize("wild", [-1e9, -1.0, 0.0, 0.5, 1.0])
def test_log_rmse_clamps_predictions_at_one(wild: float) -> None:
    assert METRICS["log_rmse"](np.array([math.e]), np.array([wild])) == pytest.approx(1.0)


def test_log_rmse_is_not_rmsle() -> None:
    y_true, y_pred = np.array([2.0, 5.0]), np.array([3.0, 4.0])
    assert METRICS["log_rmse"](y_true, y_pred) != pytest.approx(METRICS["rmsle"](y_true, y_pred))


@pytest.mark.parametrize("wild", [-1e9, -1.0, 0.0])
def test_rmsle_clamps_predictions_at_zero(wild: float) -> None:
    assert METRICS["rmsle"](np.array([math.e - 1.0]), np.array([wild])) == pytest.approx(1.0)


def test_log_loss_stays_finite_and_renormalises() -> None:
    sure_and_wrong = METRICS["log_loss"](np.array([0]), np.array([[0.0, 1.0]]))
    assert sure_and_wrong == pytest.approx(-math.log(1e-15))
    codes, probability = _probabilities(30, 3, 0)
    assert METRICS["log_loss"](codes, 5.0 * probability) == pytest.approx(METRICS["log_loss"](codes, probability))
    assert METRICS["roc_auc"](codes, 5.0 * probability) == pytest.approx(METRICS["roc_auc"](codes, probability))


@pytest.mark.parametrize("name", VALUE)
@pytest.mark.parametrize(("truth", "prediction"), [((5,), (5, 1)), ((5, 1), (5,)), ((5,), (4,)), ((5, 2), (5, 3))])
def test_values_of_other_shapes_are_refused(name: str, truth: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        METRICS[name](np.ones(truth), np.ones(prediction))


@pytest.mark.parametrize("name", CLASS)
@pytest.mark.parametrize(("truth", "prediction"), [((5,), (5,)), ((5, 1), (5, 2)), ((5,), (4, 2)), ((5,), (5, 2, 1))])
def test_classes_of_other_shapes_are_refused(name: str, truth: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=name):
        METRICS[name](np.zeros(truth), np.full(prediction, 0.5))


@pytest.mark.parametrize("name", VALUE)
def test_several_targets_score_the_mean_of_their_scores(name: str) -> None:
    generator = np.random.default_rng(0)
    y_true, y_pred = generator.uniform(1, 9, (20, 3)), generator.uniform(1, 9, (20, 3))
    metric = METRICS[name]
    each = [metric(y_true[:, j], y_pred[:, j]) for j in range(3)]
    assert metric(y_true, y_pred) == pytest.approx(np.mean(each))
    assert metric(y_true[:, :1], y_pred[:, :1]) == metric(y_true[:, 0], y_pred[:, 0])


@pytest.mark.parametrize("name", VALUE)
def test_a_missing_value_scores_nan(name: str) -> None:
    assert math.isnan(METRICS[name](np.array([1.0, 2.0]), np.array([1.0, np.nan])))


@pytest.mark.parametrize("name", CLASS)
def test_a_missing_probability_scores_nan_and_no_label(name: str) -> None:
    """argmax would call the missing class the likeliest, and a row that was never predicted would be scored."""
    codes, probability = _probabilities(20, 2, 0)
    probability[3] = np.nan
    assert math.isnan(METRICS[name](codes, probability))


def test_roc_auc_is_nan_when_a_class_is_absent() -> None:
    assert math.isnan(METRICS["roc_auc"](np.zeros(4), np.full((4, 2), 0.5)))
    assert math.isnan(METRICS["roc_auc"](np.array([0, 1, 1, 0]), np.full((4, 3), 1 / 3)))


def test_r2_of_a_constant_target_is_nan() -> None:
    assert math.isnan(METRICS["r2"](np.ones(4), np.arange(4.0)))


def test_quadratic_kappa_weighs_by_class_even_when_one_is_absent() -> None:
    """Codes 0, 1, 3: the step from 1 to 3 counts 2 classes, also in a fold where class 2 has no row."""
    codes, label = np.array([0, 0, 1, 1, 3, 3, 0, 3]), np.array([0, 1, 1, 3, 3, 1, 0, 3])
    expected = sk.cohen_kappa_score(codes, label, weights="quadratic", labels=[0, 1, 2, 3])
    assert METRICS["quadratic_kappa"](codes, np.eye(4)[label]) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_fits_the_numbers(name: str) -> None:
    """A perfect prediction beats a poor one, and every score beats NaN."""
    metric = METRICS[name]
    if metric.reads == "value":
        truth, perfect, poor = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 9.0])
    else:
        truth, perfect, poor = np.array([0, 1, 0, 1]), np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[0, 1, 1, 0]]
    good, bad = metric(truth, perfect), metric(truth, poor)
    assert metric.is_better(good, bad)
    assert not metric.is_better(bad, good)
    assert not metric.is_better(good, good)
    assert metric.gain(good, bad) == -metric.gain(bad, good) > 0
    assert list(np.argsort(metric.losses([np.nan, bad, good]))) == [2, 1, 0]
    assert metric.is_better(bad, float("nan"))
    assert not metric.is_better(float("nan"), bad)
    assert not metric.is_better(float("nan"), float("nan"))


def test_every_metric_has_its_name_and_every_task_its_usual_metric() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert all(task in METRICS[name].tasks for task, name in DEFAULT_METRIC.items())
    assert METRICS["rmse"].tasks == ("regression",)
    assert METRICS["log_loss"].tasks == ("binary", "multiclass")


def test_the_least_target_is_where_the_metric_ends() -> None:
    """log_rmse needs targets above 0, rmsle may have 0; the others take any."""
    limits = {name: (m.min_target, m.is_min_target_valid) for name, m in METRICS.items() if m.min_target is not None}
    assert limits == {"log_rmse": (0.0, False), "rmsle": (0.0, True)}


def test_f1_is_that_of_the_second_class_and_only_for_two() -> None:
    codes, label = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    assert METRICS["f1"](codes, np.eye(2)[label]) == pytest.approx(0.5)
    assert METRICS["f1"].tasks == ("binary",)
    assert METRICS["f1"](codes, np.eye(2)[[0] * 5]) == 0.0
