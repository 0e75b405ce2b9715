"""Weights of classes: what probabilities are multiplied with, so that the most probable class scores best.

Knows class codes, probabilities (rows, classes) and a metric of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric

POWERS = np.linspace(-0.4, 1.2, 9)  # of the inverse frequencies, tried first; 1 suits balanced accuracy
FACTORS = (0.9, 1.11, 0.75, 1.33, 0.5, 2.0)  # then tried for each class in turn
N_ROUNDS = 2
MOST_ROWS = 5_000  # rows that the weights are scored on; callers pass them in no order


def best_class_weights(metric: Metric, codes: NDArray[Any], probability: FloatArray) -> list[float]:
    """(classes,) the weights of the best score on these rows, the greatest of them 1; equal ones if none is better."""
    rows = np.arange(min(len(codes), MOST_ROWS))
    metric, codes, probability = metric.at(rows), codes[rows].astype(np.int64), probability[rows]
    n_classes = probability.shape[1]
    shares = np.maximum(np.bincount(codes, minlength=n_classes), 1) / len(codes)
    best, best_score = np.ones(n_classes), _score(metric, codes, probability)
    for weights in (shares**-power for power in sorted(POWERS, key=abs)):
        if metric.is_better(score := _score(metric, codes, probability * weights), best_score):
            best, best_score = weights, score
    for _ in range(N_ROUNDS):
        for code in range(n_classes):
            before = best
            for factor in FACTORS:
                weights = before.copy()
                weights[code] *= factor
                if metric.is_better(score := _score(metric, codes, probability * weights), best_score):
                    best, best_score = weights, score
    return [float(weight) for weight in best / best.max()]


def _score(metric: Metric, codes: NDArray[np.int64], probability: FloatArray) -> float:
    """The metric of the most probable classes, from their counts where it takes weights."""
    if not metric.can_weigh:
        return metric(codes, probability)
    n_classes = probability.shape[1]
    cells = codes * n_classes + probability.argmax(axis=1)
    counts = np.bincount(cells, weights=metric.weight, minlength=n_classes**2)
    occurring = np.flatnonzero(counts)
    true, predicted = np.divmod(occurring, n_classes)
    return replace(metric, rows=counts[occurring], by_row="weight")(true, np.eye(n_classes)[predicted])


def weighted_classes(probability: FloatArray, class_weights: Sequence[float]) -> FloatArray:
    """(rows, classes) probabilities multiplied by the weights of their classes; rows sum to 1."""
    weighted = probability * np.array(class_weights)
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True), dtype=np.float64)
