"""What the page shows, on data small enough to be checked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.metrics import METRICS
from pipeline.report import words
from pipeline.report.charts.scales import scale, tick_text
from pipeline.report.compute import classes, columns, comparison, curves, ensembles, label_errors, residuals


def test_scores_are_rounded_to_their_noise() -> None:
    assert words.score_with_noise(0.113942, 0.0031) == "0.1139 ± 0.0031"
    assert words.score(0.113942, 0.031) == "0.114"
    assert words.score_with_noise(12345.6, 230.0) == "12346 ± 230"
    assert words.score(float("nan"), 0.1) == "–"
    assert words.gain(-0.00001, 0.01) == "0.000"


def test_words() -> None:
    assert [words.count(n, "category", "categories") for n in (1, 1460)] == ["1 category", "1,460 categories"]
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a"] * 7, 2) == "a, a and 5 more"
    assert [words.percent(share) for share in (0.0, 0.0004, 0.045, 0.5, 1.0)] == [
        "0 %",
        "< 0.1 %",
        "4.5 %",
        "50 %",
        "100 %",
    ]
    assert len(words.of_data("x" * 5000)) == words.MOST_CHARACTERS
    changes = [words.change(value) for value in (277_395.2, -0.09731, 12.0, 0.0, float("nan"), 999.96)]
    assert changes == ["+277,000", "−0.0973", "+12", "0", "–", "+1,000"]
    assert [words.count_in_cell(n) for n in (0, 4980, 9999, 12_345, 3_000_000)] == ["0", "4980", "9999", "12k", "3000k"]


def test_scales() -> None:
    assert scale([0.0, 10.0], 0, 100, margin=0.0)([0, 5, 10, 99]).tolist() == [0, 50, 100, 100]
    assert scale([1.0, 100.0], 0, 100, is_log=True, margin=0.0)(10.0) == pytest.approx(50)
    assert scale([0.0, 10.0], 0, 100, margin=0.0).ticks(5) == [0, 2, 4, 6, 8, 10]
    assert scale([3.0, 3.0], 0, 1).low < 3.0 < scale([3.0, 3.0], 0, 1).high
    assert [tick_text(value) for value in (0.0, 250_000.0, 1_500_000.0, 0.05)] == ["0", "250k", "1.5M", "0.05"]


def test_residuals_are_on_the_scale_of_the_metric() -> None:
    target, prediction = np.array([100.0, 100.0]), np.array([100.0 * np.e, 0.0])
    errors = residuals.residuals(target, prediction, METRICS["log_rmse"])
    assert errors == pytest.approx([1.0, -np.log(100.0)])  # predictions are clamped to 1


def test_errors_by_groups() -> None:
    values, errors = np.array([1.0, 2.0, 3.0, 4.0, np.nan]), np.array([1.0, -1.0, 2.0, 2.0, 5.0])
    low, high, missing = residuals.by_quantile(values, errors, 2)
    assert (low.rows, low.error, low.bias) == (2, 1.0, 0.0)
    assert (high.error, high.bias, missing.name, missing.error) == (2.0, 2.0, "missing", 5.0)
    groups = residuals.by_level(pd.Series(["a", "a", "b", "c", None]), errors, most=1)
    assert [(group.name, group.rows) for group in groups] == [("a", 2), ("all others", 3)]
    assert residuals.worst(errors, 2).tolist() == [4, 2]


def test_confusion_and_curves() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 500)
    share = np.clip(0.3 * codes + rng.random(500) * 0.7, 0, 1)
    table = classes.confusion(codes, (share > 0.5).astype(np.int64), 2)
    assert table.sum() == 500
    assert table[1, 1] == ((codes == 1) & (share > 0.5)).sum()
    curve = classes.with_folds(classes.roc, codes == 1, share, np.arange(500) % 5)
    assert curve.area == pytest.approx(roc_auc_score(codes, share), abs=0.01)
    assert (curve.low <= curve.high).all()
    perfect = classes.precision_recall(codes == 1, codes.astype(float))
    assert (perfect == 1.0).all()
    assert np.isnan(classes.roc(np.ones(3, dtype=bool), np.arange(3.0))).all()


def test_calibration_and_threshold() -> None:
    rng = np.random.default_rng(1)
    share = rng.random(4000)
    found = classes.reliability(rng.random(4000) < share, share)
    assert (found.low <= found.came_true).all()
    assert (np.abs(found.told - found.came_true) < 0.08).all()
    codes = (share > 0.3).astype(np.int64)
    thresholds, scores = classes.score_by_threshold(METRICS["accuracy"], codes, np.column_stack([1 - share, share]))
    assert thresholds[scores.argmax()] == pytest.approx(0.3)


def test_label_errors_are_those_that_all_models_agree_on() -> None:
    codes = np.array([0] * 10 + [1] * 10)
    sure = np.where(codes == 1, 0.9, 0.1)
    wrong = sure.copy()
    wrong[3], wrong[12] = 0.95, 0.02
    other = sure.copy()
    other[3] = 0.93
    both = [np.column_stack([1 - one, one]) for one in (wrong, other)]
    (found,) = label_errors.suspects(codes, both)
    assert (found.row, found.label, found.instead, found.n_models) == (3, 0, 1, 2)


def test_pairs_of_runs() -> None:
    metric = METRICS["rmse"]
    folds = [[1.0, 1.1, 0.9, 1.0], [2.0, 2.1, 1.9, 2.01], [0.5, 3.0, 0.2, 1.0]]
    means, widths = comparison.pairwise(metric, folds)
    assert means[0, 1] == pytest.approx(1.0025)
    assert means[0, 1] > widths[0, 1]  # lower is better: the first is told apart
    assert abs(means[0, 2]) < widths[0, 2]
    assert np.isnan(means[0, 0])
    assert comparison.pareto(np.array([3.0, 1.0, 2.0]), np.array([1.0, 9.0, 2.0])).tolist() == [0, 2, 1]
    assert np.isnan(comparison.score_noise([1.0]))


def test_learning_curves() -> None:
    history = pd.DataFrame(
        [
            {"part": 0, "epoch": e, "split": s, "seed": 0, "train_score": 1 / e, "valid_score": abs(e - 2 - s)}
            for e in (1, 2, 3, 4)
            for s in (0, 1)
        ]
    )
    found = curves.learning_curves(history, 0, METRICS["rmse"])
    assert found.best == [2, 3]
    assert found.valid.shape == (2, 4)
    assert curves.smallest_gap(found, METRICS["rmse"]) == pytest.approx(1.5 - 0.25)


def test_members_of_an_ensemble() -> None:
    rng = np.random.default_rng(2)
    target, fold = rng.normal(size=400), np.arange(400) % 4
    noise = rng.normal(size=(2, 400))
    good, other, useless = target + noise[0], target + noise[1], target + noise[0] * 1.001
    metric = METRICS["rmse"]
    together = ensembles.error_correlation([good, other, useless], target, metric)
    assert together[0, 2] > 0.99 > 0.2 > abs(together[0, 1])
    how = ensembles.Combination([0.5, 0.5], metric)
    first, second = ensembles.leave_one_out([good, other], how, target, fold)
    assert first.gain > first.width
    assert second.gain > second.width
    one, two = ensembles.growing([good, other], how, target)
    assert two < one


def test_columns_of_train_and_test() -> None:
    rng = np.random.default_rng(3)
    train = pd.DataFrame(
        {"x": rng.normal(size=600), "moved": rng.normal(size=600), "town": rng.choice(["a", "b"], 600)}
    )
    test = pd.DataFrame(
        {"x": rng.normal(size=500), "moved": rng.normal(size=500) + 1, "town": rng.choice(["a", "b"], 500)}
    )
    train.loc[:59, "x"] = np.nan
    target = train["moved"].to_numpy() * 2 + rng.normal(size=600) * 0.1
    x, moved, town = columns.column_views(
        train, test, {"x": "number", "moved": "number", "town": "category"}, target, 0
    )
    assert (x.missing_train, x.has_drifted, moved.has_drifted, town.has_drifted) == (0.1, False, True, False)
    assert moved.association > 0.9
    assert x.association < 0.1
    assert x.train.sum() == pytest.approx(1.0)
    edges, counts = columns.histogram(np.array([1.0, 2.0, 2.0, 3.0]))
    assert counts.tolist() == [1, 2, 1]
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5]
