"""Clipped predictions: what is far from the other members of an ensemble is drawn to them, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.run_report import Clipping
from pipeline.metrics import METRICS
from pipeline.scoring.blending import blend, combine
from pipeline.scoring.clipping import clipped, limits_of
from pipeline.scoring.ensembling import choose_ensemble

N_ROWS = 400
FOLDS = np.arange(N_ROWS) % 4


def members(n: int = 4, seed: int = 0, shape: tuple[int, ...] = (N_ROWS,)) -> np.ndarray:
    """(members, *shape) predictions from -1 to 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape))


def test_a_wild_prediction_is_drawn_to_the_others_and_the_rest_stays() -> None:
    stack, weights = members(), np.array([0.4, 0.3, 0.2, 0.1])
    limits = limits_of(stack, weights)
    wild = stack.copy()
    wild[2, 7] = 1e6
    found = clipped(wild, weights, limits)
    assert abs(found[2, 7]) < np.abs(stack[:, 7]).max() + limits
    others = np.ones_like(wild, dtype=bool)
    others[:, 7] = False
    np.testing.assert_array_equal(found[others], wild[others])


def test_a_member_with_most_of_the_weight_is_never_clipped() -> None:
    stack, weights = members(), np.array([0.6, 0.2, 0.1, 0.1])
    np.testing.assert_array_equal(clipped(stack, weights, np.zeros(()))[0], stack[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_the_centre_is_the_weighted_median(seed: int, n: int) -> None:
    stack, weights = members(n, seed), np.random.default_rng(seed).dirichlet(np.ones(n))
    expected = np.quantile(stack, 0.5, axis=0, weights=weights, method="inverted_cdf")
    for member in clipped(stack, weights, np.zeros(())):  # nothing may be away from the centre
        np.testing.assert_array_equal(member, expected)


def test_members_without_weight_decide_nothing() -> None:
    stack, weights = members(3), np.array([0.5, 0.5, 0.0])
    far = stack.copy()
    far[2] += 1e3
    assert limits_of(stack, weights) == limits_of(far, weights)
    np.testing.assert_array_equal(clipped(stack, weights, np.array(0.1))[:2], clipped(far, weights, np.array(0.1))[:2])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_a_row_is_clipped_by_itself(seed: int, n: int) -> None:
    stack, weights = members(n, seed), np.random.default_rng(seed).dirichlet(np.ones(n))
    some = np.random.default_rng(seed).permutation(N_ROWS)[:50]
    limits = 0.3 * limits_of(stack, weights)
    np.testing.assert_array_equal(clipped(stack, weights, limits)[:, some], clipped(stack[:, some], weights, limits))


def test_every_target_has_a_limit_of_its_own() -> None:
    stack = members(shape=(N_ROWS, 2)) * [1.0, 100.0]
    weights = np.full(4, 0.25)
    limits = limits_of(stack, weights)
    assert limits.shape == (2,)
    assert limits[1] > 50 * limits[0]
    metric = METRICS["rmse"]
    whole = combine([*stack], [*weights], metric, Clipping(limits=limits.tolist()))
    alone = [combine([*stack[:, :, j]], [*weights], metric, Clipping(limits=[float(limits[j])])) for j in range(2)]
    np.testing.assert_allclose(whole, np.column_stack(alone))


@pytest.mark.parametrize("name", ["rmse", "log_rmse"])
def test_two_wild_rows_do_not_cost_a_good_member_its_weight(name: str) -> None:
    rng, metric = np.random.default_rng(3), METRICS[name]
    target = np.exp(rng.normal(10, 0.5, N_ROWS))
    oofs = {f"m{i}": target * np.exp(rng.normal(0, 0.2, N_ROWS)) for i in range(4)}
    oofs["good"] = target * np.exp(rng.normal(0, 0.12, N_ROWS))
    tame = choose_ensemble(oofs, target, FOLDS, metric)
    oofs["good"][[10, 203]] *= [40.0, 30.0]
    choice = choose_ensemble(oofs, target, FOLDS, metric)
    assert choice.method == "clipped"
    assert choice.selection.weights["good"] == pytest.approx(tame.selection.weights["good"], abs=0.1)
    assert metric.is_better(choice.nested_scores["clipped"], choice.nested_scores["linear"])
    shares = list(choice.selection.weights.values())
    named = [oofs[name] for name in choice.selection.weights]
    score = metric(target, combine(named, shares, metric, choice.selection.rule))
    assert score == pytest.approx(choice.selection.score)
    assert metric.is_better(score, metric(target, blend(named, shares, metric)))
