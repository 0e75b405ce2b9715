"""Clipped predictions: where one member of an ensemble is far from the others, it is drawn to them.

A row unlike all others makes some models predict nonsense; two such rows can decide an ensemble's weights. The centre
of a row is the weighted median of its members' predictions, of which a wild one is no part (a clipped mean, as robust
statistics has it: Huber 1981). Knows arrays; must not know metrics, folds or where weights come from.
"""

from __future__ import annotations

import numpy as np

from pipeline.base.arrays import FloatArray

LIMIT = 6.0  # from a row's centre, in mean distances of the members from it; benchmarks/ablation.md


def limits_of(stack: FloatArray, weights: FloatArray) -> FloatArray:
    """(...) how far a member may be from a row's centre: one number for each column of `stack` (members, rows, ...)."""
    distance = np.abs(stack - _centre(stack, weights))
    shares = weights / weights.sum()
    limits: FloatArray = LIMIT * np.tensordot(shares, distance.mean(axis=1), axes=1)
    return limits


def clipped(stack: FloatArray, weights: FloatArray, limits: FloatArray) -> FloatArray:
    """(members, rows, ...) the predictions, none of them further than `limits` from the centre of its row."""
    centre = _centre(stack, weights)
    return np.clip(stack, centre - limits, centre + limits)


def clipped_average(stack: FloatArray, weights: FloatArray, limits: FloatArray) -> FloatArray:
    """(rows, ...) the average of the clipped predictions (members, rows, ...); `weights` are of sum 1."""
    average: FloatArray = np.tensordot(weights, clipped(stack, weights, limits), axes=1)
    return average


def _centre(stack: FloatArray, weights: FloatArray) -> FloatArray:
    """(rows, ...) the weighted medians of the members: at least half of the weight is on either side, or there.

    Equal to numpy's weighted quantile (`inverted_cdf`), which takes ten times as long; a race asks after every model.
    """
    heavy = np.flatnonzero(weights)
    of_row = np.moveaxis(stack[heavy], 0, -1)
    order = np.argsort(of_row, axis=-1, kind="stable")
    reached = np.cumsum(weights[heavy][order], axis=-1)
    middle = np.argmax(reached >= 0.5 * reached[..., -1:], axis=-1)[..., None]
    centre: FloatArray = np.take_along_axis(of_row, np.take_along_axis(order, middle, axis=-1), axis=-1)[..., 0]
    return centre
