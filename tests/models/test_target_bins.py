"""Laws of regression by classification: bins hold all rows, a distribution becomes its mean or median."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.base.errors import SpecError
from pipeline.metrics import METRICS
from pipeline.models.arrays.boosting import BoostingParams
from pipeline.models.arrays.catboost import CatBoost
from pipeline.models.arrays.learners import FitRows, Job
from pipeline.models.arrays.lightgbm import LightGBM
from pipeline.models.arrays.target_bins import LOWS, TargetBins
from pipeline.models.arrays.xgboost import XGBoost

JOB = Job(seed=3, n_threads=1, device=torch.device("cpu"), stop=threading.Event(), n_rounds=30)
LIBRARIES: list[type[Any]] = [LightGBM, XGBoost, CatBoost]


@example([0.0] * 4 + [-699050.8068518236] * 7, 2)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(0, 3).map(float), min_size=1, max_size=200),
    st.integers(2, 40),
)
def test_every_row_is_in_a_bin_and_no_bin_is_empty(values: list[float], n_bins: int) -> None:
    y = np.array(values)
    bins = TargetBins.of(y, n_bins, is_median=True)
    if bins is None:
        assert (y == y.min()).mean() >= 0.5
        return
    codes = bins.codes(y)
    assert set(codes) == set(range(len(bins.means)))
    assert len(bins.means) <= n_bins
    assert (bins.lows[codes] <= y).all()
    assert (y <= bins.highs[codes]).all()
    certain = np.eye(len(bins.means))
    for is_median in (True, False):
        found = replace(bins, is_median=is_median).value(certain)
        assert (np.diff(found) > 0).all()
        assert (bins.lows <= found).all()
        assert (found <= bins.highs).all()


def test_the_value_is_the_median_or_the_mean_of_the_distribution() -> None:
    y = np.random.default_rng(0).exponential(size=20_000)
    for n_bins in (10, 50):
        bins = TargetBins.of(y, n_bins, is_median=True)
        assert bins is not None
        shares = np.bincount(bins.codes(y)) / len(y)
        assert bins.value(shares[None]) == pytest.approx(np.median(y), rel=0.02)
        assert replace(bins, is_median=False).value(shares[None]) == pytest.approx(y.mean(), rel=1e-9)


def test_the_median_of_values_that_repeat_is_one_of_them() -> None:
    ages = np.repeat(np.arange(5.0, 12.0), 30)
    bins = TargetBins.of(ages, 40, is_median=True)
    assert bins is not None
    probability = np.random.default_rng(0).dirichlet(np.ones(len(bins.means)), size=50)
    assert set(bins.value(probability)) <= set(ages)


def test_a_target_of_nearly_one_value_has_no_bins() -> None:
    assert TargetBins.of(np.append(np.zeros(10_000), 1.0), 10, is_median=True) is None


def skewed(metric: str, n_rows: int = 600) -> FitRows:
    """A target whose mean lies far above its median, by one of two columns."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(n_rows, 2)).astype(np.float32)
    y = x[:, 0] + generator.exponential(3.0, n_rows) * (generator.random(n_rows) < 0.3)
    return FitRows(x, (y - y.mean()) / y.std(), None, {}, 0, METRICS[metric])


@pytest.mark.parametrize("library", LIBRARIES)
def test_it_is_right_for_its_metric(library: type[Any]) -> None:
    losses = {}
    for metric in ("mae", "rmse"):
        rows = skewed(metric)
        learner = library(BoostingParams(target_bins=20, lr=0.1, max_leaves=4, max_depth=2))
        member = learner.fit(rows, JOB)
        prediction = learner.predict(member, rows.x)
        assert prediction.shape == rows.y.shape
        assert np.corrcoef(prediction, rows.x[:, 0])[0, 1] > 0.9
        losses[metric] = {name: METRICS[name](rows.y, prediction) for name in ("mae", "rmse")}
        assert learner.contributions(member, rows.x) is None
    assert losses["mae"]["mae"] < losses["rmse"]["mae"]
    assert losses["rmse"]["rmse"] < losses["mae"]["rmse"]


def test_a_target_without_bins_is_learned_as_a_number() -> None:
    rows = skewed("mae")
    rows = replace(rows, y=np.where(np.arange(len(rows.y)) < 3, rows.y, 0.0).clip(0.0))
    member = LightGBM(BoostingParams(target_bins=20)).fit(rows, JOB)
    assert LOWS not in member


def test_bins_are_refused_for_classes() -> None:
    rows = replace(skewed("mae"), y=np.arange(600.0) % 2, n_classes=2, metric=METRICS["log_loss"])
    with pytest.raises(SpecError, match="for regression"):
        LightGBM(BoostingParams(target_bins=20)).fit(rows, JOB)
