"""The baseline every model must beat. Knows arrays; must not know frames or storage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.arrays.learners import Arrays, FitRows, Job, NoParams, ParamsLearner


class Baseline(ParamsLearner[NoParams]):
    """One prediction for all rows: mean, median or class shares."""

    def fit(self, rows: FitRows, job: Job) -> Arrays:  # noqa: ARG002
        """The weighted median for metrics of absolute errors, else the mean; for classes their weighted shares."""
        if not rows.is_regression:
            shares = np.bincount(rows.y.astype(np.int64), weights=rows.weights, minlength=rows.n_classes)
            return {"constant": shares / shares.sum()}
        if rows.metric.loss != "mae":
            return {"constant": np.array([np.average(rows.y, weights=rows.weights)])}
        order = np.argsort(rows.y)
        below = np.cumsum(rows.weights[order])
        return {"constant": rows.y[order][[np.searchsorted(below, below[-1] / 2)]]}

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """The constant, for every row."""
        constant: FloatArray = member["constant"]
        return np.full(len(x), constant[0]) if len(constant) == 1 else np.tile(constant, (len(x), 1))
