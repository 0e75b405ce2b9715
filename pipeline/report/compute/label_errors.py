"""Rows whose label several models agree is wrong, by confident learning on out-of-fold probabilities.

Knows class codes and probabilities. Northcutt, Jiang, Chuang: Confident Learning, JAIR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray


@dataclass(frozen=True)
class Suspect:
    """A row, the class that it is confidently of instead, and how many models say so."""

    row: int
    label: int
    instead: int
    of_label: float  # mean probability of the label
    of_other: float
    n_models: int


def suspects(codes: NDArray[np.int64], probabilities: Sequence[FloatArray]) -> list[Suspect]:
    """The rows that all models call confidently another class than their label, the surest first.

    A model is confident of a class where its probability reaches the mean that it gives to rows with that label.
    """
    claims = np.array([_claimed(codes, probability) for probability in probabilities])
    mean = np.mean(probabilities, axis=0)
    is_agreed = (claims == claims[0]).all(axis=0) & (claims[0] >= 0) & (claims[0] != codes)
    rows = np.flatnonzero(is_agreed)
    other = claims[0][rows]
    margin = mean[rows, other] - mean[rows, codes[rows]]
    order = np.argsort(-margin, kind="stable")
    return [
        Suspect(
            int(rows[i]),
            int(codes[rows[i]]),
            int(other[i]),
            float(mean[rows[i], codes[rows[i]]]),
            float(mean[rows[i], other[i]]),
            len(probabilities),
        )
        for i in order
    ]


def _claimed(codes: NDArray[np.int64], probability: FloatArray) -> NDArray[np.int64]:
    """(rows,) the most probable class of those that the model is confident of; -1 for none."""
    n_classes = probability.shape[1]
    limits = np.array(
        [probability[codes == one, one].mean() if (codes == one).any() else 2.0 for one in range(n_classes)]
    )
    confident = np.where(probability >= limits, probability, -1.0)
    best = confident.argmax(axis=1)
    return np.where(confident.max(axis=1) >= 0, best, -1)
