"""Law 9, same command, same bits: on a CPU neither workers nor threads change a prediction."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.base.cluster import Cluster
from pipeline.base.fit_workers import HERE, Workers
from pipeline.metrics import Task
from pipeline.models.arrays import members
from pipeline.models.arrays.lightgbm import LightGBM
from pipeline.models.base import FitContext
from pipeline.models.registry import MODELS
from tests.models.conftest import PRETRAINED, make_problem, make_splits, quick

OTHERS = {"cnn", *PRETRAINED}  # have their own tests
NOT_FOR = {"logistic": "regression", "huber": "multiclass"}
N_ROWS = {"kernel_ridge": 1200, "svm": 600}  # products of small tables use one thread anyway


@contextmanager
def threads(number: int) -> Iterator[None]:
    """As many threads as `OMP_NUM_THREADS` would give to torch and to NumPy."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    with threadpool_limits(number):
        yield
    torch.set_num_threads(before)


def predictions(
    name: str, task: Task, n_workers: int, n_threads: int, workers: Workers = HERE
) -> list[NDArray[np.float64]]:
    """Out-of-fold and test predictions of two splits, of networks enough for two packs."""
    problem = make_problem(task, N_ROWS.get(name, 120))
    splits = make_splits(len(problem.train), 2)
    with threads(n_threads):
        context = FitContext(n_workers=n_workers, workers=workers)
        fitted = quick(name).fit(problem, splits, seed=0, n_seeds=4 if MODELS[name].is_network else 1, context=context)
        return [fitted.oof_prediction, fitted.predict(problem.test, [0, 1])]


@pytest.mark.parametrize("name", sorted(MODELS.keys() - OTHERS))
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_workers_and_threads_do_not_change_a_bit(name: str, task: Task) -> None:
    if task == NOT_FOR.get(name):
        return
    expected = predictions(name, task, 1, 1)
    for n_workers, n_threads in ((2, 4), (4, 1)):
        for one, other in zip(expected, predictions(name, task, n_workers, n_threads), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "lightgbm", "random_forest", "mlp", "text_linear"])
@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_a_fit_on_a_cluster_has_the_bits_of_one_here(name: str, task: Task, cluster: Cluster) -> None:
    here, there = predictions(name, task, 2, 1), predictions(name, task, 2, 1, workers=cluster)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
def test_threads_that_a_prediction_left_idle_end_before_members_are_fitted() -> None:
    import lightgbm

    pools = members._thread_pools(LightGBM)
    x = np.random.default_rng(0).normal(size=(1000, 3))
    booster = lightgbm.train({"num_threads": 4, "verbosity": -1}, lightgbm.Dataset(x, x[:, 0]), 2)
    booster.predict(x, num_threads=4)
    n_before = len(os.listdir("/proc/self/task"))
    members._end_idle_threads(pools)
    assert len(os.listdir("/proc/self/task")) <= n_before - 3
