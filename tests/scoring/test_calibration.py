"""Laws of what is done to probabilities: labels by argmax, sums of one, and no row scored by what it taught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from pipeline.config.run_report import Adjustment
from pipeline.metrics import METRICS
from pipeline.scoring.adjustment import adjust, apply_adjustment
from pipeline.scoring.calibration import apply_calibrator, expected_calibration_error, fit_calibrator, reliability_table
from pipeline.scoring.cross_fitting import cross_fitted, parts_of
from pipeline.scoring.cut_points import best_cut_points, decided_by_cut_points, expected_class
from pipeline.scoring.thresholds import best_threshold, moved_to_half


def drawn(n_rows: int, n_classes: int, *, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes drawn from true probabilities, and those probabilities to the power `sharpness`: 1 is calibrated."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet(np.ones(n_classes), n_rows)
    codes = (true.cumsum(axis=1) > generator.random((n_rows, 1))).argmax(axis=1)
    sharp = true**sharpness
    return codes, sharp / sharp.sum(axis=1, keepdims=True)


def folds_of(n_rows: int, n_folds: int = 4) -> np.ndarray:
    return np.arange(n_rows) % n_folds


# ---- calibration


def test_the_reliability_table_by_hand() -> None:
    probability = np.array([[0.95, 0.05], [0.92, 0.08], [0.45, 0.55], [0.4, 0.6], [0.3, 0.7]])
    table = reliability_table(np.array([0, 1, 1, 1, 0]), probability)
    assert table["low"].tolist() == pytest.approx([0.5, 0.6, 0.9])
    assert table["rows"].tolist() == [2, 1, 2]  # 0.6 and 0.55 in (0.5, 0.6], 0.7 in (0.6, 0.7]
    assert table["confidence"].tolist() == pytest.approx([0.575, 0.7, 0.935])
    assert table["accuracy"].tolist() == [1.0, 0.0, 0.5]
    error = expected_calibration_error(np.array([0, 1, 1, 1, 0]), probability)
    assert error == pytest.approx((2 * 0.425 + 1 * 0.7 + 2 * 0.435) / 5)


def test_every_row_is_in_one_bin_also_at_the_edges() -> None:
    probability = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.9, 0.1]])
    assert reliability_table(np.zeros(4), probability)["rows"].sum() == 4


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_temperature_finds_back_what_was_sharpened(n_classes: int, sharpness: float) -> None:
    codes, probability = drawn(20_000, n_classes, sharpness=sharpness)
    calibrator = fit_calibrator("temperature", codes, probability)
    assert calibrator.temperature == pytest.approx(sharpness, rel=0.05)
    calibrated = apply_calibrator(calibrator, probability)
    assert expected_calibration_error(codes, calibrated) < 0.5 * expected_calibration_error(codes, probability)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probability.argmax(axis=1))


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibrated_rows_are_probabilities_and_score_better_on_new_rows(kind: str, n_classes: int) -> None:
    codes, probability = drawn(4000, n_classes, sharpness=3.0)
    calibrator = fit_calibrator(kind, codes[:2000], probability[:2000])
    calibrated = apply_calibrator(calibrator, probability[2000:])
    assert (calibrated > 0).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0)
    for name in ("log_loss", "brier"):
        assert METRICS[name](codes[2000:], calibrated) < METRICS[name](codes[2000:], probability[2000:])


def test_isotonic_steps_of_two_classes_are_scikit_learns() -> None:
    codes, probability = drawn(300, 2, sharpness=2.0)
    calibrator = fit_calibrator("isotonic", codes, probability)
    expected = IsotonicRegression(y_min=0.5 / 300, y_max=1 - 0.5 / 300, out_of_bounds="clip")
    expected.fit(probability[:, 1], codes)
    new = np.linspace(0, 1, 50)
    found = apply_calibrator(calibrator, np.column_stack([1 - new, new]))
    np.testing.assert_allclose(found[:, 1], expected.predict(new), atol=1e-6)


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_certainty_survives_calibration(kind: str) -> None:
    """Probabilities of exactly 0 and 1 neither break the fit nor come out as numbers that are none."""
    codes = np.array([0, 0, 1, 1, 0, 1])
    calibrated = apply_calibrator(fit_calibrator(kind, codes, np.eye(2)[[0, 0, 1, 1, 1, 0]]), np.eye(2))
    assert np.isfinite(calibrated).all()


# ---- thresholds


@given(
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30),
    st.floats(0.02, 0.98),
)
def test_a_row_is_positive_afterwards_exactly_above_the_threshold(values: list[float], threshold: float) -> None:
    positive = np.array([value for value in values if abs(value - threshold) > 1e-9] or [0.5 * threshold])
    probability = np.column_stack([1 - positive, positive])
    moved = moved_to_half(probability, threshold)
    np.testing.assert_array_equal(moved.argmax(axis=1) == 1, positive > threshold)
    np.testing.assert_allclose(moved.sum(axis=1), 1.0)
    assert (np.diff(moved[np.argsort(positive), 1]) >= 0).all()


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["f1", "mcc", "balanced_accuracy", "f1_macro"]))
def test_the_best_threshold_is_the_best_of_all_on_its_rows(seed: int, name: str) -> None:
    generator = np.random.default_rng(seed)
    codes = np.append([0, 1], generator.integers(0, 2, 28))
    positive = generator.random(30) * 0.5
    probability, metric = np.column_stack([1 - positive, positive]), METRICS[name]
    found = metric(codes, moved_to_half(probability, best_threshold(metric, codes, probability)))
    every = [metric(codes, np.eye(2)[(positive > value).astype(int)]) for value in [*positive, 0.5]]
    assert found == pytest.approx(max(every))


def test_a_threshold_that_gains_nothing_stays_at_half() -> None:
    assert best_threshold(METRICS["f1"], np.array([0, 1]), np.array([[0.8, 0.2], [0.1, 0.9]])) == 0.5
    assert best_threshold(METRICS["f1"], np.array([0, 1]), np.full((2, 2), 0.5)) == 0.5


# ---- cut points of ordered classes


@given(st.integers(0, 1000), st.integers(3, 6))
def test_the_most_probable_class_is_the_one_between_its_cut_points(seed: int, n_classes: int) -> None:
    generator = np.random.default_rng(seed)
    probability = generator.dirichlet(np.ones(n_classes), 40)
    expected = expected_class(probability)
    cuts = np.sort(generator.uniform(-0.5, n_classes - 0.5, n_classes - 1))
    decided = decided_by_cut_points(probability, cuts.tolist())
    np.testing.assert_array_equal(decided.argmax(axis=1), (expected[:, None] > cuts).sum(axis=1))
    np.testing.assert_allclose(decided.sum(axis=1), 1.0)
    assert (decided >= 0).all()
    assert (np.diff(expected_class(decided)[np.argsort(expected)]) > -1e-9).all()


@pytest.mark.parametrize("name", ["quadratic_kappa", "linear_kappa"])
def test_cut_points_are_the_best_of_all_on_their_rows(name: str) -> None:
    generator = np.random.default_rng(0)
    codes, metric = generator.integers(0, 3, 40), METRICS[name]
    probability = generator.dirichlet(np.ones(3), 40)
    probability[np.arange(40), codes] += 0.3
    probability /= probability.sum(axis=1, keepdims=True)
    found = metric(codes, decided_by_cut_points(probability, best_cut_points(metric, codes, probability)))
    places = [-1.0, *expected_class(probability)]
    pairs = [(low, high) for low in places for high in places if low <= high]
    assert found >= max(metric(codes, decided_by_cut_points(probability, list(pair))) for pair in pairs) - 0.01


@pytest.mark.slow
def test_cut_points_of_a_shy_model_are_worth_it_and_read_back() -> None:
    """Most rows are of the middle class: it is nearly always the most probable one, whatever the expectation says."""
    generator = np.random.default_rng(0)
    signal = generator.normal(size=3000)
    codes = np.digitize(signal + generator.normal(size=3000), [-2.0, 2.0])
    logits = np.column_stack([-1.2 * signal - 2.4, np.zeros(3000), 1.2 * signal - 2.4])
    probability, metric = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), METRICS["quadratic_kappa"]
    adjusted = adjust(None, True, metric, folds_of(3000, 5), codes, probability)
    told = adjusted.report.threshold
    assert told.score_cross_fitted == metric(codes, adjusted.probability) > told.score_at_half + 0.1
    assert told.value == adjusted.adjustment.cut_points
    assert len(told.by_part) == 5
    again = Adjustment.model_validate(adjusted.adjustment.model_dump(mode="json"))
    np.testing.assert_array_equal(
        apply_adjustment(again, probability), apply_adjustment(adjusted.adjustment, probability)
    )


def test_cut_points_that_gain_nothing_are_left_out() -> None:
    codes = np.arange(60) % 3
    adjusted = adjust(None, True, METRICS["quadratic_kappa"], folds_of(60), codes, np.eye(3)[codes])
    assert adjusted.report.threshold is None
    assert adjusted.adjustment == Adjustment()
    np.testing.assert_array_equal(adjusted.probability, np.eye(3)[codes])


# ---- several targets


@pytest.mark.parametrize("kind", [None, "temperature", "isotonic"])
@pytest.mark.parametrize("has_threshold", [False, True])
def test_every_target_is_adjusted_as_if_it_were_alone(kind: str | None, has_threshold: bool) -> None:
    metric, folds = METRICS["f1"], folds_of(200)
    alone = [drawn(200, 2, sharpness=sharpness) for sharpness in (1.0, 3.0)]
    codes = np.column_stack([of_one for of_one, _ in alone])
    positive = np.column_stack([probability[:, 1] for _, probability in alone])
    found = adjust(kind, has_threshold, metric, folds, codes, positive)
    for j, (of_one, probability) in enumerate(alone):
        expected = adjust(kind, has_threshold, metric, folds, of_one, probability)
        np.testing.assert_allclose(found.probability[:, j], expected.probability[:, 1])
        new = apply_adjustment(found.adjustment, positive)[:, j]
        np.testing.assert_allclose(new, apply_adjustment(expected.adjustment, probability)[:, 1])
    told = found.report.threshold
    assert (told is not None) == has_threshold
    if told is not None:
        assert len(told.value) == 2
        assert {len(one) for one in told.by_part} == {2}
        assert told.score_cross_fitted == metric(codes, found.probability)


# ---- cross-fitting


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_no_row_is_changed_by_its_own_fold(kind: str) -> None:
    """Other labels in a fold move the rows of the other folds and none of its own."""
    codes, probability = drawn(400, 2, sharpness=2.0)
    folds = folds_of(400)
    for has_threshold in (False, True):
        first = adjust(kind, has_threshold, METRICS["mcc"], folds, codes, probability).probability
        inside = folds == 1
        second = adjust(
            kind, has_threshold, METRICS["mcc"], folds, np.where(inside, 1 - codes, codes), probability
        ).probability
        np.testing.assert_array_equal(first[inside], second[inside])
        assert not np.allclose(first[~inside], second[~inside])


@pytest.mark.slow
def test_a_cross_fitted_threshold_is_no_better_than_chance_on_noise() -> None:
    """Chosen on the rows it is scored on, a threshold finds skill in pure noise; cross-fitted it does not."""
    scores, flattered = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        codes, positive = generator.integers(0, 2, 60), generator.random(60)
        probability = np.column_stack([1 - positive, positive])
        metric = METRICS["mcc"]
        scores.append(metric(codes, adjust(None, True, metric, folds_of(60), codes, probability).probability))
        flattered.append(metric(codes, moved_to_half(probability, best_threshold(metric, codes, probability))))
    assert np.mean(flattered) > 0.15
    assert abs(np.mean(scores)) < 0.08


@pytest.mark.slow
def test_the_threshold_of_a_rare_class_is_worth_it() -> None:
    generator = np.random.default_rng(0)
    codes = (generator.random(3000) < 0.08).astype(int)
    positive = 1 / (1 + np.exp(-(generator.normal(size=3000) + 2.0 * codes - 3.2)))
    probability, metric = np.column_stack([1 - positive, positive]), METRICS["f1"]
    adjusted = adjust(None, True, metric, folds_of(3000, 5), codes, probability)
    told = adjusted.report.threshold
    assert told.score_at_half == metric(codes, probability)
    assert told.score_cross_fitted == metric(codes, adjusted.probability) > told.score_at_half + 0.1
    assert len(told.by_part) == 5
    assert told.value == adjusted.adjustment.threshold
    np.testing.assert_array_equal(
        apply_adjustment(adjusted.adjustment, probability).argmax(axis=1) == 1, positive > told.value
    )


@pytest.mark.slow
def test_an_adjustment_is_read_back_as_it_was() -> None:
    codes, probability = drawn(200, 2, sharpness=2.0)
    for kind in ("temperature", "isotonic"):
        adjustment = adjust(kind, True, METRICS["f1"], folds_of(200), codes, probability).adjustment
        again = Adjustment.model_validate(adjustment.model_dump(mode="json"))
        np.testing.assert_array_equal(apply_adjustment(adjustment, probability), apply_adjustment(again, probability))


def test_nothing_asked_for_changes_nothing() -> None:
    codes, probability = drawn(100, 3, sharpness=1.0)
    adjusted = adjust(None, False, METRICS["accuracy"], folds_of(100), codes, probability)
    np.testing.assert_array_equal(adjusted.probability, probability)
    assert apply_adjustment(adjusted.adjustment, probability) is probability


def test_the_rows_of_a_holdout_are_dealt_out_class_by_class() -> None:
    codes = np.array([0] * 10 + [1] * 5)
    parts = parts_of(np.zeros(15, dtype=np.int64), codes)
    assert np.bincount(parts[codes == 0]).tolist() == [2] * 5
    assert np.bincount(parts[codes == 1]).tolist() == [1] * 5
    folds = folds_of(15)
    assert parts_of(folds, codes) is folds


def test_cross_fitting_learns_from_all_other_parts() -> None:
    seen: list[int] = []

    def fit(rows: np.ndarray) -> int:
        seen.append(int(codes[rows].sum()))
        return seen[-1]

    parts, codes = np.array([0, 0, 1, 2]), np.array([1, 2, 4, 8])
    changed, _ = cross_fitted(fit, lambda total, values: values + total, parts, np.zeros((4, 1)))
    assert changed[:, 0].tolist() == [12.0, 12.0, 11.0, 7.0]
