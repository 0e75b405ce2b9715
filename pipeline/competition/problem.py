"""One competition as a model sees it. Knows frames and the metric; knows no files and no models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import Split
from pipeline.config.run import FeatureSteps
from pipeline.config.spec import Scope, TargetTransform
from pipeline.config.types import Role
from pipeline.metrics import Metric, Task


@dataclass(frozen=True)
class Problem:
    """One competition as a model sees it: typed tables, the target, and how features and target are prepared."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: FloatArray  # (rows,) or (rows, targets) numbers, or (rows,) class codes
    roles: dict[str, Role]
    ordered: dict[str, list[str]]
    task: Task
    n_classes: int  # 0 for regression
    metric: Metric
    sample_weight: FloatArray | None  # (rows,) the spec's column times the weight a user gave the row's class
    features: FeatureSteps
    scope: Scope
    target_transform: TargetTransform
    left_out: Sequence[str] = ()  # raw columns that became no feature, as those with one value only
    balances_classes: bool = False  # every class of the rows a fit may learn from weighs as much in it

    def weights_of(self, split: Split) -> FloatArray | None:
        """(rows,) what a row weighs in the loss of a fit on the split's train rows; None: all alike.

        Classes are counted in those rows alone.
        """
        if not self.balances_classes:
            return self.sample_weight
        codes, rows = self.target.astype(np.int64), split.train_rows
        own = np.ones(len(codes)) if self.sample_weight is None else self.sample_weight
        weights: FloatArray = own * balanced_class_weights(codes[rows], own[rows], self.n_classes)[codes]
        return weights


def balanced_class_weights(codes: NDArray[np.int64], row_weight: FloatArray, n_classes: int) -> FloatArray:
    """(classes,) weights of the classes of the rows given: each weighs as much in all, and a row 1 on average.

    A class that none of the rows has weighs 0.
    """
    total = np.bincount(codes, weights=row_weight, minlength=n_classes)
    weights = np.zeros(n_classes)
    np.divide(row_weight.sum(), n_classes * total, out=weights, where=total > 0)
    return weights
