"""What a metric is: direction, what it reads, limits, scale of averages, loss and vectorised form.

Knows arrays only. Predictions are values (n,), or probabilities (n, classes); of several targets, values or
probabilities of the second of two classes (n, targets).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

SHARE_OF_TRUTH = 0.9  # not 1.0, whose complement has no logarithm
Task = Literal["regression", "binary", "multiclass"]
Scores = TypeVar("Scores", float, FloatArray)


def score_text(score: float, digits: int = 5) -> str:
    """Format a score for a message; "-" if it is undefined."""
    return "-" if np.isnan(score) else f"{score:.{digits}f}"


def mean_of(values: FloatArray, weight: FloatArray | None = None) -> float:
    """The mean of the rows' `values`, weighted if weights are given; NaN without rows or without weight."""
    if weight is None:
        return float(np.mean(values)) if len(values) else float("nan")
    total = float(np.sum(weight))
    return float(np.dot(values, weight)) / total if total > 0 else float("nan")


def nearly_perfect(codes: NDArray[Any], n_classes: int) -> FloatArray:
    """(n, classes) probabilities of which that of the true class is 0.9; of several targets (n, targets)."""
    if codes.ndim == 2:
        return np.where(codes == 1, SHARE_OF_TRUTH, 1.0 - SHARE_OF_TRUTH)
    truth = np.eye(n_classes)[codes.astype(np.int64)]
    shares: FloatArray = SHARE_OF_TRUTH * truth + (1.0 - SHARE_OF_TRUTH) * (1.0 - truth) / (n_classes - 1)
    return shares


def mean_of_targets(scores: Sequence[Any]) -> FloatArray:
    """The mean over targets of scores (targets, ...) without those that are undefined; NaN if all are."""
    values = np.asarray(scores, dtype=np.float64)
    n_defined = (~np.isnan(values)).sum(axis=0)
    means: FloatArray = np.where(n_defined, np.nansum(values, axis=0) / np.maximum(n_defined, 1), np.nan)
    return means


@dataclass(frozen=True)
class Metric:
    """A competition metric; see `__call__` for what `reads` says about predictions."""

    name: str
    function: Callable[..., float]  # of targets and predictions, and of `rows` by the name of `by_row`
    greater_is_better: bool
    reads: Literal["value", "probability", "label"]
    min_target: float | None = None
    is_min_target_valid: bool = True  # False: targets must be greater
    min_prediction: float | None = None  # predictions are clamped to it before they are scored or submitted
    is_binary_only: bool = False
    reads_binary: bool = False  # of values: it also scores the probability of the second of two classes
    n_labels: int | None = None  # of rankings: the most probable classes that Kaggle reads in a cell
    needs_threshold: bool = False  # of labels: a decision threshold of 0.5 is rarely the best
    scale: Literal["none", "log", "log1p"] = "none"  # on which it measures errors and predictions are averaged
    loss: Literal["mse", "mae"] = "mse"  # that suits it, for regression models with a choice
    # candidates (candidates, rows[, classes]) and targets (rows,), both on `scale` -> scores (candidates,)
    of_each: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    of_each_max_classes: int | None = None
    of_confusion: Callable[..., float] | None = None  # of ordered classes: counts (true, predicted) -> score
    is_ordinal: bool = False  # of classes: it depends on their order
    is_joint: bool = False  # of values: it reads all targets at once; others give the mean over the targets
    needs_weight: bool = False  # it is defined by weights of rows
    # of the rows that it scores, in the argument named `by_row`: their weights, or their numbers in the train table
    rows: NDArray[Any] | None = None
    by_row: Literal["weight", "rows"] = "weight"

    @property
    def can_weigh(self) -> bool:
        """Whether rows can have weights."""
        function = self.function.func if isinstance(self.function, partial) else self.function
        return "weight" in inspect.signature(function).parameters

    @property
    def is_slow(self) -> bool:
        """Whether a call may take long, as that of a function in a user's file."""
        return self.by_row == "rows"

    @property
    def weight(self) -> FloatArray | None:
        """(rows,) the weights of the rows that it scores; None if they weigh the same."""
        return self.rows if self.by_row == "weight" else None

    def at(self, rows: NDArray[Any]) -> Metric:
        """This metric of some rows (an index or a mask), if it depends on more of a row than target and prediction."""
        return self if self.rows is None else replace(self, rows=self.rows[rows])

    def of_places(self, places: Sequence[float]) -> Metric:
        """This metric of ordered classes that lie at `places`, such as ratings 1, 2, 3 and 10: not all equally far."""
        if self.of_confusion is None:
            return self
        function, of_confusion = (partial(one, places=tuple(places)) for one in (self.function, self.of_confusion))
        return replace(self, function=function, of_confusion=of_confusion)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks this metric can score."""
        if self.reads == "value":
            return ("regression", "binary") if self.reads_binary else ("regression",)
        return ("binary",) if self.is_binary_only else ("binary", "multiclass")

    @property
    def definition(self) -> str:
        """What it measures, in a sentence: the first paragraph of its function's docstring, and the arguments given."""
        function, given = self.function, ""
        if isinstance(function, partial):
            given = "".join(f" ({key} = {value})" for key, value in function.keywords.items())
            function = function.func
        return inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ") + given

    def for_task(self, task: Task) -> Metric:
        """This metric as it scores `task`: one of values reads the second class's probability of a binary task."""
        if task == "regression" or self.reads != "value":
            return self

        def function(y_true: FloatArray, probability: FloatArray, **by_row: Any) -> float:
            return self.function(y_true, probability[:, 1], **by_row)

        return replace(
            self,
            function=function,
            reads="probability",
            is_binary_only=True,
            reads_binary=False,
            min_target=None,
            min_prediction=None,
            scale="none",
            loss="mse",
            of_each=None,
        )

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any]) -> float:
        """Score predictions of `target`: numbers or class codes, (n,) or (n, targets).

        Several targets give the mean of their scores, as Kaggle's mean column-wise metrics; a target whose score is
        undefined is left out. No row, or a NaN in the prediction, gives NaN. Raises ValueError for shapes that
        do not match: (n, 1) and (n,) would broadcast to (n, n) and still give a number.
        """
        y_true: FloatArray = np.asarray(target, dtype=np.float64)
        y_pred: FloatArray = np.asarray(prediction, dtype=np.float64)
        if not len(y_true):
            return float("nan")
        if self.reads == "value" or y_true.ndim == 2:
            if y_true.shape != y_pred.shape:
                raise ValueError(f"{self.name}: y_true has shape {y_true.shape}, prediction {y_pred.shape}")
        elif y_pred.ndim != 2 or y_true.shape != (len(y_pred),):
            raise ValueError(f"{self.name}: needs probabilities (n, classes), got {y_pred.shape} for {y_true.shape}")
        if np.isnan(y_pred).any():  # argmax would turn it into a label
            return float("nan")
        if y_true.ndim == 1:
            return self._score(y_true, y_pred.argmax(axis=1).astype(np.float64) if self.reads == "label" else y_pred)
        if self.is_joint:
            return self._score(y_true, (y_pred > 0.5).astype(np.float64) if self.reads == "label" else y_pred)
        by_target = zip(y_true.T, y_pred.T, strict=True)
        return float(mean_of_targets([self(y, self.of_one_target(p)) for y, p in by_target]))

    def _score(self, y_true: FloatArray, y_pred: FloatArray) -> float:
        if self.rows is None:
            return self.function(y_true, y_pred)
        if len(self.rows) != len(y_true):
            raise ValueError(f"{self.name}: is of {len(self.rows)} rows, got {len(y_true)}")
        return self.function(y_true, y_pred, **{self.by_row: self.rows})

    def of_one_target(self, prediction: FloatArray) -> FloatArray:
        """A column (..., n) of the prediction of several targets, in the shape of a single target's."""
        return prediction if self.reads == "value" else np.stack([1.0 - prediction, prediction], axis=-1)

    def is_defined(self, target: NDArray[Any], n_classes: int) -> bool:
        """Whether these targets can be scored: r2 needs a spread, roc_auc a row of every class.

        `n_classes` is 0 for a regression.
        """
        if len(target) == 0:
            return False
        perfect = nearly_perfect(target, n_classes) if n_classes else target
        return bool(np.isfinite(self(target, perfect)))

    def gain(self, score: Scores, than: Scores) -> Scores:
        """How much better `score` is than `than`: positive for better, whatever the direction."""
        return score - than if self.greater_is_better else than - score

    def is_better(self, score: float, than: float) -> bool:
        """Whether `score` beats `than`; any number beats NaN."""
        return not np.isnan(score) if np.isnan(than) else self.gain(score, than) > 0

    def losses(self, scores: Any) -> FloatArray:
        """Scores as numbers to minimise or sort by, best first; NaN becomes infinity."""
        values = np.asarray(scores, dtype=np.float64)
        return np.where(np.isnan(values), np.inf, -values if self.greater_is_better else values)

    def vectorised(self, shape: tuple[int, ...]) -> Callable[[FloatArray, FloatArray], FloatArray] | None:
        """The function that scores all candidates `shape` (candidates, rows[, classes]) of a target at once, or None.

        It takes predictions and targets on the metric's `scale`.
        """
        if self.rows is not None:
            return None
        if self.reads == "value":
            return self.of_each
        is_too_wide = self.of_each_max_classes is not None and shape[2] > self.of_each_max_classes
        return None if is_too_wide else self.of_each


@dataclass(frozen=True)
class MetricFamily:
    """Metrics that differ in one number, which replaces the capital in their names: `map_at_K`, `map_at_3`."""

    name: str
    make: Callable[[str, float], Metric]  # name and number -> metric
    definition: str
    lowest: float = 1.0
    highest: float = 1000.0
    is_whole: bool = False

    def member(self, name: str) -> Metric | None:
        """The member called `name`; None if the family has none of that name."""
        prefix, suffix = re.split("[A-Z]", self.name)
        if not (name.startswith(prefix) and name.endswith(suffix)):
            return None
        text = name[len(prefix) : len(name) - len(suffix)]
        if not re.fullmatch(r"\d+" if self.is_whole else r"\d+(\.\d+)?", text):
            return None
        return self.make(name, float(text)) if self.lowest <= float(text) <= self.highest else None
