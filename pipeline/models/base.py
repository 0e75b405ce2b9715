"""What every model is given and gives back. Knows frames, splits and the metric; knows no stage and no file layout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch

from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.encoders.table import Encode, TableEncoder


@dataclass(frozen=True)
class EpochScores:
    """One line of the training history: scores of one member after one epoch (counted from 1)."""

    epoch: int
    split: int
    seed: int  # 0..seeds-1, not the random seed itself
    train_score: float  # of many train rows, that of a sample
    valid_score: float


@dataclass(frozen=True)
class FitContext:
    """Where and how a fit runs, none of which changes what is learned (but for the device's rounding)."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n_workers: int = 1
    checkpoints: Path | None = None
    on_progress: Callable[[float, Sequence[EpochScores]], None] | None = None  # share done, new lines
    stop: threading.Event = field(default_factory=threading.Event)  # set: save the checkpoint and give up


class FittedModel(Protocol):
    """A configuration fitted on every split; `predict` averages the members of the splits it is told."""

    n_epochs: int | None  # mean number of epochs the members stand for; None for models without
    history: list[EpochScores]
    oof_prediction: FloatArray  # as `out_of_fold` makes it; (0,) of a stored model

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """(rows,) or (rows, targets) values, or (rows, classes) probabilities, for typed rows.

        `encode` may be shared by models that read the same rows.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write encoders (json) and weights (safetensors)."""
        ...


@runtime_checkable
class HasImportance(Protocol):
    """A fitted model that can say which columns it goes by."""

    def feature_importance(self) -> dict[str, float]:
        """Encoded column -> share, largest first; {} for a model without."""
        ...


def feature_importance(fitted: FittedModel) -> dict[str, float]:
    """Encoded column -> share of what the model goes by, largest first; {} where it cannot say."""
    return fitted.feature_importance() if isinstance(fitted, HasImportance) else {}


class Model(Protocol):
    """An entry of the registry with its parameters set."""

    def fit(
        self, problem: Problem, splits: Sequence[Split], *, seed: int, n_seeds: int, context: FitContext
    ) -> FittedModel:
        """Fit `n_seeds` members on the train rows of every split. Raises SpecError, TrainingError."""
        ...

    def with_epochs(self, n_epochs: int) -> Model:
        """The same model trained for a fixed number of epochs, without early stopping."""
        ...


def out_of_fold(problem: Problem, splits: Sequence[Split], predict: Callable[[int], FloatArray]) -> FloatArray:
    """(rows, ...) every valid row as `predict` predicts those of its split; NaN for rows no split validates."""
    shape = problem.target.shape if problem.task == "regression" else (len(problem.target), problem.n_classes)
    oof_prediction = np.full(shape, np.nan)
    for number, split in enumerate(splits):
        if len(split.valid_rows):
            oof_prediction[split.valid_rows] = predict(number)
    return oof_prediction
