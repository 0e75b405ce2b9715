"""Learning curves: mean and spread over folds, and where the best epochs lie.

Knows the frames of a run's history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.metrics import Metric


@dataclass(frozen=True)
class LearningCurves:
    """Mean scores over the seeds of each fold at the epochs that were scored."""

    epochs: FloatArray
    train: FloatArray  # (folds, epochs)
    valid: FloatArray
    best: list[int]  # of each fold, the epoch of its best valid score


def learning_curves(history: pd.DataFrame, part: int, metric: Metric) -> LearningCurves:
    """The curves of one part of a run; NaN where a fold stopped earlier."""
    mine = history[history["part"] == part]
    tables = [
        mine.pivot_table(index="split", columns="epoch", values=name, aggfunc="mean", dropna=False)
        for name in ("train_score", "valid_score")
    ]
    epochs = tables[1].columns.to_numpy(dtype=np.float64)
    train, valid = (table.to_numpy(dtype=np.float64) for table in tables)
    best = [int(epochs[int(np.argmin(metric.losses(row)))]) for row in valid]
    return LearningCurves(epochs, train, valid, best)


def smallest_gap(curves: LearningCurves, metric: Metric) -> float:
    """How much better train is than valid at the last epoch, mean over the folds."""
    return float(np.nanmean(metric.gain(_last(curves.train), _last(curves.valid))))


def _last(scores: FloatArray) -> FloatArray:
    """(folds,) the last finite score of each."""
    known = [row[np.isfinite(row)] for row in scores]
    return np.array([row[-1] if len(row) else np.nan for row in known])
