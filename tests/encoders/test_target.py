"""Laws of the target's transforms: there and back is where it was, and no output leaves the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax as scipy_softmax

from pipeline.base.target_transforms import TargetTransform, inverse_transform, transform_target
from pipeline.competition.problem import balanced_class_weights
from pipeline.encoders.target import TargetScaler, class_indicators, softmax

TRANSFORMS: tuple[TargetTransform, ...] = ("none", "log", "log1p", "standardise")
AMOUNTS = hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=5), elements=st.floats(1e-3, 1e9))


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
@given(y=AMOUNTS)
def test_a_transform_is_undone_by_its_inverse(transform: TargetTransform, y: np.ndarray) -> None:
    np.testing.assert_allclose(inverse_transform(transform, transform_target(transform, y)), y, rtol=1e-9)


def test_transforms_are_what_they_are_called() -> None:
    y = np.array([1.0, 10.0])
    np.testing.assert_array_equal(transform_target("log", y), np.log(y))
    np.testing.assert_array_equal(transform_target("log1p", y), np.log1p(y))
    np.testing.assert_array_equal(transform_target("none", y), y)
    np.testing.assert_array_equal(transform_target("standardise", y), y)  # the scaler's work


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_wild_output_stays_a_number(transform: TargetTransform) -> None:
    wild = np.array([-1e30, -1e4, 0.0, 1e4, 1e30])
    back = inverse_transform(transform, wild)
    assert np.isfinite(back).all()
    assert (np.diff(back) >= 0).all()
    assert np.isnan(inverse_transform(transform, np.array([np.nan]))).all()  # but a failure stays one


@given(
    z=hnp.arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)),
    is_scaled=st.booleans(),
)
def test_scaling_is_undone(z: np.ndarray, is_scaled: bool) -> None:
    scaler = TargetScaler.fit(z, is_scaled=is_scaled)
    scaled = scaler.scaled(z)
    assert scaled.shape == z.shape
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaler.unscaled(scaled), z, rtol=1e-9, atol=1e-6)
    assert TargetScaler.model_validate_json(scaler.model_dump_json()) == scaler


def test_a_scaled_target_has_mean_zero_and_deviation_one_an_output() -> None:
    z = np.random.default_rng(0).normal([5.0, -100.0], [2.0, 30.0], (50, 2))
    scaled = TargetScaler.fit(z, is_scaled=True).scaled(z)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0)
    np.testing.assert_array_equal(TargetScaler.fit(z, is_scaled=False).scaled(z), z)


def test_a_constant_target_is_only_centred() -> None:
    scaler = TargetScaler.fit(np.full((4, 1), 7.0), is_scaled=True)
    assert (scaler.centre, scaler.scale) == ([7.0], [1.0])


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-50, 50)))
def test_softmax_is_scipys(logits: np.ndarray) -> None:
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits, axis=1), rtol=1e-12)


def test_softmax_is_stable_for_any_logit() -> None:
    probability = softmax(np.array([[1e308, 0.0], [-1e308, 0.0], [1e4, 1e4], [-1e300, -1e300]]))
    np.testing.assert_array_equal(probability, [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]])


def test_class_indicators_name_the_class() -> None:
    np.testing.assert_array_equal(class_indicators(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])


def test_balanced_classes_weigh_alike_in_all_and_rows_one_on_average() -> None:
    codes = np.array([0] * 6 + [1] * 3 + [2])
    weight = balanced_class_weights(codes, np.ones(10), 3)
    np.testing.assert_allclose(weight, [10 / 18, 10 / 9, 10 / 3])  # scikit-learn's n / (k * count)
    rows = np.array([1.0, 2.0] * 5)
    weight = balanced_class_weights(codes, rows, 3)
    np.testing.assert_allclose(np.bincount(codes, weights=rows * weight[codes]), 5.0)
    assert balanced_class_weights(codes, np.ones(10), 4)[3] == 0.0  # of no row: nothing to weigh, and no division by it
