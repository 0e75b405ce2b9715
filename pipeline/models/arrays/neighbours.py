"""Nearest neighbours. Knows arrays; must not know frames or storage."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.config.table import Table, bounded
from pipeline.encoders.target import class_indicators
from pipeline.models.arrays.learners import Arrays, FitRows, Job, ParamsLearner, inner_loss

ROWS_FOR_NUMBER = 2048  # rows used to choose the number of neighbours


class NeighbourParams(Table):
    """Parameters of `neighbours`."""

    numbers: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        default=(5, 10, 20, 40),
        min_length=1,
        max_length=20,
        description="numbers of neighbours to try",
        json_schema_extra={"usual": "5 to 100"},
    )
    max_rows: int = bounded(
        20_000,
        ge=10,
        le=1_000_000,
        usual="5,000 to 100,000",
        description="most rows kept as neighbours; larger tables are sampled",
    )


class Neighbours(ParamsLearner[NeighbourParams]):
    """The mean of the nearest rows, weighted by inverse distance; their number by leave-one-out error."""

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """Keep the rows and choose the number of neighbours."""
        rows = rows.at_most(self.params.max_rows, job.seed)
        y = rows.y[:, None] if rows.is_regression else class_indicators(rows.y.astype(np.int64), rows.n_classes)
        tried = np.sort(np.random.default_rng(job.seed).choice(len(y), min(len(y), ROWS_FOR_NUMBER), replace=False))
        choices = [number for number in self.params.numbers if number < len(y)] or [max(1, len(y) - 1)]
        distances, nearest = _nearest(rows.x, rows.x[tried], max(choices) + 1)
        others = np.argsort(nearest == tried[:, None], axis=1, kind="stable")[:, :-1]  # a row is not its own neighbour
        distances = np.take_along_axis(distances, others, axis=1)
        nearest = np.take_along_axis(nearest, others, axis=1)
        held = rows.take(tried)
        losses = []
        for number in choices:
            job.check_stop()
            means = _mean_of_nearest(distances[:, :number], nearest[:, :number], y, rows.weights)
            losses.append(inner_loss(held, means[:, 0] if rows.is_regression else _floored(means)))
        number = choices[int(np.argmin(losses))]
        weight = rows.weights.astype(np.float32)
        return {"points": rows.x, "y": y.astype(np.float32), "weight": weight, "number": np.array(number)}

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        y = member["y"].astype(np.float64)
        means = _mean_of_nearest(*_nearest(member["points"], x, int(member["number"])), y, member["weight"])
        return _floored(means) if y.shape[1] > 1 else means[:, 0]


def _nearest(points: NDArray[np.float32], x: NDArray[np.float32], number: int) -> tuple[FloatArray, NDArray[np.intp]]:
    """(rows, number) distances and positions of the nearest points, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=min(number, len(points)), algorithm="brute", n_jobs=1)
    distances, nearest = model.fit(points.astype(np.float64)).kneighbors(x.astype(np.float64))
    return distances, nearest


def _mean_of_nearest(
    distances: FloatArray, nearest: NDArray[np.intp], y: FloatArray, weight: NDArray[Any]
) -> FloatArray:
    """(rows, outputs); scikit-learn's KNeighbors models do not support sample weights."""
    closeness = weight[nearest] / np.sqrt(distances**2 + 1e-6)
    means: FloatArray = (closeness[:, :, None] * y[nearest]).sum(axis=1) / closeness.sum(axis=1)[:, None]
    return means


def _floored(shares: FloatArray) -> FloatArray:
    """Class shares, kept above 0: a few neighbours cannot rule a class out."""
    floored: FloatArray = shares + 0.5 / (100.0 * shares.shape[1])
    floored /= floored.sum(axis=1, keepdims=True)
    return floored
