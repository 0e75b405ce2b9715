"""The model behind `choose`: what it believes of a submission's scores, and which two it takes."""

from __future__ import annotations

import choose as benchmark
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scoring.selection import RowCounts, Scored, _expected_best, select

ROWS = RowCounts(cv=5000, public=500, private=4500)


def ledger(cv: list[float | None], public: list[float | None], *, noise: float = 0.01) -> list[Scored]:
    """Submissions whose fold scores scatter about their cv."""
    rng = np.random.default_rng(1)
    return [
        Scored(c, p, None if c is None else c + noise * rng.normal(size=5)) for c, p in zip(cv, public, strict=True)
    ]


def alike(m: int, correlation: float = 0.9) -> np.ndarray:
    return np.full((m, m), correlation) + (1 - correlation) * np.eye(m)


def best_pair(submissions: list[Scored], correlation: np.ndarray, rows: RowCounts = ROWS) -> set[int]:
    pair = select(submissions, correlation, rows).pairs[0]
    return {pair.first, pair.second}


def test_cv_and_public_score_count_by_their_rows() -> None:
    submissions = ledger([0.50, 0.51, 0.52, 0.53], [0.50, 0.51, 0.52, 0.53])
    weights = [
        select(submissions, alike(4), RowCounts(5000, public, 5000)).cv_weight for public in (50, 500, 5000, 50_000)
    ]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 0.95
    assert weights[3] < 0.25


def test_the_expected_order_is_between_that_of_cv_and_of_public_scores() -> None:
    found = select(ledger([0.50, 0.51, 0.52, 0.53], [0.53, 0.52, 0.51, 0.50]), alike(4), ROWS)
    assert list(np.argsort(found.expected)) == [0, 1, 2, 3]  # of ten times the rows
    found = select(ledger([0.50, 0.51, 0.52, 0.53], [0.53, 0.52, 0.51, 0.50]), alike(4), RowCounts(500, 5000, 5000))
    assert list(np.argsort(found.expected)) == [3, 2, 1, 0]


def test_a_cv_that_the_public_score_contradicts_is_not_believed() -> None:
    cv = [0.40, 0.50, 0.505, 0.51, 0.515, 0.52]  # the first one leaks
    public = [0.62, 0.60, 0.605, 0.61, 0.615, 0.62]
    found = select(ledger(cv, public), alike(6), ROWS)
    assert found.fault[0] > 0.9
    assert found.contradiction[0] > 5
    assert found.fault[1:].max() < 0.2
    assert best_pair(ledger(cv, public), alike(6)) == {1, 2}


def test_a_public_score_that_is_far_too_good_is_not_believed_alone() -> None:
    cv = [0.50, 0.505, 0.51, 0.515, 0.52, 0.56]
    public = [0.60, 0.605, 0.61, 0.615, 0.62, 0.40]  # the last one was searched for
    found = select(ledger(cv, public), alike(6), ROWS)
    assert found.fault[5] > 0.9
    assert found.expected[5] > 0.45


def test_of_equals_the_one_that_differs_goes_with_the_best() -> None:
    submissions = ledger([0.500, 0.501, 0.501], [0.600, 0.601, 0.601])
    correlation = np.array([[1, 0.999, 0.9], [0.999, 1, 0.9], [0.9, 0.9, 1.0]])
    assert best_pair(submissions, correlation) == {0, 2}
    assert best_pair(submissions, correlation[[0, 2, 1]][:, [0, 2, 1]]) == {0, 1}


def test_a_submission_without_cv_is_drawn_to_those_that_predict_the_same() -> None:
    """A public score of few rows says little of a file by hand; a run with almost the same predictions says more."""
    submissions = ledger([0.50, 0.55, 0.60, None, None], [0.50, 0.55, 0.60, 0.52, 0.52])
    correlation = alike(5, 0.8)
    correlation[0, 3] = correlation[3, 0] = correlation[2, 4] = correlation[4, 2] = 0.999
    expected = select(submissions, correlation, RowCounts(5000, 50, 5000)).expected
    assert expected[3] < expected[4]


def test_the_shift_from_train_to_test_rows_does_not_matter() -> None:
    cv, public = [0.50, 0.51, 0.53, 0.52], [0.51, 0.50, 0.53, 0.54]
    for shift in (0.0, 0.3, -0.2):
        moved = ledger(cv, [score + shift for score in public])
        assert best_pair(moved, alike(4)) == best_pair(ledger(cv, public), alike(4))


def test_noise_is_that_of_the_scores_where_no_fold_scores_are_known() -> None:
    submissions = [Scored(one.cv, one.public) for one in ledger([0.5, 0.51, 0.52, 0.53], [0.6, 0.61, 0.63, 0.62])]
    assert select(submissions, alike(4), ROWS).noise_from == "scores"
    assert best_pair(submissions, alike(4)) == {0, 1}


def test_the_expected_best_of_two_is_what_simulation_finds() -> None:
    mean, covariance = np.array([0.5, 0.52]), np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    drawn = np.random.default_rng(0).multivariate_normal(mean, covariance, 400_000).min(axis=1)
    (found,) = _expected_best(mean, covariance, np.array([0]), np.array([1]))
    assert found == pytest.approx(drawn.mean(), abs=2e-4)


SCORE = st.none() | st.floats(-1e3, 1e3).map(lambda score: round(score, 6))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_ledger_holds_all_numbers_are_finite(data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 7))
    submissions = []
    for _ in range(m):
        cv, public = data.draw(SCORE), data.draw(SCORE)
        public = 0.0 if cv is None and public is None else public
        folds = data.draw(st.none() | st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5))
        submissions.append(Scored(cv, public, None if folds is None else np.array(folds)))
    correlation = np.random.default_rng(data.draw(st.integers(0, 99))).uniform(-1, 1, (m, m))
    correlation = np.where(
        np.random.default_rng(m).random((m, m)) < 0.2, np.nan, np.sign(correlation) * abs(correlation) ** 0.1
    )
    correlation = (correlation + correlation.T) / 2
    found = select(submissions, correlation, RowCounts(*data.draw(st.tuples(*[st.integers(2, 10**6)] * 3))))
    assert np.isfinite(found.expected).all()
    assert np.isfinite(found.error).all()
    assert ((found.fault >= 0) & (found.fault <= 1)).all()
    assert len(found.pairs) == m * (m - 1) // 2
    assert all(np.isfinite(pair.expected) for pair in found.pairs)


@pytest.mark.slow
def test_replayed_ledgers_end_better_than_with_the_usual_rules() -> None:
    """A sample of `benchmarks/choose.py`."""
    behind: dict[str, list[float]] = {name: [] for name in ("choose", "two best public", "two best cv", "random")}
    for seed in range(5000, 5030):
        simulated = benchmark.simulate(seed)
        scores = np.array(simulated.private)
        spread = scores.std()
        for name, regrets in behind.items():
            pair = benchmark.STRATEGIES[name](simulated)
            losses = simulated.metric.losses(scores)
            regrets.append((losses[list(pair)].min() - losses.min()) / spread)
    mean = {name: float(np.mean(regrets)) for name, regrets in behind.items()}
    assert mean["choose"] < min(mean["two best public"], mean["two best cv"], mean["random"])
