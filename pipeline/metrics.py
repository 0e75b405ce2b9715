"""The table of competition metrics: function, direction, limits, scale of averages, loss and vectorised form.

Knows arrays only. Regression predictions have shape (n,) or (n, targets); class probabilities (n, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

Task = Literal["regression", "binary", "multiclass"]
Scores = TypeVar("Scores", float, FloatArray)

LOG_RMSE_MIN_PREDICTION = 1.0  # keeps log() finite
LOG_LOSS_MIN_PROBABILITY = 1e-15


def rmse(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((y_pred - y_true) ** 2)))


def log_rmse(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared error of natural logs, not of log1p (`rmsle`); predictions are clamped to >= 1."""
    return rmse(np.log(y_true), np.log(np.maximum(y_pred, LOG_RMSE_MIN_PREDICTION)))


def rmsle(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared error of log1p; predictions are clamped to >= 0."""
    return rmse(np.log1p(y_true), np.log1p(np.maximum(y_pred, 0.0)))


def mae(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(y_pred - y_true)))


def r2(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Coefficient of determination: 1 is perfect, 0 is as good as the mean of the targets."""
    total = float(np.sum((y_true - y_true.mean()) ** 2))
    return 1.0 - float(np.sum((y_pred - y_true) ** 2)) / total if total > 0 else float("nan")


def log_loss(y_true: FloatArray, probability: FloatArray) -> float:
    """Mean negative log probability of the true class; rows are normalised, then clipped to [1e-15, 1]."""
    rows = probability / probability.sum(axis=1, keepdims=True)
    of_true = rows[np.arange(len(rows)), y_true.astype(np.int64)]
    return float(-np.mean(np.log(np.clip(of_true, LOG_LOSS_MIN_PROBABILITY, 1.0))))


def brier(y_true: FloatArray, probability: FloatArray) -> float:
    """Mean squared error of the probabilities: 0 to 1 for two classes, 0 to 2 for more.

    As scikit-learn's `brier_score_loss` with `scale_by_half="auto"`.
    """
    if probability.shape[1] == 2:
        return float(np.mean((probability[:, 1] - y_true) ** 2))
    truth = np.eye(probability.shape[1])[y_true.astype(np.int64)]
    return float(np.mean(((probability - truth) ** 2).sum(axis=1)))


def roc_auc(y_true: FloatArray, probability: FloatArray) -> float:
    """Area under the ROC curve, macro one-vs-rest for more than two classes; undefined if a class is absent."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(y_true)) < probability.shape[1]:
        return float("nan")
    if probability.shape[1] == 2:
        return float(roc_auc_score(y_true, probability[:, 1]))
    rows = probability / probability.sum(axis=1, keepdims=True)
    return float(roc_auc_score(y_true, rows, multi_class="ovr", average="macro"))


def accuracy(y_true: FloatArray, label: FloatArray) -> float:
    """Share of correctly classified rows."""
    return float(np.mean(y_true == label))


def balanced_accuracy(y_true: FloatArray, label: FloatArray) -> float:
    """Mean recall of the classes that occur."""
    return float(np.mean([np.mean(label[y_true == value] == value) for value in np.unique(y_true)]))


def f1(y_true: FloatArray, label: FloatArray) -> float:
    """F1 of the positive class, the second of two; 0 if it is never predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, pos_label=1, zero_division=0.0))


def f1_macro(y_true: FloatArray, label: FloatArray) -> float:
    """Unweighted mean F1 of the classes."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, average="macro", zero_division=0.0))


def f1_weighted(y_true: FloatArray, label: FloatArray) -> float:
    """Mean F1 of the classes, weighted by their number of rows."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, average="weighted", zero_division=0.0))


def quadratic_kappa(y_true: FloatArray, label: FloatArray) -> float:
    """Cohen's kappa with quadratic weights; the distance between classes counts absent ones, too."""
    from sklearn.metrics import cohen_kappa_score

    codes = np.arange(max(y_true.max(), label.max()) + 1)
    return float(cohen_kappa_score(y_true, label, weights="quadratic", labels=codes))


def mcc(y_true: FloatArray, label: FloatArray) -> float:
    """Matthews correlation coefficient."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(y_true, label))


def score_text(score: float, digits: int = 5) -> str:
    """Format a score for a message; "-" if it is undefined."""
    return "-" if np.isnan(score) else f"{score:.{digits}f}"


def _rmse_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    errors = stack - target
    scores: FloatArray = np.sqrt(np.einsum("ij,ij->i", errors, errors) / len(target))
    return scores


def _log_loss_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    of_true = stack[:, np.arange(len(codes)), codes.astype(np.int64)] / stack.sum(axis=2)
    scores: FloatArray = -np.log(np.clip(of_true, LOG_LOSS_MIN_PROBABILITY, 1.0)).mean(axis=1)
    return scores


def _roc_auc_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    """The Mann-Whitney U of the second class's probabilities, divided by its maximum."""
    from scipy.stats import rankdata

    is_second = codes == 1
    n_second = int(is_second.sum())
    n_pairs = n_second * (len(codes) - n_second)
    if n_pairs == 0:
        return np.full(len(stack), np.nan)
    ranks = rankdata(stack[:, :, 1], axis=1)[:, is_second].sum(axis=1)
    scores: FloatArray = (ranks - n_second * (n_second + 1) / 2) / n_pairs
    return scores


@dataclass(frozen=True)
class Metric:
    """A competition metric; see `__call__` for what `reads` says about predictions."""

    name: str
    function: Callable[[FloatArray, FloatArray], float]
    greater_is_better: bool
    reads: Literal["value", "probability", "label"]
    min_target: float | None = None
    is_min_target_valid: bool = True  # False: targets must be greater
    min_prediction: float | None = None  # predictions are clamped to it before they are scored or submitted
    is_binary_only: bool = False
    needs_threshold: bool = False  # of labels: a decision threshold of 0.5 is rarely the best
    scale: Literal["none", "log", "log1p"] = "none"  # on which it measures errors and predictions are averaged
    loss: Literal["mse", "mae"] = "mse"  # that suits it, for regression models with a choice
    # candidates (candidates, rows[, classes]) and targets (rows,), both on `scale` -> scores (candidates,)
    of_each: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    of_each_max_classes: int | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks this metric can score."""
        if self.reads == "value":
            return ("regression",)
        return ("binary",) if self.is_binary_only else ("binary", "multiclass")

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any]) -> float:
        """Score values of shape (n,) or (n, targets), or class probabilities (n, classes).

        Several regression targets give the mean of their scores; a NaN in the prediction gives NaN. Raises ValueError
        for shapes that do not match: (n, 1) and (n,) would broadcast to (n, n) and still give a number.
        """
        y_true: FloatArray = np.asarray(target, dtype=np.float64)
        y_pred: FloatArray = np.asarray(prediction, dtype=np.float64)
        if self.reads == "value":
            if y_true.shape != y_pred.shape:
                raise ValueError(f"{self.name}: y_true has shape {y_true.shape}, prediction {y_pred.shape}")
            if y_true.ndim == 2:
                return float(np.mean([self.function(y_true[:, j], y_pred[:, j]) for j in range(y_true.shape[1])]))
            return self.function(y_true, y_pred)
        if y_pred.ndim != 2 or y_true.shape != (len(y_pred),):
            raise ValueError(f"{self.name}: needs probabilities (n, classes), got {y_pred.shape} for {y_true.shape}")
        if np.isnan(y_pred).any():  # argmax would turn it into a label
            return float("nan")
        return self.function(y_true, y_pred.argmax(axis=1).astype(np.float64) if self.reads == "label" else y_pred)

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
        """The function that scores all candidates of `shape` (candidates, rows[, targets or classes]) at once, or None.

        It takes predictions and targets on the metric's `scale`.
        """
        if self.reads == "value":
            return self.of_each if len(shape) == 2 else None
        is_too_wide = self.of_each_max_classes is not None and shape[2] > self.of_each_max_classes
        return None if is_too_wide else self.of_each


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rmse", rmse, False, "value", of_each=_rmse_of_each),
        Metric(
            "rmsle", rmsle, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0, of_each=_rmse_of_each
        ),
        Metric(
            "log_rmse",
            log_rmse,
            False,
            "value",
            scale="log",
            min_target=0.0,
            is_min_target_valid=False,
            min_prediction=LOG_RMSE_MIN_PREDICTION,
            of_each=_rmse_of_each,
        ),
        Metric("mae", mae, False, "value", loss="mae", of_each=lambda stack, y: np.abs(stack - y).mean(axis=1)),
        Metric("r2", r2, True, "value"),
        Metric("accuracy", accuracy, True, "label", of_each=lambda stack, y: (stack.argmax(axis=2) == y).mean(axis=1)),
        Metric("balanced_accuracy", balanced_accuracy, True, "label", needs_threshold=True),
        Metric("roc_auc", roc_auc, True, "probability", of_each=_roc_auc_of_each, of_each_max_classes=2),
        Metric("log_loss", log_loss, False, "probability", of_each=_log_loss_of_each),
        Metric("brier", brier, False, "probability"),
        Metric("f1", f1, True, "label", is_binary_only=True, needs_threshold=True),
        Metric("f1_macro", f1_macro, True, "label", needs_threshold=True),
        Metric("f1_weighted", f1_weighted, True, "label", needs_threshold=True),
        Metric("quadratic_kappa", quadratic_kappa, True, "label", needs_threshold=True),
        Metric("mcc", mcc, True, "label", needs_threshold=True),
    )
}

DEFAULT_METRIC: dict[Task, str] = {"regression": "rmse", "binary": "accuracy", "multiclass": "accuracy"}
