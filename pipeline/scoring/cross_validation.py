"""Cross-validation: a model fitted on every fold, its out-of-fold and test predictions, its scores.

Knows models, problems and splits; knows nothing of files. A score is always computed from the frame that is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import NEVER_VALIDATED, Split
from pipeline.competition.problem import Problem
from pipeline.metrics import Metric
from pipeline.models.base import FitContext, FittedModel, Model

PREDICTION = "prediction_"  # column prefix: prediction_0 .. of targets, or of classes' probabilities
TARGET = "target_"


@dataclass(frozen=True)
class CVResult:
    """What cross-validation found."""

    fitted: FittedModel
    oof_prediction: FloatArray  # (rows, ...) NaN for rows no fold validates (forward chaining)
    test_prediction: FloatArray  # mean of the folds' models


def cross_validate(
    model: Model,
    problem: Problem,
    splits: Sequence[Split],
    *,
    seed: int,
    n_seeds: int,
    context: FitContext,
) -> CVResult:
    """Fit on every split; predict its valid rows with its own members only, and the test rows with all."""
    fitted = model.fit(problem, splits, seed=seed, n_seeds=n_seeds, context=context)
    return CVResult(fitted, fitted.oof_prediction, fitted.predict(problem.test, range(len(splits))))


def prediction_frame(ids: pd.Series, prediction: FloatArray) -> pd.DataFrame:
    """Ids and predictions as they are stored."""
    return pd.DataFrame({"id": ids.reset_index(drop=True)}).join(_columns(PREDICTION, prediction))


def oof_frame(ids: pd.Series, fold_of_row: NDArray[np.int64], target: FloatArray, oof: FloatArray) -> pd.DataFrame:
    """Ids, folds, targets and out-of-fold predictions as they are stored."""
    frame = pd.DataFrame({"id": ids.reset_index(drop=True), "fold": fold_of_row})
    return frame.join(_columns(TARGET, target)).join(_columns(PREDICTION, oof))


def predictions_of(frame: pd.DataFrame, *, is_classification: bool) -> FloatArray:
    """The predictions of a stored frame, in the shape metrics and submissions take."""
    values = frame[[name for name in frame.columns if name.startswith(PREDICTION)]].to_numpy(dtype=np.float64)
    return values[:, 0] if values.shape[1] == 1 and not is_classification else values


def scores_of(frame: pd.DataFrame, metric: Metric) -> tuple[float, list[float]]:
    """`cv_score` of the whole out-of-fold vector and the `fold_scores` of a stored frame."""
    frame = frame[frame["fold"] != NEVER_VALIDATED]
    folds = [frame] + [part for _, part in frame.groupby("fold", sort=True)]
    whole, *by_fold = [_score(part, metric) for part in folds]
    return whole, by_fold


def _score(frame: pd.DataFrame, metric: Metric) -> float:
    targets = frame[[name for name in frame.columns if name.startswith(TARGET)]].to_numpy(dtype=np.float64)
    target = targets[:, 0] if targets.shape[1] == 1 else targets
    return metric(target, predictions_of(frame, is_classification=metric.reads != "value"))


def _columns(prefix: str, values: FloatArray) -> pd.DataFrame:
    wide = values[:, None] if values.ndim == 1 else values
    return pd.DataFrame({f"{prefix}{j}": wide[:, j] for j in range(wide.shape[1])})
