"""Scores of class probabilities (n, classes). Knows arrays only.

A score that is undefined, such as the AUC of rows of one class, is NaN. Class 1 of two is the positive one.
"""

from __future__ import annotations

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.metrics.metric import mean_of

LOG_LOSS_MIN_PROBABILITY = 1e-15


def log_loss(y_true: FloatArray, probability: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean negative log probability of the true class; rows are normalised, then clipped to [1e-15, 1]."""
    return mean_of(_surprise(y_true, probability), weight)


def balanced_log_loss(y_true: FloatArray, probability: FloatArray) -> float:
    """Log loss in which all classes that occur weigh the same (icr-identify-age-related-conditions)."""
    surprise = _surprise(y_true, probability)
    return float(np.mean([np.mean(surprise[y_true == value]) for value in np.unique(y_true)]))


def _surprise(y_true: FloatArray, probability: FloatArray) -> FloatArray:
    """(n,) negative log probability of each row's true class."""
    rows = probability / probability.sum(axis=1, keepdims=True)
    of_true = rows[np.arange(len(rows)), y_true.astype(np.int64)]
    surprise: FloatArray = -np.log(np.clip(of_true, LOG_LOSS_MIN_PROBABILITY, 1.0))
    return surprise


def brier(y_true: FloatArray, probability: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean squared error of the probabilities: 0 to 1 for two classes, 0 to 2 for more.

    As scikit-learn's `brier_score_loss` with `scale_by_half="auto"`.
    """
    if probability.shape[1] == 2:
        return mean_of((probability[:, 1] - y_true) ** 2, weight)
    truth = np.eye(probability.shape[1])[y_true.astype(np.int64)]
    return mean_of(((probability - truth) ** 2).sum(axis=1), weight)


def ranked_probability(y_true: FloatArray, probability: FloatArray) -> float:
    """Ranked probability score of ordered classes, 0 to 1: squared errors of the cumulative probabilities."""
    n_classes = probability.shape[1]
    truth = np.eye(n_classes)[y_true.astype(np.int64)]
    errors = np.cumsum(probability, axis=1) - np.cumsum(truth, axis=1)
    return float(np.mean((errors**2).sum(axis=1)) / (n_classes - 1))


def roc_auc(y_true: FloatArray, probability: FloatArray, weight: FloatArray | None = None) -> float:
    """Area under the ROC curve, macro one-vs-rest for more than two classes; undefined if a class is absent."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(y_true)) < probability.shape[1]:
        return float("nan")
    if probability.shape[1] == 2:
        return float(roc_auc_score(y_true, probability[:, 1], sample_weight=weight))
    rows = probability / probability.sum(axis=1, keepdims=True)
    return float(roc_auc_score(y_true, rows, multi_class="ovr", average="macro", sample_weight=weight))


def partial_auc(y_true: FloatArray, probability: FloatArray) -> float:
    """Area between the ROC curve and a true positive rate of 80 %: 0 to 0.2 (isic-2024-challenge).

    Both classes and the order are turned round, so that the bound becomes one of the false positive rate, and
    scikit-learn's standardised partial area is turned back into a plain one.
    """
    from sklearn.metrics import roc_auc_score

    if len(np.unique(y_true)) < 2:
        return float("nan")
    width = 0.2
    chance = 0.5 * width**2
    standardised = float(roc_auc_score(1.0 - y_true, -probability[:, 1], max_fpr=width))
    return chance + (width - chance) * 2.0 * (standardised - 0.5)


def average_precision(y_true: FloatArray, probability: FloatArray, weight: FloatArray | None = None) -> float:
    """Area under the precision-recall curve as a sum of steps; for more than two classes the mean of one-vs-rest."""
    from sklearn.metrics import average_precision_score

    n_classes = probability.shape[1]
    if len(np.unique(y_true)) < n_classes:
        return float("nan")
    positive = [1] if n_classes == 2 else range(n_classes)
    scores = [average_precision_score(y_true == code, probability[:, code], sample_weight=weight) for code in positive]
    return float(np.mean(scores))


def kolmogorov_smirnov(y_true: FloatArray, probability: FloatArray) -> float:
    """Largest lead of the true over the false positive rate over all thresholds."""
    from sklearn.metrics import roc_curve

    if len(np.unique(y_true)) < 2:
        return float("nan")
    false_rate, true_rate, _ = roc_curve(y_true, probability[:, 1])
    return float(np.max(true_rate - false_rate))


def amex(y_true: FloatArray, probability: FloatArray) -> float:
    """Mean of the normalised Gini and the share of positives among the top 4 %, negatives weighing 20.

    As amex-default-prediction defines it.
    """
    if not 0 < y_true.sum() < len(y_true):
        return float("nan")
    in_order = y_true[np.argsort(-probability[:, 1], kind="stable")]
    is_top = np.cumsum(_amex_weight(in_order)) <= int(0.04 * np.sum(_amex_weight(in_order)))
    captured = float(in_order[is_top].sum() / in_order.sum())
    return 0.5 * (_amex_gini(in_order) / _amex_gini(np.sort(y_true)[::-1]) + captured)


def _amex_weight(y_true: FloatArray) -> FloatArray:
    return np.where(y_true == 0, 20.0, 1.0)


def _amex_gini(in_order: FloatArray) -> float:
    weight = _amex_weight(in_order)
    lorentz = np.cumsum(in_order * weight) / np.sum(in_order * weight)
    return float(np.sum((lorentz - np.cumsum(weight) / weight.sum()) * weight))


def _rank_of_true(y_true: FloatArray, probability: FloatArray) -> FloatArray:
    """(n,) the place of the true class by probability, from 1; of equally probable classes the first leads."""
    codes = y_true.astype(np.int64)
    of_true = probability[np.arange(len(codes)), codes][:, None]
    is_before = np.arange(probability.shape[1]) < codes[:, None]
    rank: FloatArray = 1.0 + ((probability > of_true) | ((probability == of_true) & is_before)).sum(axis=1)
    return rank


def map_at(y_true: FloatArray, probability: FloatArray, k: float) -> float:
    """Mean average precision of the k most probable classes: 1 / place of the true class, 0 behind place k."""
    rank = _rank_of_true(y_true, probability)
    return float(np.mean(np.where(rank <= k, 1.0 / rank, 0.0)))


def ndcg_at(y_true: FloatArray, probability: FloatArray, k: float) -> float:
    """Discounted gain of the k most probable classes: 1 / log2(1 + place of the true class), 0 behind place k."""
    rank = _rank_of_true(y_true, probability)
    return float(np.mean(np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)))


def top_accuracy(y_true: FloatArray, probability: FloatArray, k: float) -> float:
    """Share of rows whose true class is among the k most probable ones."""
    return float(np.mean(_rank_of_true(y_true, probability) <= k))


def log_loss_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    """`log_loss` of each table of a stack (tables, rows, classes)."""
    of_true = stack[:, np.arange(len(codes)), codes.astype(np.int64)] / stack.sum(axis=2)
    scores: FloatArray = -np.log(np.clip(of_true, LOG_LOSS_MIN_PROBABILITY, 1.0)).mean(axis=1)
    return scores


def roc_auc_of_each(stack: FloatArray, codes: FloatArray) -> FloatArray:
    """`roc_auc` of each table of a stack: the Mann-Whitney U, divided by its maximum."""
    from scipy.stats import rankdata

    is_second = codes == 1
    n_second = int(is_second.sum())
    n_pairs = n_second * (len(codes) - n_second)
    if n_pairs == 0:
        return np.full(len(stack), np.nan)
    ranks = rankdata(stack[:, :, 1], axis=1)[:, is_second].sum(axis=1)
    scores: FloatArray = (ranks - n_second * (n_second + 1) / 2) / n_pairs
    return scores
