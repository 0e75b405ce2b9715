"""Metrics of classes: the table of all of them, and scores of class codes (n,). Knows arrays only.

Class 1 of two is the positive one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.metrics.metric import Metric, MetricFamily, mean_of
from pipeline.metrics.probabilities import (
    amex,
    average_precision,
    balanced_log_loss,
    brier,
    kolmogorov_smirnov,
    log_loss,
    log_loss_of_each,
    map_at,
    ndcg_at,
    partial_auc,
    ranked_probability,
    roc_auc,
    roc_auc_of_each,
    top_accuracy,
)


def accuracy(y_true: FloatArray, label: FloatArray, weight: FloatArray | None = None) -> float:
    """Share of correctly classified rows."""
    return mean_of((y_true == label).astype(np.float64), weight)


def balanced_accuracy(y_true: FloatArray, label: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean recall of the classes that occur."""
    return float(np.mean(_recalls(y_true, label, weight)))


def geometric_mean(y_true: FloatArray, label: FloatArray) -> float:
    """Geometric mean of the recalls of the classes that occur."""
    return float(np.prod(_recalls(y_true, label)) ** (1.0 / len(np.unique(y_true))))


def _recalls(y_true: FloatArray, label: FloatArray, weight: FloatArray | None = None) -> list[float]:
    is_right = (label == y_true).astype(np.float64)
    of_class = [y_true == value for value in np.unique(y_true)]
    return [mean_of(is_right[rows], None if weight is None else weight[rows]) for rows in of_class]


def f_score(
    y_true: FloatArray, label: FloatArray, average: str = "binary", beta: float = 1.0, weight: FloatArray | None = None
) -> float:
    """F score: (1 + beta²) precision recall / (beta² precision + recall), by scikit-learn's `average`; 0 for 0 / 0."""
    from sklearn.metrics import fbeta_score

    return float(fbeta_score(y_true, label, beta=beta, average=average, zero_division=0.0, sample_weight=weight))


def precision(
    y_true: FloatArray, label: FloatArray, average: str = "binary", weight: FloatArray | None = None
) -> float:
    """Share of rows predicted as a class that belong to it, by scikit-learn's `average`; 0 for 0 / 0."""
    from sklearn.metrics import precision_score

    return float(precision_score(y_true, label, average=average, zero_division=0.0, sample_weight=weight))


def recall(y_true: FloatArray, label: FloatArray, average: str = "binary", weight: FloatArray | None = None) -> float:
    """Share of a class's rows that are predicted as it, by scikit-learn's `average`; 0 for 0 / 0."""
    from sklearn.metrics import recall_score

    return float(recall_score(y_true, label, average=average, zero_division=0.0, sample_weight=weight))


def jaccard(y_true: FloatArray, label: FloatArray, average: str = "binary", weight: FloatArray | None = None) -> float:
    """Rows of a class that are predicted as it, over rows that are either, by scikit-learn's `average`; 0 for 0 / 0."""
    from sklearn.metrics import jaccard_score

    return float(jaccard_score(y_true, label, average=average, zero_division=0.0, sample_weight=weight))


def kappa(
    y_true: FloatArray,
    label: FloatArray,
    weights: str | None = None,
    weight: FloatArray | None = None,
    places: Sequence[float] | None = None,
) -> float:
    """Cohen's kappa; with "linear" or "quadratic" weights, absent classes count in the distance between classes, too.

    1 where truth and labels are one and the same class, for which the formula divides 0 by 0.
    """
    n_classes = int(max(y_true.max(), label.max())) + 1 if places is None else len(places)
    cells = y_true.astype(np.int64) * n_classes + label.astype(np.int64)
    counts = np.bincount(cells, weights=weight, minlength=n_classes**2).reshape(n_classes, n_classes)
    return kappa_of_counts(counts.astype(np.float64), weights, places)


def kappa_of_counts(counts: FloatArray, weights: str | None = None, places: Sequence[float] | None = None) -> float:
    """`kappa` of the numbers of rows (true classes, predicted classes), which lie at `places`, by default 0, 1, ..."""
    at = np.arange(len(counts), dtype=np.float64) if places is None else np.asarray(places, dtype=np.float64)
    distance = np.abs(np.subtract.outer(at, at))
    disagreement = {None: (distance > 0).astype(np.float64), "linear": distance, "quadratic": distance**2}[weights]
    by_chance = float(np.sum(disagreement * np.outer(counts.sum(axis=1), counts.sum(axis=0)))) / counts.sum()
    return 1.0 - float(np.sum(disagreement * counts)) / by_chance if by_chance > 0 else 1.0


def mcc(y_true: FloatArray, label: FloatArray, weight: FloatArray | None = None) -> float:
    """Matthews correlation coefficient; 0 where truth and labels are one and the same class."""
    from sklearn.metrics import matthews_corrcoef

    if len(np.unique(np.concatenate([y_true, label]))) == 1:
        return 0.0
    return float(matthews_corrcoef(y_true, label, sample_weight=weight))


def _accuracy_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    scores: FloatArray = (stack.argmax(axis=2) == codes).mean(axis=1)
    return scores


CLASSES = (
    Metric("log_loss", log_loss, False, "probability", of_each=log_loss_of_each),
    Metric("balanced_log_loss", balanced_log_loss, False, "probability"),
    Metric("brier", brier, False, "probability"),
    Metric("ranked_probability", ranked_probability, False, "probability", is_ordinal=True),
    Metric("roc_auc", roc_auc, True, "probability", of_each=roc_auc_of_each, of_each_max_classes=2),
    Metric("partial_auc", partial_auc, True, "probability", is_binary_only=True),
    Metric("average_precision", average_precision, True, "probability"),
    Metric("kolmogorov_smirnov", kolmogorov_smirnov, True, "probability", is_binary_only=True),
    Metric("amex", amex, True, "probability", is_binary_only=True),
    Metric("accuracy", accuracy, True, "label", of_each=_accuracy_of_each),
    Metric("balanced_accuracy", balanced_accuracy, True, "label", needs_threshold=True),
    Metric("geometric_mean", geometric_mean, True, "label", needs_threshold=True),
    Metric("f1", f_score, True, "label", is_binary_only=True, needs_threshold=True),
    Metric("f1_micro", partial(f_score, average="micro"), True, "label"),
    Metric("f1_macro", partial(f_score, average="macro"), True, "label", needs_threshold=True),
    Metric("f1_weighted", partial(f_score, average="weighted"), True, "label", needs_threshold=True),
    Metric("precision", precision, True, "label", is_binary_only=True, needs_threshold=True),
    Metric("precision_macro", partial(precision, average="macro"), True, "label", needs_threshold=True),
    Metric("recall", recall, True, "label", is_binary_only=True, needs_threshold=True),
    Metric("recall_macro", partial(recall, average="macro"), True, "label", needs_threshold=True),
    Metric("jaccard", jaccard, True, "label", is_binary_only=True, needs_threshold=True),
    Metric("jaccard_macro", partial(jaccard, average="macro"), True, "label", needs_threshold=True),
    Metric("kappa", kappa, True, "label", needs_threshold=True),
    Metric(
        "linear_kappa",
        partial(kappa, weights="linear"),
        True,
        "label",
        needs_threshold=True,
        is_ordinal=True,
        of_confusion=partial(kappa_of_counts, weights="linear"),
    ),
    Metric(
        "quadratic_kappa",
        partial(kappa, weights="quadratic"),
        True,
        "label",
        needs_threshold=True,
        is_ordinal=True,
        of_confusion=partial(kappa_of_counts, weights="quadratic"),
    ),
    Metric("mcc", mcc, True, "label", needs_threshold=True),
)

CLASS_FAMILIES = (
    MetricFamily(
        "map_at_K",
        lambda name, k: Metric(name, partial(map_at, k=k), True, "probability", n_labels=int(k)),
        "mean average precision of the K most probable classes: 1 / place of the true class, 0 behind place K",
        is_whole=True,
    ),
    MetricFamily(
        "ndcg_at_K",
        lambda name, k: Metric(name, partial(ndcg_at, k=k), True, "probability", n_labels=int(k)),
        "discounted gain of the K most probable classes: 1 / log2(1 + place of the true class), 0 behind place K",
        is_whole=True,
    ),
    MetricFamily(
        "top_K_accuracy",
        lambda name, k: Metric(name, partial(top_accuracy, k=k), True, "probability", n_labels=int(k)),
        "share of rows whose true class is among the K most probable ones",
        is_whole=True,
    ),
    MetricFamily(
        "f_beta_B",
        lambda name, b: Metric(
            name, partial(f_score, beta=b), True, "label", is_binary_only=True, needs_threshold=True
        ),
        "F score of the positive class in which recall weighs B times as much as precision",
        lowest=0.05,
        highest=20.0,
    ),
)
