"""The contract of all models: what they take and return.

Knows frames, splits and the metric; must not know stages or where files lie.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from pipeline.base.arrays import FloatArray
from pipeline.base.fit_workers import HERE, Workers
from pipeline.base.share import WHOLE, Share
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.encoders.table import Encode, TableEncoder

Item = TypeVar("Item")
Result = TypeVar("Result")

PARTS_AT_ONCE = 2  # of an ensemble, on a cluster: one is prepared while another one is fitted


@dataclass(frozen=True)
class EpochScores:
    """One row of the training history: a member's scores after an epoch."""

    epoch: int  # from 1
    split: int
    seed: int  # 0..seeds-1, not the random seed itself
    train_score: float  # of a sample, if there are many train rows
    valid_score: float


@dataclass(frozen=True)
class FitContext:
    """Where and how a fit runs. Nothing here changes the result, except for the device's rounding and `ends_at`."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n_workers: int = 1
    checkpoints: Path | None = None
    on_progress: Callable[[float, Sequence[EpochScores]], None] | None = None  # share done, new rows
    stop: threading.Event = field(default_factory=threading.Event)  # set: save a checkpoint, raise Stopped
    share: Share = WHOLE
    workers: Workers = HERE
    ends_at: float = math.inf  # time.monotonic() by which boosting and forests end with what they have learned

    @property
    def n_cores(self) -> int:
        """Cores for fits: all those of a cluster's workers, or `n_workers`."""
        return self.workers.n_cores or self.n_workers

    def each(
        self, fit: Callable[[Item], Result], items: Sequence[Item], *, at_most: int | None = None
    ) -> Iterator[Result]:
        """Yield `fit(item)` of each item, in order; on a cluster, of several at once, for one may not fill it."""
        if not self.workers.is_elsewhere or len(items) <= 1:
            yield from map(fit, items)
            return
        with (
            threadpool_limits(1, user_api="blas"),  # fits that set it, and end in any order, leave it at that
            ThreadPoolExecutor(min(self.n_cores, at_most or self.n_cores)) as pool,
        ):
            futures = [pool.submit(fit, item) for item in items]
            try:
                for future in futures:
                    yield future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise


class FittedModel(Protocol):
    """A configuration fitted on every split."""

    history: list[EpochScores]
    oof_prediction: FloatArray  # as `out_of_fold` returns it; (0,) for a loaded model

    @property
    def n_epochs(self) -> int | None:
        """Mean number of epochs or rounds of the members; None for models that have none."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether `FitContext.ends_at` ended a member early."""
        ...

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """Average the members of `splits`; the shape is as `Problem.prediction_shape` says.

        `encode` may be shared by models that read the same rows.
        """
        ...

    def feature_importance(self) -> dict[str, float]:
        """Encoded column -> share, largest first; {} for models that have none."""
        ...

    def save(self, folder: Path) -> None:
        """Write the weights, then `model.json`."""
        ...


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
    """Predict each split's valid rows with `predict(split)`: (rows, ...), NaN for rows that no split validates."""
    oof_prediction = np.full(problem.prediction_shape, np.nan)
    for number, split in enumerate(splits):
        if len(split.valid_rows):
            oof_prediction[split.valid_rows] = predict(number)
    return oof_prediction
