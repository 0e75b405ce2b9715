"""Cut points of ordered classes: where the expected class number passes from one class to the next.

Knows class codes, probabilities (rows, classes) and a metric of ordered classes, such as the quadratic kappa.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric

N_BINS = 200  # of the expected class numbers, equally full: cut points lie between bins
MOST_ROUNDS = 20  # over all cut points; few are needed
NEAREST = 0.49  # a position stays closer than half to its class, so that the class is the most probable one


def expected_class(probability: FloatArray) -> FloatArray:
    """(rows,) the mean class number, 0 to classes - 1."""
    shares = probability / probability.sum(axis=1, keepdims=True)
    expected: FloatArray = shares @ np.arange(probability.shape[1])
    return expected


def best_cut_points(metric: Metric, codes: NDArray[Any], probability: FloatArray) -> list[float]:
    """(classes - 1,) rising cut points of the best score on these rows, moved one at a time until none improves.

    The search starts at the cut points with which each class is predicted as often as it occurs.
    """
    assert metric.of_confusion is not None, "a metric of ordered classes"
    expected, n_classes = expected_class(probability), probability.shape[1]
    bins = np.unique(np.quantile(expected, np.linspace(0.0, 1.0, N_BINS + 1)))
    edges = np.concatenate([[-np.inf], (bins[1:] + bins[:-1]) / 2.0, [np.inf]])
    counts = np.zeros((len(edges), n_classes))  # rows of each class below each edge
    place = np.searchsorted(edges, expected, side="left")
    weight = np.ones(len(codes)) if metric.weight is None else metric.weight
    np.add.at(counts, (place, codes.astype(np.int64)), weight)
    counts = np.cumsum(counts, axis=0)

    def score(cuts: NDArray[np.intp]) -> float:
        below = np.vstack([np.zeros(n_classes), counts[cuts], counts[-1]])
        return metric.of_confusion(np.diff(below, axis=0).T)  # type: ignore[misc]

    shares = np.cumsum(counts[-1])[:-1]
    cuts = np.searchsorted(counts.sum(axis=1), shares, side="left")
    best = score(cuts)
    for _ in range(MOST_ROUNDS):
        before = best
        for j in range(n_classes - 1):
            lowest, highest = cuts[j - 1] if j else 0, cuts[j + 1] if j < n_classes - 2 else len(edges) - 1
            for edge in range(lowest, highest + 1):
                moved = np.concatenate([cuts[:j], [edge], cuts[j + 1 :]])
                if metric.is_better(found := score(moved), best):
                    best, cuts = found, moved
        if best == before:
            break
    return [float(cut) for cut in np.clip(edges[cuts], -1.0, n_classes)]


def decided_by_cut_points(probability: FloatArray, cut_points: list[float]) -> FloatArray:
    """(rows, classes) probabilities whose most probable class is the one that the cut points choose.

    They are those of the two classes next to a position between 0 and classes - 1, which rises with the expected class
    number and passes k + 0.5 at cut point k. Averages of such predictions are averages of the positions.
    """
    expected, cuts, last = expected_class(probability), np.array(cut_points), len(cut_points)
    code = np.searchsorted(cuts, expected, side="left")
    knots = np.concatenate([[min(0.0, cuts[0])], cuts, [max(float(last), cuts[-1])]])
    position = np.interp(expected, knots, [0.0, *(np.arange(last) + 0.5), float(last)])
    position = np.clip(np.clip(position, code - NEAREST, code + NEAREST), 0.0, float(last))
    below = np.minimum(np.floor(position).astype(np.int64), last - 1)
    decided = np.zeros_like(probability)
    rows = np.arange(len(decided))
    decided[rows, below], decided[rows, below + 1] = 1.0 - (position - below), position - below
    return decided
