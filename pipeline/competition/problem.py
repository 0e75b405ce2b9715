"""One competition as a model sees it. Must not know files or models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.target_transforms import TargetTransform
from pipeline.competition.folds import Split
from pipeline.config.run import FeatureSteps
from pipeline.config.sections import Scope
from pipeline.config.types import Role
from pipeline.metrics import Metric, Task


@dataclass(frozen=True)
class Problem:
    """Typed tables, the target, and how features and target are prepared for a model."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: FloatArray  # (rows,) or (rows, targets) numbers or class codes; the latter 0 and 1 of several targets
    roles: dict[str, Role]
    ordered: dict[str, list[str]]
    task: Task
    n_classes: int  # of each target; 0 for regression
    metric: Metric
    sample_weight: FloatArray | None  # (rows,) the spec's column times the configured weight of the row's class
    features: FeatureSteps
    scope: Scope
    target_transform: TargetTransform
    left_out: Sequence[str] = ()  # raw columns that are not features, such as constant ones
    balances_classes: bool = False  # all classes have the same total weight in the train rows of a fit

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        """(rows,) or (rows, targets) values, (rows, classes) probabilities, or the second class's (rows, targets)."""
        is_by_class = self.n_classes > 0 and self.target.ndim == 1
        return (len(self.target), self.n_classes) if is_by_class else self.target.shape

    def weights_of(self, split: Split) -> FloatArray | None:
        """(rows,) weights in the loss of a fit on the split's train rows; None if equal.

        Class frequencies are taken from these train rows only. Raises DataError if all weights are 0.
        """
        if self.sample_weight is not None and not self.sample_weight[split.train_rows].any():
            raise DataError(
                "every sample weight is 0 in the train rows of a fold",
                where="columns.sample_weight",
                hint="Choose folds whose train rows have some weight, such as shuffled ones.",
            )
        if not self.balances_classes:
            return self.sample_weight
        codes, rows = self.target.astype(np.int64), split.train_rows
        own = np.ones(len(codes)) if self.sample_weight is None else self.sample_weight
        weights: FloatArray = own * balanced_class_weights(codes[rows], own[rows], self.n_classes)[codes]
        return weights


def balanced_class_weights(codes: NDArray[np.int64], row_weight: FloatArray, n_classes: int) -> FloatArray:
    """(classes,) class weights that give all classes the same total weight, and rows an average weight of 1.

    A class without rows gets 0.
    """
    total = np.bincount(codes, weights=row_weight, minlength=n_classes)
    weights = np.zeros(n_classes)
    np.divide(row_weight.sum(), n_classes * total, out=weights, where=total > 0)
    return weights
