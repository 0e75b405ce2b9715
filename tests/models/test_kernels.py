"""Laws of the distance learners: a left-out row is predicted as if it had been left out, in blocks as in one."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from pipeline.metrics import METRICS
from pipeline.models.arrays import kernels
from pipeline.models.arrays.kernels import _fitted_ridge
from pipeline.models.arrays.learners import FitRows, Job
from pipeline.models.arrays.neighbours import NeighbourParams, Neighbours

JOB = Job(seed=3, n_threads=1, device=torch.device("cpu"), stop=threading.Event())


def make_rows(n_rows: int = 60) -> FitRows:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n_rows, 3)).astype(np.float32)
    y = np.sin(x[:, 0]) + 0.1 * rng.normal(size=n_rows)
    return FitRows(x, y, rng.uniform(0.2, 2.0, n_rows), {}, 0, METRICS["rmse"])


def test_a_left_out_row_is_predicted_as_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "RIDGE_ALPHAS", np.array([0.1]))
    rows = make_rows()
    centres = rows.x[:20]
    _, _, left_out = _fitted_ridge(rows, centres, 0.3, JOB)
    for row in (0, 25, 59):
        others = np.delete(np.arange(len(rows.y)), row)
        _, member, _ = _fitted_ridge(rows.take(others), centres, 0.3, JOB)
        assert kernels._outputs(member, rows.x[[row]])[0, 0] == pytest.approx(left_out[row, 0], abs=1e-4)


def test_blocks_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows()
    error, member, left_out = _fitted_ridge(rows, rows.x, 0.3, JOB)
    monkeypatch.setattr(kernels, "BLOCK", 7)
    error_of_blocks, in_blocks, left_out_of_blocks = _fitted_ridge(rows, rows.x, 0.3, JOB)
    assert error_of_blocks == pytest.approx(error, rel=1e-6)
    np.testing.assert_allclose(left_out_of_blocks, left_out, atol=1e-6)
    np.testing.assert_allclose(kernels._outputs(in_blocks, rows.x), kernels._outputs(member, rows.x), atol=1e-5)


@pytest.mark.parametrize("repeats", [1, 3])
def test_no_row_is_its_own_neighbour_when_their_number_is_chosen(repeats: int) -> None:
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=(60, 3)), repeats, axis=0).astype(np.float32)
    rows = FitRows(x, rng.normal(size=len(x)), None, {}, 0, METRICS["rmse"])
    learner = Neighbours(NeighbourParams(numbers=(1, 10)))
    member = learner.fit(rows, JOB)
    assert int(member["number"]) == 10  # of noise, 1 would be best if a row were its own neighbour
    assert np.isfinite(learner.predict(member, x)).all()
