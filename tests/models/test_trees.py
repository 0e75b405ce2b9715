"""Laws of the stored trees: they predict what scikit-learn's own predict, after storage too."""

from __future__ import annotations

import lzma
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.base.errors import ArtifactError
from pipeline.metrics import METRICS
from pipeline.models.arrays import trees
from pipeline.models.arrays.boosting import BoostingParams
from pipeline.models.arrays.catboost import CatBoost
from pipeline.models.arrays.learners import CUT, FEWEST_GROWN, Arrays, FitRows, Job
from pipeline.models.arrays.lightgbm import LightGBM
from pipeline.models.arrays.stored import estimator_of, stored
from pipeline.models.arrays.trees import (
    ExtraTrees,
    ForestParams,
    HistogramBoosting,
    HistogramParams,
    RandomForest,
    _Forest,
    _without_missing,
    rounded_down,
)
from pipeline.models.arrays.xgboost import XGBoost

JOB = Job(seed=3, n_threads=1, device=torch.device("cpu"), stop=threading.Event(), n_rounds=12)


def make_rows(n_classes: int, n_rows: int = 150) -> FitRows:
    """A number with gaps, another, and a category of 12 codes that decides a part of the target."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(n_rows, 3)).astype(np.float32)
    x[generator.random(n_rows) < 0.2, 0] = np.nan
    x[:, 2] = generator.integers(0, 12, n_rows)
    signal = np.nan_to_num(x[:, 0]) + x[:, 1] + 2.0 * np.isin(x[:, 2], (1, 5, 6)) + (np.isnan(x[:, 0]) * 0.5)
    if n_classes:
        y = np.digitize(signal, np.quantile(signal, np.arange(1, n_classes) / n_classes)).astype(np.float64)
    else:
        y = signal.astype(np.float64)
    metric = METRICS["log_loss" if n_classes else "rmse"]
    return FitRows(x, y, None, {2: 12}, n_classes, metric)


def read_anew(member: Arrays) -> Arrays:
    """What comes back from a file: equal arrays that nothing is remembered of."""
    return {name: array.copy() for name, array in member.items()}


class Foreign:
    """A class that skops can write and must not build."""

    def __init__(self) -> None:
        self.number = 1


@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("learner_class", [RandomForest, ExtraTrees])
def test_a_stored_forest_predicts_as_scikit_learns(learner_class: type[Any], n_classes: int) -> None:
    rows = make_rows(n_classes)
    learner = learner_class(ForestParams(n_trees=8, max_features=0.5))
    ours = learner.predict(read_anew(learner.fit(rows, JOB)), rows.x)
    model = learner._model(n_classes == 0)(n_estimators=8, max_features=0.5, min_samples_leaf=2, random_state=3)
    model.fit(_without_missing(rows.x), rows.y)
    x = _without_missing(rows.x)
    np.testing.assert_allclose(ours, model.predict_proba(x) if n_classes else model.predict(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_a_stored_boosting_predicts_as_scikit_learns(n_classes: int) -> None:
    rows = make_rows(n_classes)
    learner = HistogramBoosting(HistogramParams(lr=0.2))
    member = learner.fit(rows, JOB)
    *_, model = learner._growing(rows, JOB, 12)
    x = rows.x.copy()
    x[:5, 0] = np.nan
    x[5:10, 2] = 99.0  # no known code
    expected = model.predict_proba(x) if n_classes else model.predict(x)
    np.testing.assert_array_equal(learner.predict(member, x), expected)
    np.testing.assert_array_equal(learner.predict(read_anew(member), x), expected)


def test_a_code_that_the_fit_rows_lack_is_a_missing_value() -> None:
    rows = make_rows(0)
    learner = HistogramBoosting(HistogramParams(lr=0.2))
    member = learner.fit(rows, JOB)
    unknown, missing = rows.x.copy(), rows.x.copy()
    unknown[:, 2], missing[:, 2] = 99.0, np.nan
    np.testing.assert_array_equal(learner.predict(member, unknown), learner.predict(member, missing))


def test_categories_beyond_the_most_are_read_as_numbers() -> None:
    rows = make_rows(0, n_rows=600)
    rows.x[:, 2] = np.arange(600) // 2
    member = HistogramBoosting(HistogramParams(lr=0.2)).fit(rows, JOB)
    assert np.isfinite(HistogramBoosting(HistogramParams()).predict(member, rows.x)).all()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK"])
def test_damaged_bytes_are_one_clear_message(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="Train the run again"):
        estimator_of(np.frombuffer(lzma.compress(content), dtype=np.uint8))


def test_a_type_that_no_learner_stores_is_refused() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        estimator_of(read_anew({"model": stored(Foreign())})["model"])


def test_a_column_without_a_value_in_the_fit_rows_is_no_obstacle() -> None:
    rows = make_rows(0)
    rows.x[:, 0] = np.nan
    learner = HistogramBoosting(HistogramParams(lr=0.2))
    member = learner.fit(rows, JOB)
    other = rows.x.copy()
    other[:, 0] = 5.0
    np.testing.assert_array_equal(learner.predict(member, other), learner.predict(member, rows.x))


def test_thresholds_part_float32_values_as_before() -> None:
    generator = np.random.default_rng(0)
    threshold = generator.normal(size=1000)
    near = threshold.astype(np.float32)
    for value in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
        np.testing.assert_array_equal(value <= rounded_down(threshold), value.astype(np.float64) <= threshold)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [0, 3])
def test_trees_do_not_depend_on_how_many_are_grown_at_once(n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, free = make_rows(n_classes), Job(seed=3, n_threads=1, device=torch.device("cpu"), stop=threading.Event())
    learners = [RandomForest(ForestParams(n_trees=12)), HistogramBoosting(HistogramParams(max_rounds=12))]
    whole = [learner.fit(rows, free) for learner in learners]
    monkeypatch.setattr(trees, "TREES_AT_ONCE", 5)
    monkeypatch.setattr(trees, "ROUNDS_AT_ONCE", 5)
    for learner, member in zip(learners, whole, strict=True):
        again = learner.fit(rows, free)
        np.testing.assert_array_equal(learner.predict(again, rows.x), learner.predict(member, rows.x))


@pytest.mark.parametrize("n_classes", [0, 3])
@pytest.mark.parametrize(
    "learner_class",
    [RandomForest, ExtraTrees, HistogramBoosting, LightGBM, XGBoost, CatBoost],
    ids=lambda one: one.__name__,
)
def test_what_grows_ends_in_time_with_what_it_has(
    learner_class: type[Any], n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(getattr(learner_class, "library", "sklearn"))
    monkeypatch.setattr(trees, "ROUNDS_AT_ONCE", 5)
    rows, params = make_rows(n_classes, n_rows=600), {"lr": 1e-3, "patience": 5000}
    if issubclass(learner_class, _Forest):
        learner = learner_class(ForestParams(n_trees=60))
    else:
        learner = learner_class((HistogramParams if learner_class is HistogramBoosting else BoostingParams)(**params))
    began = time.monotonic()
    member = learner.fit(rows, replace(JOB, n_rounds=None, ends_at=began))
    assert time.monotonic() - began < 20.0  # thousands of rounds take longer
    assert member[CUT]
    if "n_rounds" in member:
        assert FEWEST_GROWN - 5 <= member["n_rounds"] <= FEWEST_GROWN + 5
    assert np.isfinite(learner.predict(read_anew(member), rows.x)).all()
    unlimited = learner.fit(rows, replace(JOB, n_rounds=25, ends_at=began + 600.0, cut=threading.Event()))
    assert CUT not in unlimited
    plain = learner.fit(rows, replace(JOB, n_rounds=25, cut=threading.Event()))
    np.testing.assert_array_equal(learner.predict(unlimited, rows.x), learner.predict(plain, rows.x))
