"""Laws of the metric table: the published numbers, the right direction, and no number from arrays that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from pipeline.metrics import DEFAULT_METRIC, METRIC_FAMILIES, METRICS
from pipeline.metrics.kaggle_names import MEANINGS, contradicts, metrics_of_kaggle

VALUE = [name for name, metric in METRICS.items() if metric.reads == "value"]
CLASS = [name for name, metric in METRICS.items() if metric.reads != "value"]

PRICES = hnp.arrays(np.float64, 7, elements=st.floats(1.0, 1e6))


def _probabilities(n_rows: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_classes), generator.integers(0, n_classes, n_rows - n_classes)])
    return codes, generator.dirichlet(np.ones(n_classes), n_rows)


def _concordance_by_pairs(y: np.ndarray, p: np.ndarray) -> float:
    pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if y[i] < y[j]]
    return float(np.mean([1.0 if p[i] < p[j] else 0.5 if p[i] == p[j] else 0.0 for i, j in pairs]))


def _gini_by_rows(y: np.ndarray, p: np.ndarray) -> float:
    """Kaggle's: how far the cumulative share of the targets runs ahead of that of the rows."""

    def ahead(order: np.ndarray) -> float:
        seen, total = 0.0, 0.0
        for row, index in enumerate(order, start=1):
            seen += y[index]
            total += seen / y.sum() - row / len(y)
        return total

    return ahead(np.lexsort((np.arange(len(y)), -p))) / ahead(np.lexsort((np.arange(len(y)), -y)))


OTHER_VALUE: dict[str, Callable[[Any, Any], float]] = {
    "rmse": sk.root_mean_squared_error,
    "mse": sk.mean_squared_error,
    "rmsle": sk.root_mean_squared_log_error,
    "msle": sk.mean_squared_log_error,
    "male": lambda y, p: sk.mean_absolute_error(np.log1p(y), np.log1p(p)),
    "log_rmse": lambda y, p: sk.root_mean_squared_error(np.log(y), np.log(p)),
    "mae": sk.mean_absolute_error,
    "wmae": sk.mean_absolute_error,
    "median_ae": sk.median_absolute_error,
    "max_error": sk.max_error,
    "mape": sk.mean_absolute_percentage_error,
    "smape": lambda y, p: 100.0 / len(y) * sum(2.0 * abs(b - a) / (a + b) for a, b in zip(y, p, strict=True)),
    "rmspe": lambda y, p: math.sqrt(sum(((a - b) / a) ** 2 for a, b in zip(y, p, strict=True)) / len(y)),
    "wmape": lambda y, p: sk.mean_absolute_percentage_error(y, p, sample_weight=y),
    "r2": sk.r2_score,
    "explained_variance": sk.explained_variance_score,
    "poisson_deviance": sk.mean_poisson_deviance,
    "gamma_deviance": sk.mean_gamma_deviance,
    "pearson": lambda y, p: scipy.stats.pearsonr(y, p).statistic,
    "spearman": lambda y, p: scipy.stats.spearmanr(y, p).statistic,
    "concordance": _concordance_by_pairs,
    "gini": _gini_by_rows,
    "pinball_0.9": lambda y, p: sk.mean_pinball_loss(y, p, alpha=0.9),
    "pinball_0.05": lambda y, p: sk.mean_pinball_loss(y, p, alpha=0.05),
}
NEEDS_SPREAD = {"r2", "explained_variance", "pearson", "spearman", "concordance", "gini"}


@pytest.mark.slow
@given(y_true=PRICES, y_pred=PRICES)
def test_values_are_scored_as_another_implementation_does(y_true: np.ndarray, y_pred: np.ndarray) -> None:
    assert set(VALUE) <= OTHER_VALUE.keys()
    has_spread = min(np.ptp(y_true), np.ptp(y_pred)) > 1e-3 * max(y_true.max(), y_pred.max())
    for name, expected in OTHER_VALUE.items():
        if name not in NEEDS_SPREAD or has_spread:
            assert METRICS[name](y_true, y_pred) == pytest.approx(expected(y_true, y_pred), rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("seed", range(5))
def test_ranks_with_ties_are_scored_as_another_implementation_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    y_true, y_pred = generator.integers(0, 5, 40).astype(float), generator.integers(0, 6, 40).astype(float)
    for name in ("pearson", "spearman", "concordance", "gini"):
        assert METRICS[name](y_true, y_pred) == pytest.approx(OTHER_VALUE[name](y_true, y_pred)), name


def _average_precision_of_lists(codes: np.ndarray, probability: np.ndarray, k: int) -> float:
    """Mean average precision at k by its usual loop over lists of predicted labels."""
    scores = []
    for code, row in zip(codes, probability, strict=True):
        listed, hits, score = list(np.argsort(-row, kind="stable")[:k]), 0, 0.0
        for place, label in enumerate(listed, start=1):
            if label == code:
                hits += 1
                score += hits / place
        scores.append(score)
    return float(np.mean(scores))


def _amex_by_pandas(codes: np.ndarray, probability: np.ndarray) -> float:
    frame = pd.DataFrame({"y": codes, "p": probability[:, 1]})
    frame["weight"] = frame["y"].map({0: 20, 1: 1})

    def weighted_gini(by: str) -> float:
        part = frame.sort_values(by, ascending=False, kind="stable")
        random = (part["weight"] / part["weight"].sum()).cumsum()
        found = (part["y"] * part["weight"]).cumsum() / (part["y"] * part["weight"]).sum()
        return float(((found - random) * part["weight"]).sum())

    top = frame.sort_values("p", ascending=False, kind="stable")
    top = top[top["weight"].cumsum() <= int(0.04 * top["weight"].sum())]
    return 0.5 * (weighted_gini("p") / weighted_gini("y") + top["y"].sum() / frame["y"].sum())


def _partial_area(codes: np.ndarray, probability: np.ndarray) -> float:
    """The area above a true positive rate of 80 % under the ROC curve, by the trapezium rule on a fine grid."""
    false_rate, true_rate, _ = sk.roc_curve(codes, probability[:, 1])
    grid = np.linspace(0.0, 1.0, 200_001)
    return float(np.trapezoid(np.maximum(np.interp(grid, false_rate, true_rate) - 0.8, 0.0), grid))


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_classes_are_scored_as_another_implementation_does(n_classes: int, seed: int) -> None:
    codes, probability = _probabilities(60, n_classes, seed)
    label, one_hot = probability.argmax(axis=1), np.eye(n_classes)[codes]
    weights = 1.0 / np.bincount(codes)[codes]
    expected = {
        "accuracy": sk.accuracy_score(codes, label),
        "balanced_accuracy": sk.balanced_accuracy_score(codes, label),
        "geometric_mean": scipy.stats.gmean(sk.recall_score(codes, label, average=None)),
        "roc_auc": sk.roc_auc_score(one_hot, probability),
        "average_precision": sk.average_precision_score(one_hot, probability),
        "log_loss": sk.log_loss(codes, probability),
        "balanced_log_loss": sk.log_loss(codes, probability, sample_weight=weights),
        "brier": sk.brier_score_loss(codes, probability),
        "ranked_probability": np.mean(
            [sk.brier_score_loss(codes > c, probability[:, c + 1 :].sum(axis=1)) for c in range(n_classes - 1)]
        ),
        "f1_micro": sk.f1_score(codes, label, average="micro"),
        "f1_macro": sk.f1_score(codes, label, average="macro"),
        "f1_weighted": sk.f1_score(codes, label, average="weighted"),
        "precision_macro": sk.precision_score(codes, label, average="macro", zero_division=0.0),
        "recall_macro": sk.balanced_accuracy_score(codes, label),
        "jaccard_macro": np.mean(
            [
                np.mean(label[(codes == c) | (label == c)] == codes[(codes == c) | (label == c)])
                for c in range(n_classes)
            ]
        ),
        "kappa": sk.cohen_kappa_score(codes, label),
        "linear_kappa": sk.cohen_kappa_score(codes, label, weights="linear"),
        "quadratic_kappa": sk.cohen_kappa_score(codes, label, weights="quadratic"),
        "mcc": sk.matthews_corrcoef(codes, label),
        "map_at_3": _average_precision_of_lists(codes, probability, 3),
        "ndcg_at_3": sk.ndcg_score(one_hot, probability, k=3),
        "top_2_accuracy": 1.0 if n_classes == 2 else sk.top_k_accuracy_score(codes, probability, k=2),
    }
    if n_classes == 2:
        expected["average_precision"] = sk.average_precision_score(codes, probability[:, 1])
        expected["roc_auc"] = sk.roc_auc_score(codes, probability[:, 1])
        expected |= {
            "f1": sk.f1_score(codes, label),
            "precision": sk.precision_score(codes, label),
            "recall": sk.recall_score(codes, label),
            "jaccard": sk.jaccard_score(codes, label),
            "f_beta_0.5": sk.fbeta_score(codes, label, beta=0.5),
            "kolmogorov_smirnov": scipy.stats.ks_2samp(
                probability[codes == 1, 1], probability[codes == 0, 1], alternative="less"
            ).statistic,
            "partial_auc": pytest.approx(_partial_area(codes, probability), abs=1e-4),
            "amex": _amex_by_pandas(codes, probability),
            "gini": 2.0 * sk.roc_auc_score(codes, probability[:, 1]) - 1.0,
            "rmse": math.sqrt(sk.brier_score_loss(codes, probability[:, 1])),
            "mae": sk.mean_absolute_error(codes, probability[:, 1]),
            "mse": sk.brier_score_loss(codes, probability[:, 1]),
        }
        assert set(CLASS) <= expected.keys()
    for name, score in expected.items():
        found = METRICS[name].for_task("binary" if n_classes == 2 else "multiclass")(codes, probability)
        assert found == (score if hasattr(score, "expected") else pytest.approx(score, rel=1e-9)), name


def test_at_least_forty_metrics_stand_in_the_table() -> None:
    assert len(METRICS) + len(METRIC_FAMILIES) >= 40


@pytest.mark.parametrize("name", ["map_at_0", "map_at_2.5", "map_at_", "pinball_1", "pinball_x", "top_-1_accuracy", ""])
def test_a_number_outside_its_family_is_no_metric(name: str) -> None:
    assert name not in METRICS
    with pytest.raises(KeyError):
        METRICS[name]


def test_shares_of_a_true_zero() -> None:
    """Rows with a true 0 are left out of mape and rmspe; smape counts 0 where both are 0 and 200 where one is."""
    y_true, y_pred = np.array([0.0, 2.0]), np.array([5.0, 3.0])
    assert METRICS["mape"](y_true, y_pred) == METRICS["rmspe"](y_true, y_pred) == 0.5
    assert METRICS["smape"](np.array([0.0, 0.0]), np.array([0.0, 7.0])) == 100.0
    assert math.isnan(METRICS["mape"](np.zeros(2), np.ones(2)))


def test_constant_predictions_are_scored() -> None:
    y_true = np.array([1.0, 2.0, 3.0])
    assert METRICS["pearson"](y_true, np.ones(3)) == METRICS["spearman"](y_true, np.ones(3)) == 0.0
    assert METRICS["concordance"](y_true, np.ones(3)) == 0.5
    assert METRICS["kappa"](np.zeros(3), np.eye(2)[[0, 0, 0]]) == 1.0


def test_a_metric_of_values_scores_the_probability_of_a_binary_task() -> None:
    metric = METRICS["rmse"].for_task("binary")
    assert (metric.reads, metric.tasks) == ("probability", ("binary",))
    assert metric(np.array([0, 1]), np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx(math.sqrt(0.625))
    assert METRICS["rmse"].for_task("regression") is METRICS["rmse"]
    assert "multiclass" not in METRICS["rmse"].tasks


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


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "f1", "accuracy", "mcc", "rmse", "r2"])
def test_several_targets_have_the_mean_of_their_scores(name: str) -> None:
    generator = np.random.default_rng(0)
    task = "regression" if name == "r2" else "binary"
    codes, positive = generator.integers(0, 2, (40, 3)).astype(float), generator.random((40, 3))
    metric = METRICS[name].for_task(task)
    each = [metric(codes[:, j], metric.of_one_target(positive[:, j])) for j in range(3)]
    assert metric(codes, positive) == pytest.approx(np.mean(each), abs=1e-12)
    with pytest.raises(ValueError, match="shape"):
        metric(codes, positive[:, :2])


def test_a_target_without_a_score_is_left_out_of_the_mean() -> None:
    codes = np.array([[0, 0], [1, 0], [0, 0], [1, 0]])
    positive = np.array([[0.2, 0.1], [0.9, 0.2], [0.3, 0.3], [0.1, 0.4]])
    auc = METRICS["roc_auc"]
    assert auc(codes, positive) == auc(codes[:, 0], auc.of_one_target(positive[:, 0])) == 0.5
    assert auc.is_defined(codes, 2)
    assert not auc.is_defined(codes[:, [1, 1]], 2)
    assert math.isnan(auc(codes[:, [1, 1]], positive))
    assert math.isnan(METRICS["f1"](codes, np.full((4, 2), np.nan)))
    numbers = np.column_stack([np.arange(4.0), np.ones(4)])
    assert METRICS["r2"](numbers, numbers) == 1.0


def test_kappa_is_that_of_the_counts() -> None:
    generator = np.random.default_rng(1)
    codes, label = generator.integers(0, 4, 60), generator.integers(0, 4, 60)
    counts = sk.confusion_matrix(codes, label, labels=range(4)).astype(float)
    for name, weights in (("linear_kappa", "linear"), ("quadratic_kappa", "quadratic")):
        expected = sk.cohen_kappa_score(codes, label, weights=weights)
        assert METRICS[name](codes, np.eye(4)[label]) == pytest.approx(expected)
        assert METRICS[name].of_confusion is not None
        assert METRICS[name].of_confusion(counts) == pytest.approx(expected)


def test_quadratic_kappa_weighs_by_class_even_when_one_is_absent() -> None:
    """Codes 0, 1, 3: the step from 1 to 3 counts 2 classes, also in a fold where class 2 has no row."""
    codes, label = np.array([0, 0, 1, 1, 3, 3, 0, 3]), np.array([0, 1, 1, 3, 3, 1, 0, 3])
    expected = sk.cohen_kappa_score(codes, label, weights="quadratic", labels=[0, 1, 2, 3])
    assert METRICS["quadratic_kappa"](codes, np.eye(4)[label]) == pytest.approx(expected)


def _kappa_of_ratings(y: np.ndarray, p: np.ndarray, power: int) -> float:
    """As Kaggle's pages write it: N ratings from the smallest to the largest, weights by their difference."""
    lowest, n = y.min(), y.max() - y.min() + 1
    observed = np.zeros((n, n))
    np.add.at(observed, (y - lowest, p - lowest), 1)
    weights = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) ** power / (n - 1) ** power
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / len(y)
    return float(1 - (weights * observed).sum() / (weights * expected).sum())


@pytest.mark.parametrize(("name", "power"), [("linear_kappa", 1), ("quadratic_kappa", 2)])
def test_kappa_weighs_ratings_by_their_values(name: str, power: int) -> None:
    generator, ratings = np.random.default_rng(2), np.array([1, 2, 3, 10])
    codes, label = np.tile(np.arange(4), 15), generator.integers(0, 4, 60)
    metric, counts = METRICS[name].of_places(ratings), sk.confusion_matrix(codes, label).astype(float)
    expected = _kappa_of_ratings(ratings[codes], ratings[label], power)
    assert metric(codes, np.eye(4)[label]) == pytest.approx(expected)
    assert metric.of_confusion is not None
    assert metric.of_confusion(counts) == pytest.approx(expected)
    assert METRICS[name].of_places([3, 4, 5, 6])(codes, np.eye(4)[label]) == METRICS[name](codes, np.eye(4)[label])
    assert METRICS["accuracy"].of_places(ratings) is METRICS["accuracy"]
    assert {one for one in METRICS if METRICS[one].is_ordinal} == {
        "linear_kappa",
        "quadratic_kappa",
        "ranked_probability",
    }


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
    assert METRICS["rmsle"].tasks == ("regression",)
    assert METRICS["rmse"].tasks == ("regression", "binary")
    assert METRICS["log_loss"].tasks == ("binary", "multiclass")


def test_the_least_target_is_where_the_metric_ends() -> None:
    """Logs of 0 are undefined, log1p takes 0; a metric without logs or shares takes any target."""
    limits = {name: (m.min_target, m.is_min_target_valid) for name, m in METRICS.items()}
    assert (limits["log_rmse"], limits["rmsle"], limits["rmse"]) == ((0.0, False), (0.0, True), (None, True))
    for name, metric in METRICS.items():
        if metric.scale != "none":
            least = 0.0 if limits[name][1] else 1e-9
            assert math.isfinite(metric(np.array([least, 1.0]), np.array([-5.0, 1.0])))


def test_f1_is_that_of_the_second_class_and_only_for_two() -> None:
    codes, label = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    assert METRICS["f1"](codes, np.eye(2)[label]) == pytest.approx(0.5)
    assert METRICS["f1"].tasks == ("binary",)
    assert METRICS["f1"](codes, np.eye(2)[[0] * 5]) == 0.0


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Categorization Accuracy", "accuracy"),
        ("Root Mean Squared Logarithmic Error", "rmsle"),
        ("Roc Auc Score", "roc_auc"),
        ("Mean Columnwise Root Mean Squared Error", "rmse"),
        ("Mean Columnwise AUC (MCAUC)", "roc_auc"),
        ("Multi-class Log Loss", "log_loss"),
        ("MulticlassLossOld", "log_loss"),
        ("F-Score (Macro)", "f1_macro"),
        ("F1 Score", "f1"),
        ("Symmetric Mean Absolute Percentage Error (SMAPE)", "smape"),
        ("MAP@{K}", "map_at_K"),
        ("Mean Average Precision @ 5", "map_at_5"),
        ("Quadratic Weighted Kappa", "quadratic_kappa"),
    ],
)
def test_kaggles_names_are_known(name: str, ours: str) -> None:
    assert metrics_of_kaggle(name)[0] == ours


def test_every_meaning_of_kaggles_names_is_a_metric() -> None:
    assert {one for meanings in MEANINGS.values() for one in meanings} <= set(METRICS)


def test_only_a_known_other_name_contradicts() -> None:
    assert contradicts("rmse", "Mean Absolute Error")
    assert not contradicts("log_rmse", "RMSLE")
    assert not contradicts("map_at_3", "MAP@{K}")
    assert contradicts("map_at_3", "MAP@5")
    assert not contradicts("rmse", "Bespoke Metric of the Host")


WEIGHTED: dict[str, Callable[..., float]] = {
    "mae": sk.mean_absolute_error,
    "mse": sk.mean_squared_error,
    "rmse": sk.root_mean_squared_error,
    "rmsle": sk.root_mean_squared_log_error,
    "mape": sk.mean_absolute_percentage_error,
    "r2": sk.r2_score,
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_count_as_repeated_rows_and_as_in_scikit_learn(name: str) -> None:
    generator = np.random.default_rng(0)
    y, p, weight = generator.uniform(1, 9, 30), generator.uniform(1, 9, 30), generator.integers(0, 4, 30)
    metric = METRICS[name]
    found = metric.function(y, p, weight=weight.astype(float))
    assert found == pytest.approx(metric(np.repeat(y, weight), np.repeat(p, weight)))
    assert found == pytest.approx(WEIGHTED[name](y, p, sample_weight=weight))


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].can_weigh])
def test_equal_weights_change_nothing(name: str) -> None:
    generator = np.random.default_rng(1)
    metric = METRICS[name]
    if metric.reads == "value":
        y, p = generator.uniform(1, 9, 30), generator.uniform(1, 9, 30)
    else:
        y, p = _probabilities(30, 2, 0)
        p = p.argmax(axis=1) if metric.reads == "label" else p
    assert metric.function(y, p, weight=np.full(30, 2.0)) == pytest.approx(metric.function(y, p))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", METRICS)
def test_odd_folds_have_a_score_or_none_but_never_an_error(name: str) -> None:
    """No row, one row, one class, a constant target: a number or NaN."""
    metric, generator = METRICS[name], np.random.default_rng(0)
    for codes in ([], [1], [0, 0, 0], [1, 1, 1]):
        y = np.array(codes, dtype=float) + (metric.reads == "value")
        p = generator.uniform(1, 9, len(y)) if metric.reads == "value" else generator.dirichlet([1, 1], len(y))
        score = metric(y, p)
        assert isinstance(score, float)
        assert math.isfinite(score) or not metric.is_defined(y, 0 if metric.reads == "value" else 2)
