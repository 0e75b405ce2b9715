"""Preparation common to all models: an encoder and a target scaler fitted on each split's train rows.

Knows problems, splits and encoders; must not know arrays or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.seeds import derive_seed
from pipeline.base.target_transforms import transform_target
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.encoders.encoded import View
from pipeline.encoders.table import TableEncoder, correct_fit_rows, fit_encoder
from pipeline.encoders.target import TargetScaler, class_indicators


@dataclass(frozen=True)
class SplitEncoders:
    """A problem, and the encoder and target scaler of each split."""

    problem: Problem
    splits: Sequence[Split]
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    target: FloatArray  # (rows, targets) transformed numbers or class codes
    supervised: FloatArray  # (rows, outputs) for target means: `target`, or class indicators
    seed: int

    @classmethod
    def fit(
        cls, problem: Problem, splits: Sequence[Split], *, view: View, scales_target: bool = True, seed: int
    ) -> SplitEncoders:
        """Fit on each split's train rows; with scope train+test, unsupervised statistics on all rows."""
        is_regression, is_wide = problem.task == "regression", problem.scope == "train+test"
        target = problem.target if problem.target.ndim == 2 else problem.target[:, None]
        if is_regression or problem.target.ndim == 2:
            supervised = target = transform_target(problem.target_transform, target)
        else:
            supervised = class_indicators(problem.target.astype(np.int64), problem.n_classes)
        # trees read numbers as they are, and a missing one is not the mean
        raw = {"scaling": "none", "log1p_skewed": None} if view == "ordinal" else {}
        steps = problem.features.model_copy(update=raw)
        every_row = pd.concat([problem.train, problem.test], ignore_index=True) if is_wide else None
        encoders, scalers = [], []
        for number, split in enumerate(splits):
            fit_frame = _fit_rows(problem, steps, split)
            frame = fit_frame if every_row is None else every_row
            fit = partial(fit_encoder, view, steps, problem.roles, problem.ordered, frame, has_every_row=is_wide)
            chosen_by = derive_seed(seed, "encoder", number)
            encoders.append(fit(target_frame=fit_frame, target=supervised[split.train_rows], seed=chosen_by))
            scalers.append(TargetScaler.fit(target[split.train_rows], is_scaled=scales_target and is_regression))
            mapped.release()
        return cls(problem, splits, encoders, scalers, target, supervised, seed)

    def correct_fit_rows(self, split: int, dense: NDArray[np.float32], names: Sequence[str]) -> None:
        """Correct the target means and counts of the split's train rows in the encoded train table, in place."""
        seed, rows = derive_seed(self.seed, "encoder", split), self.splits[split].train_rows
        correct_fit_rows(self.encoders[split], dense, names, self.problem.train, rows, self.supervised, seed)


def _fit_rows(problem: Problem, steps: FeatureSteps, split: Split) -> pd.DataFrame:
    """The rows to fit on; of a large table a column at a time, unless the encoder adds columns to them."""
    adds_columns = bool("text" in problem.roles.values() or steps.generated or steps.category_counts)
    if adds_columns or not mapped.is_large(len(split.train_rows), len(problem.roles)):
        return problem.train.iloc[split.train_rows]
    return cast(pd.DataFrame, mapped.RowsOf(problem.train, split.train_rows))
