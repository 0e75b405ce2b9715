"""Errors of a classification: confusion, ROC and precision-recall curves with fold bands, calibration, thresholds.

Knows class codes and probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric
from pipeline.scoring.thresholds import moved_to_half

GRID = np.linspace(0.0, 1.0, 101)
N_BINS = 10
N_THRESHOLDS = 99
MOST_ROWS = 50_000  # of a score by threshold
Codes = NDArray[np.int64]


def confusion(codes: Codes, predicted: Codes, n_classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts of rows: true class by predicted class."""
    flat = np.bincount(codes * n_classes + predicted, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


@dataclass(frozen=True)
class Curve:
    """A curve of all rows, and the mean and spread of the folds' curves on the same grid."""

    x: FloatArray
    y: FloatArray
    low: FloatArray
    high: FloatArray
    area: float
    area_sd: float  # over folds


def roc(is_positive: NDArray[np.bool_], share: FloatArray) -> FloatArray:
    """True positive rate on `GRID` of false positive rates; NaN without rows of both kinds."""
    n_positive = int(is_positive.sum())
    if n_positive in (0, len(is_positive)):
        return np.full(len(GRID), np.nan)
    hits, misses = _running(is_positive, share)
    rates: FloatArray = np.interp(GRID, np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1]))
    return rates


def precision_recall(is_positive: NDArray[np.bool_], share: FloatArray) -> FloatArray:
    """Precision on `GRID` of recalls: the best that is reached at that recall or a greater one; NaN as in `roc`."""
    n_positive = int(is_positive.sum())
    if n_positive in (0, len(is_positive)):
        return np.full(len(GRID), np.nan)
    hits, misses = _running(is_positive, share)
    precision = np.maximum.accumulate((hits / (hits + misses))[::-1])[::-1]
    recall = hits / n_positive
    of_recall: FloatArray = precision[np.minimum(np.searchsorted(recall, GRID - 1e-12), len(recall) - 1)]
    return of_recall


def _running(is_positive: NDArray[np.bool_], share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hits and false alarms among the rows above each distinct probability."""
    order = np.argsort(-share, kind="stable")
    hits = np.cumsum(is_positive[order]).astype(np.float64)
    at = np.append(np.flatnonzero(np.diff(share[order])), len(order) - 1)
    return hits[at], (at + 1 - hits[at]).astype(np.float64)


def with_folds(
    curve: Callable[[NDArray[np.bool_], FloatArray], FloatArray],
    is_positive: NDArray[np.bool_],
    share: FloatArray,
    fold: Codes,
) -> Curve:
    """The curve of all rows with the band of one standard deviation of the folds' curves."""
    whole = curve(is_positive, share)
    curves = np.array([curve(is_positive[fold == one], share[fold == one]) for one in np.unique(fold)])
    curves = curves[np.isfinite(curves).all(axis=1)]
    spread = curves.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(GRID))
    middle = curves.mean(axis=0) if len(curves) else whole
    areas = [float(np.trapezoid(one, GRID)) for one in curves]
    return Curve(
        GRID,
        whole,
        np.clip(middle - spread, 0, 1),
        np.clip(middle + spread, 0, 1),
        float(np.trapezoid(whole, GRID)),
        float(np.std(areas, ddof=1)) if len(areas) > 1 else float("nan"),
    )


@dataclass(frozen=True)
class Reliability:
    """Bins of equally many rows: their mean probability, the share that came true, and its 95 % interval."""

    told: FloatArray
    came_true: FloatArray
    low: FloatArray
    high: FloatArray
    rows: NDArray[np.int64]


def reliability(is_true: NDArray[np.bool_], share: FloatArray, n_bins: int = N_BINS) -> Reliability:
    """Whether rows given 0.8 come true in 8 of 10 cases (Wilson's interval)."""
    order = np.argsort(share, kind="stable")
    parts = [part for part in np.array_split(order, min(n_bins, len(order))) if len(part)]
    rows = np.array([len(part) for part in parts], dtype=np.int64)
    told = np.array([share[part].mean() for part in parts])
    true = np.array([is_true[part].mean() for part in parts])
    z = 1.96
    middle = (true + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(true * (1 - true) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return Reliability(told, true, np.maximum(0, middle - half), np.minimum(1, middle + half), rows)


def score_by_threshold(metric: Metric, codes: Codes, probability: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Thresholds, and the metric of labels that are decided by each; `probability` is (rows, 2)."""
    rows = np.arange(len(codes))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    of_rows = metric.at(rows)
    thresholds = np.arange(1, N_THRESHOLDS + 1) / (N_THRESHOLDS + 1)
    inside = np.clip(probability[rows], 1e-9, 1 - 1e-9)
    scores = [of_rows(codes[rows], moved_to_half(inside, float(one))) for one in thresholds]
    return thresholds, np.array(scores)
