"""The one table of competition metrics: name -> function, direction, scale of averages, vectorised form, loss.

Knows arrays only. Regression predictions are (n,) or (n, targets); class predictions are probabilities (n, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray

Task = Literal["regression", "binary", "multiclass"]
Scores = TypeVar("Scores", float, FloatArray)

SMALLEST_PRICE = 1.0  # log_rmse clamps predictions here, so that a wild one cannot reach log(0)
SMALLEST_PROBABILITY = 1e-15  # log_loss clips here


def rmse(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((y_pred - y_true) ** 2)))


def log_rmse(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared difference of natural logs; `y_pred` is clamped to >= 1. Lower is better; not RMSLE."""
    return rmse(np.log(y_true), np.log(np.maximum(y_pred, SMALLEST_PRICE)))


def rmsle(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Root mean squared difference of log1p; `y_pred` is clamped to >= 0."""
    return rmse(np.log1p(y_true), np.log1p(np.maximum(y_pred, 0.0)))


def mae(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(y_pred - y_true)))


def r2(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Coefficient of determination; 0 is the mean of `y_true`, 1 is perfect."""
    total = float(np.sum((y_true - y_true.mean()) ** 2))
    return 1.0 - float(np.sum((y_pred - y_true) ** 2)) / total if total > 0 else float("nan")


def log_loss(y_true: FloatArray, probability: FloatArray) -> float:
    """Mean negative log of the true class's probability, rows renormalised, clipped to [1e-15, 1]."""
    rows = probability / probability.sum(axis=1, keepdims=True)
    of_true = rows[np.arange(len(rows)), y_true.astype(np.int64)]
    return float(-np.mean(np.log(np.clip(of_true, SMALLEST_PROBABILITY, 1.0))))


def brier(y_true: FloatArray, probability: FloatArray) -> float:
    """Mean squared distance of the probabilities from the truth; for two classes that of the positive one.

    Lower is better; 0 to 1 for two classes, 0 to 2 for more (scikit-learn's `scale_by_half="auto"`).
    """
    if probability.shape[1] == 2:
        return float(np.mean((probability[:, 1] - y_true) ** 2))
    truth = np.eye(probability.shape[1])[y_true.astype(np.int64)]
    return float(np.mean(((probability - truth) ** 2).sum(axis=1)))


def roc_auc(y_true: FloatArray, probability: FloatArray) -> float:
    """Area under the ROC curve; macro one-vs-rest for more than two classes. NaN when a class is absent."""
    from sklearn.metrics import roc_auc_score

    present = np.unique(y_true)
    if len(present) < probability.shape[1]:
        return float("nan")
    if probability.shape[1] == 2:
        return float(roc_auc_score(y_true, probability[:, 1]))
    rows = probability / probability.sum(axis=1, keepdims=True)
    return float(roc_auc_score(y_true, rows, multi_class="ovr", average="macro"))


def accuracy(y_true: FloatArray, label: FloatArray) -> float:
    """Share of rows whose label is right."""
    return float(np.mean(y_true == label))


def balanced_accuracy(y_true: FloatArray, label: FloatArray) -> float:
    """Mean recall over the classes present in `y_true`."""
    recalls = [float(np.mean(label[y_true == value] == value)) for value in np.unique(y_true)]
    return float(np.mean(recalls))


def f1(y_true: FloatArray, label: FloatArray) -> float:
    """F1 of the positive class, the second of two; 0 when it is never predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, pos_label=1, zero_division=0.0))


def f1_macro(y_true: FloatArray, label: FloatArray) -> float:
    """Unweighted mean of the classes' F1."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, average="macro", zero_division=0.0))


def f1_weighted(y_true: FloatArray, label: FloatArray) -> float:
    """Mean of the classes' F1 weighted by support."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_true, label, average="weighted", zero_division=0.0))


def quadratic_kappa(y_true: FloatArray, label: FloatArray) -> float:
    """Cohen's kappa with weights quadratic in the difference of class codes, absent classes counted."""
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


class ClassScores(NamedTuple):
    """How well one class is told from the others; `support` is its number of rows."""

    precision: float
    recall: float
    f1: float
    support: int


def class_scores(y_true: NDArray[Any], probability: FloatArray) -> list[ClassScores]:
    """Precision, recall, F1 and support of every class, in code order; a ratio of nothing is 0."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        y_true, probability.argmax(axis=1), labels=range(probability.shape[1]), zero_division=0.0
    )
    return [ClassScores(float(p), float(r), float(f), int(n)) for p, r, f, n in zip(*columns, strict=True)]


def _rmse_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    errors = stack - target
    scores: FloatArray = np.sqrt(np.einsum("ij,ij->i", errors, errors) / len(target))
    return scores


def _mae_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    scores: FloatArray = np.abs(stack - target).mean(axis=1)
    return scores


def _accuracy_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    scores: FloatArray = (stack.argmax(axis=2) == codes).mean(axis=1)
    return scores


def _log_loss_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    of_true = stack[:, np.arange(len(codes)), codes.astype(np.int64)] / stack.sum(axis=2)
    scores: FloatArray = -np.log(np.clip(of_true, SMALLEST_PROBABILITY, 1.0)).mean(axis=1)
    return scores


def _roc_auc_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    """The Mann-Whitney U of the second class's probabilities over its largest value; two classes only."""
    from scipy.stats import rankdata

    is_second = codes == 1
    n_second = int(is_second.sum())
    n_pairs = n_second * (len(codes) - n_second)
    if n_pairs == 0:
        return np.full(len(stack), np.nan)
    ranks = rankdata(stack[:, :, 1], axis=1)[:, is_second].sum(axis=1)
    u: FloatArray = (ranks - n_second * (n_second + 1) / 2) / n_pairs
    return u


@dataclass(frozen=True)
class Metric:
    """What a competition scores. `reads` is the kind of prediction the function takes."""

    name: str
    function: Callable[[FloatArray, FloatArray], float]
    greater_is_better: bool
    reads: Literal["value", "probability", "label"]
    smallest_target: float | None = None  # targets must be greater than (log) or at least (log1p) this
    smallest_is_allowed: bool = True
    smallest_prediction: float | None = None  # predictions are clamped here before they are scored or submitted
    is_binary_only: bool = False
    wants_threshold: bool = False  # reads labels, and of two classes 0.5 is rarely the best place to part them
    scale: Literal["none", "log", "log1p"] = "none"  # where it measures errors, and so where averages are taken
    loss: Literal["mse", "mae"] = "mse"  # of numbers: what models minimise that can choose
    # (candidates, rows[, classes]) and (rows,), both on `scale` -> (candidates,); see `vectorised`
    of_each: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    of_each_most_classes: int | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks this metric can score."""
        if self.reads == "value":
            return ("regression",)
        return ("binary",) if self.is_binary_only else ("binary", "multiclass")

    def __call__(self, target: NDArray[Any], prediction: NDArray[Any]) -> float:
        """Score predictions of shape (n,), (n, targets) or, for classes, probabilities (n, classes).

        Several regression targets give the mean of their scores. Raises ValueError when the shapes do not fit:
        (n, 1) against (n,) would broadcast to (n, n) and still return a number. A NaN anywhere in the prediction
        scores NaN.
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
            raise ValueError(f"{self.name}: wants probabilities (n, classes), got {y_pred.shape} for {y_true.shape}")
        if np.isnan(y_pred).any():  # a row never predicted: argmax would make it a label
            return float("nan")
        if self.reads == "label":
            y_pred = y_pred.argmax(axis=1).astype(np.float64)
        return self.function(y_true, y_pred)

    def gain(self, score: Scores, than: Scores) -> Scores:
        """How much better `score` is than `than`: above 0 for better, whatever the metric's direction."""
        return score - than if self.greater_is_better else than - score

    def is_better(self, score: float, than: float) -> bool:
        """Whether `score` beats `than`; any number beats NaN."""
        return not np.isnan(score) if np.isnan(than) else self.gain(score, than) > 0

    def losses(self, scores: Any) -> FloatArray:
        """Scores as numbers of which lower is better, NaN as infinity: what to sort by, best first."""
        values = np.asarray(scores, dtype=np.float64)
        return np.where(np.isnan(values), np.inf, -values if self.greater_is_better else values)

    def vectorised(self, shape: tuple[int, ...]) -> Callable[[FloatArray, FloatArray], FloatArray] | None:
        """The form that scores candidates of `shape` (candidates, rows[, targets or classes]) at once, if there is one.

        Predictions and target are on the metric's `scale`. None for several targets, or too many classes.
        """
        if self.reads == "value":
            return self.of_each if len(shape) == 2 else None
        is_too_wide = self.of_each_most_classes is not None and shape[2] > self.of_each_most_classes
        return None if is_too_wide else self.of_each


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rmse", rmse, False, "value", of_each=_rmse_of_each),
        Metric(
            "rmsle",
            rmsle,
            False,
            "value",
            smallest_target=0.0,
            smallest_prediction=0.0,
            scale="log1p",
            of_each=_rmse_of_each,
        ),
        Metric(
            "log_rmse",
            log_rmse,
            False,
            "value",
            smallest_target=0.0,
            smallest_is_allowed=False,
            smallest_prediction=SMALLEST_PRICE,
            scale="log",
            of_each=_rmse_of_each,
        ),
        Metric("mae", mae, False, "value", loss="mae", of_each=_mae_of_each),
        Metric("r2", r2, True, "value"),
        Metric("accuracy", accuracy, True, "label", of_each=_accuracy_of_each),
        Metric("balanced_accuracy", balanced_accuracy, True, "label", wants_threshold=True),
        Metric("roc_auc", roc_auc, True, "probability", of_each=_roc_auc_of_each, of_each_most_classes=2),
        Metric("log_loss", log_loss, False, "probability", of_each=_log_loss_of_each),
        Metric("brier", brier, False, "probability"),
        Metric("f1", f1, True, "label", is_binary_only=True, wants_threshold=True),
        Metric("f1_macro", f1_macro, True, "label", wants_threshold=True),
        Metric("f1_weighted", f1_weighted, True, "label", wants_threshold=True),
        Metric("quadratic_kappa", quadratic_kappa, True, "label", wants_threshold=True),
        Metric("mcc", mcc, True, "label", wants_threshold=True),
    )
}

USUAL_METRIC: dict[Task, str] = {"regression": "rmse", "binary": "accuracy", "multiclass": "accuracy"}
