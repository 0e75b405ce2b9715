"""The contract of models of plain arrays: one fit of one output on the rows of one split.

Knows arrays; must not know frames, splits, encoders or files.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray, sampled
from pipeline.base.interruption import Stopped
from pipeline.config.table import Table
from pipeline.encoders.encoded import View
from pipeline.metrics import Metric

ParamsT = TypeVar("ParamsT", bound=Table)
Arrays = dict[str, NDArray[Any]]  # a fitted member: all that prediction needs, without pickle
CUT = "is_cut"  # the array of a member that ended before it had all its rounds or trees
FEWEST_GROWN = 20  # rounds or trees before a fit may end


@dataclass(frozen=True)
class FitRows:
    """The rows of one fit. In the ordinal view missing numbers are NaN and categories are codes."""

    x: NDArray[np.float32]  # (rows, columns)
    y: FloatArray  # (rows,) the transformed target with mean 0 and deviation 1, or class codes
    weight: FloatArray | None  # (rows,)
    cardinality: dict[int, int]  # position of a category column -> number of codes; ordinal view
    n_classes: int  # 0 for regression
    metric: Metric

    @property
    def is_regression(self) -> bool:
        """Whether `y` holds numbers."""
        return self.n_classes == 0

    @property
    def weights(self) -> FloatArray:
        """(rows,) ones where none are given."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    def take(self, rows: NDArray[np.intp]) -> FitRows:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, x=self.x[rows], y=self.y[rows], weight=weight)

    def at_most(self, n_rows: int, seed: int) -> FitRows:
        """All rows, or `n_rows` of them drawn without replacement, in their order."""
        if len(self.y) <= n_rows:
            return self
        return self.take(sampled(len(self.y), n_rows, np.random.default_rng(seed)))


@dataclass(frozen=True)
class Job:
    """How one fit runs. `n_rounds` is the number of boosting rounds, None to find it.

    What grows in rounds or trees ends at `ends_at` with what it has; then an array `CUT` is among its arrays.
    """

    seed: int  # 31 bits
    n_threads: int
    device: torch.device
    stop: threading.Event
    n_rounds: int | None = None
    ends_at: float = math.inf  # time.monotonic()
    cut: threading.Event = field(default_factory=threading.Event)

    def is_over(self, n_grown: int) -> bool:
        """Whether the fit has to end now, with so many rounds or trees; `cut` is set then."""
        if n_grown < FEWEST_GROWN or time.monotonic() < self.ends_at:
            return False
        self.cut.set()
        return True

    def marked(self, member: Arrays) -> Arrays:
        """The member of this job; with `CUT` if it had to end."""
        return member | ({CUT: np.array(True)} if self.cut.is_set() else {})

    def within(self, share: float) -> Job:
        """The job of a part of the fit that may take a share of the time left."""
        now = time.monotonic()
        return replace(self, ends_at=now + share * (self.ends_at - now))

    def check_stop(self) -> None:
        """Raise Stopped when the fit was asked to stop; call it about every second."""
        if self.stop.is_set():
            raise Stopped


class Learner(Protocol):
    """A model with its parameters set. Equal rows and seed give equal arrays; a model that is not seeded ignores it."""

    view: View
    is_seeded: bool

    def __init__(self, params: Any) -> None: ...

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """Learn from the rows. An array `n_rounds` says how many boosting rounds were taken. Raises SpecError."""
        ...

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """(rows,) values on the scale of `y`, or (rows, classes) probabilities."""
        ...

    def importance(self, member: Arrays) -> FloatArray | None:
        """(columns,) not negative, or None where there is none."""
        ...


class ParamsLearner(Generic[ParamsT]):
    """What most learners have in common: their parameters, the one-hot view, no seed and no importance."""

    view: View = "onehot"
    is_seeded = False

    def __init__(self, params: ParamsT) -> None:
        self.params = params

    def importance(self, member: Arrays) -> FloatArray | None:  # noqa: ARG002
        """(columns,) not negative; None for models that cannot tell."""
        return None


class NoParams(Table):
    """The parameters of a model that has none."""


def inner_splits(rows: FitRows, n_splits: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Shuffled splits of the fit rows for choices inside a fit, stratified by class.

    Rows of classes with fewer rows than splits are never held out, so that every part has every class. Without two rows
    of a kind, all rows are both fitted and held out, once.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    every_row = np.arange(len(rows.y))
    counts = None if rows.is_regression else np.bincount(rows.y.astype(np.int64))[rows.y.astype(np.int64)]
    n_splits = min(n_splits, len(rows.y) if counts is None else int(counts.max()))
    if n_splits < 2:
        yield every_row, every_row
    elif counts is None:
        yield from KFold(n_splits, shuffle=True, random_state=seed).split(rows.y)
    else:
        common, rare = np.flatnonzero(counts >= n_splits), np.flatnonzero(counts < n_splits)
        folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        for inside, outside in folds.split(common, rows.y[common]):
            yield np.sort(np.concatenate([common[inside], rare])), common[outside]


def held_out(rows: FitRows, n_parts: int, seed: int, number: int = 0) -> tuple[FitRows, FitRows]:
    """The fit rows without part `number` of `n_parts`, and that part without rows of classes unseen in the rest."""
    chosen = next(islice(inner_splits(rows, n_parts, seed), number, None), None)  # of many rows each split is large
    if chosen is None:
        splits = list(inner_splits(rows, n_parts, seed))
        chosen = splits[number % len(splits)]
    inside, outside = chosen
    part, held = rows.take(inside), rows.take(outside)
    return part, held if rows.is_regression else held.take(np.flatnonzero(np.isin(held.y, part.y)))


def lr_for(n_rows: int) -> float:
    """Default learning rate of boosting: low for few rows, where rounds are cheap."""
    return float(np.clip(0.03 * (n_rows / 2000) ** 0.4, 0.03, 0.1))


def leaves_for(n_rows: int, is_regression: bool) -> int:
    """Default leaves per tree: fewer for small tables and for classes, whose rows carry less information."""
    return int(np.clip(n_rows / (200 if is_regression else 650), 8, 64))


def column_share_for(n_columns: int) -> float:
    """Default share of the columns sampled for a tree or split: about ten columns, at least 30 %."""
    return float(np.clip(10.0 / n_columns, 0.3, 1.0))


def inner_loss(rows: FitRows, prediction: FloatArray) -> float:
    """The loss that choices inside a fit minimise: weighted squared error, or log loss."""
    if rows.is_regression:
        return float(np.average((prediction - rows.y) ** 2, weights=rows.weights))
    of_true = prediction[np.arange(len(rows.y)), rows.y.astype(np.int64)]
    return float(np.average(-np.log(np.clip(of_true, 1e-12, 1.0)), weights=rows.weights))


def all_classes(probability: FloatArray, present: NDArray[Any], n_classes: int) -> FloatArray:
    """(rows, classes) with zeros for classes absent from the fit rows."""
    full = np.zeros((len(probability), n_classes))
    full[:, present.astype(np.int64)] = probability
    return full
