"""Metrics of numbers: regression and ranking by a number. Knows arrays of shape (n,) only.

A score that is undefined, such as R² of a constant target, is NaN.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.metrics.metric import Metric, MetricFamily, mean_of

LOG_RMSE_MIN_PREDICTION = 1.0  # keeps log() finite
SMALLEST_RATE = 1e-6  # predictions of deviances are clamped to it: they divide by the prediction


def mse(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean squared error."""
    return mean_of((y_pred - y_true) ** 2, weight)


def rmse(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Root mean squared error."""
    return float(np.sqrt(mse(y_true, y_pred, weight)))


def log_rmse(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Root mean squared error of natural logs, not of log1p (`rmsle`); predictions are clamped to >= 1."""
    return rmse(np.log(y_true), np.log(np.maximum(y_pred, LOG_RMSE_MIN_PREDICTION)), weight)


def rmsle(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Root mean squared error of log1p; predictions are clamped to >= 0."""
    return rmse(np.log1p(y_true), np.log1p(np.maximum(y_pred, 0.0)), weight)


def msle(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean squared error of log1p; predictions are clamped to >= 0."""
    return mse(np.log1p(y_true), np.log1p(np.maximum(y_pred, 0.0)), weight)


def male(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean absolute error of log1p; predictions are clamped to >= 0."""
    return mae(np.log1p(y_true), np.log1p(np.maximum(y_pred, 0.0)), weight)


def mae(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean absolute error."""
    return mean_of(np.abs(y_pred - y_true), weight)


def median_ae(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Median absolute error."""
    return float(np.median(np.abs(y_pred - y_true)))


def max_error(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Largest absolute error."""
    return float(np.max(np.abs(y_pred - y_true)))


def wmae(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Weighted mean absolute error: errors by weights, over the sum of the weights.

    So defined for walmart-recruiting-store-sales-forecasting.
    """
    return mae(y_true, y_pred, weight)


def mape(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Mean absolute error as a share of the true value; rows with a true value of 0 are left out."""
    return _mean_of_shares(y_true, np.abs(y_pred - y_true), weight)


def rmspe(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Root mean squared error as a share of the true value; rows with a true value of 0 are left out.

    So defined for rossmann-store-sales.
    """
    return float(np.sqrt(_mean_of_shares(y_true**2, (y_pred - y_true) ** 2, weight)))


def _mean_of_shares(whole: FloatArray, part: FloatArray, weight: FloatArray | None) -> float:
    is_scored = whole != 0
    shares = part[is_scored] / np.abs(whole[is_scored])
    return mean_of(shares, None if weight is None else weight[is_scored])


def smape(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Symmetric mean absolute percentage error: 0 to 200; a row counts 0 where truth and prediction are both 0.

    The mean of 200 |p - y| / (|y| + |p|), as Kaggle's Playground series defines it.
    """
    size = np.abs(y_true) + np.abs(y_pred)
    shares = np.zeros_like(size)
    np.divide(2.0 * np.abs(y_pred - y_true), size, out=shares, where=size != 0)
    return 100.0 * mean_of(shares, weight)


def wmape(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Sum of absolute errors divided by the sum of absolute true values."""
    total = mean_of(np.abs(y_true), weight)
    return mae(y_true, y_pred, weight) / total if total > 0 else float("nan")


def r2(y_true: FloatArray, y_pred: FloatArray, weight: FloatArray | None = None) -> float:
    """Coefficient of determination: 1 is perfect, 0 is as good as the mean of the targets."""
    total = mean_of((y_true - mean_of(y_true, weight)) ** 2, weight)
    return 1.0 - mse(y_true, y_pred, weight) / total if total > 0 else float("nan")


def explained_variance(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Share of the targets' variance that is not left in the errors: R² that forgives a constant shift."""
    total = float(np.var(y_true))
    return 1.0 - float(np.var(y_true - y_pred)) / total if total > 0 else float("nan")


def pinball(y_true: FloatArray, y_pred: FloatArray, quantile: float, weight: FloatArray | None = None) -> float:
    """Mean pinball (quantile) loss: errors below the truth weigh `quantile`, errors above it 1 - `quantile`."""
    error = y_true - y_pred
    return mean_of(np.maximum(quantile * error, (quantile - 1.0) * error), weight)


def poisson_deviance(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Mean Poisson deviance; predictions are clamped to >= 1e-6."""
    from scipy.special import xlogy

    rate = np.maximum(y_pred, SMALLEST_RATE)
    return float(2.0 * np.mean(xlogy(y_true, y_true / rate) - y_true + rate))


def gamma_deviance(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Mean gamma deviance; predictions are clamped to >= 1e-6."""
    rate = np.maximum(y_pred, SMALLEST_RATE)
    return float(2.0 * np.mean(np.log(rate / y_true) + y_true / rate - 1.0))


def pearson(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Pearson's correlation; 0 for constant predictions."""
    if np.ptp(y_true) == 0:
        return float("nan")
    return float(np.corrcoef(y_true, y_pred)[0, 1]) if np.ptp(y_pred) > 0 else 0.0


def spearman(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Spearman's rank correlation, equal values sharing their mean rank; 0 for constant predictions."""
    from scipy.stats import rankdata

    return pearson(rankdata(y_true), rankdata(y_pred))


def concordance(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Share of the pairs with different targets that are predicted in the right order; an equal prediction counts half.

    Harrell's C without censoring. Kendall's tau-b gives it in n log n steps.
    """
    from scipy.stats import kendalltau

    if np.ptp(y_true) == 0:
        return float("nan")
    if np.ptp(y_pred) == 0:
        return 0.5
    pairs_of_true, pairs_of_pred = _n_different_pairs(y_true), _n_different_pairs(y_pred)
    surplus = float(kendalltau(y_true, y_pred).statistic) * np.sqrt(pairs_of_true * pairs_of_pred)
    return float(0.5 * (1.0 + surplus / pairs_of_true))


def _n_different_pairs(values: FloatArray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    n = float(len(values))
    return (n * (n - 1.0) - float(np.sum(counts * (counts - 1.0)))) / 2.0


def gini(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Normalised Gini coefficient: 1 for the order of the targets, about 0 for a random one.

    Kaggle's formula (allstate-claim-prediction-challenge, porto-seguro-safe-driver-prediction): equal predictions keep
    the order of the rows.
    """
    if np.ptp(y_true) == 0:
        return float("nan")
    return _gini(y_true, y_pred) / _gini(y_true, y_true)


def _gini(y_true: FloatArray, y_pred: FloatArray) -> float:
    in_order = y_true[np.argsort(-y_pred, kind="stable")]
    shares = np.cumsum(in_order) / in_order.sum()
    return float(shares.sum() - (len(y_true) + 1) / 2.0) / len(y_true)


def _rmse_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    scores: FloatArray = np.sqrt(_mse_of_each(stack, target))
    return scores


def _mse_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    errors = stack - target
    scores: FloatArray = np.einsum("ij,ij->i", errors, errors) / len(target)
    return scores


def _mae_of_each(stack: FloatArray, target: FloatArray) -> FloatArray:
    scores: FloatArray = np.abs(stack - target).mean(axis=1)
    return scores


NUMBERS = (
    Metric("rmse", rmse, False, "value", reads_binary=True, of_each=_rmse_of_each),
    Metric("mse", mse, False, "value", reads_binary=True, of_each=_mse_of_each),
    Metric("rmsle", rmsle, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0, of_each=_rmse_of_each),
    Metric("msle", msle, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0, of_each=_mse_of_each),
    Metric(
        "male",
        male,
        False,
        "value",
        scale="log1p",
        min_target=0.0,
        min_prediction=0.0,
        loss="mae",
        of_each=_mae_of_each,
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
    Metric("mae", mae, False, "value", reads_binary=True, loss="mae", of_each=_mae_of_each),
    Metric("wmae", wmae, False, "value", loss="mae", needs_weight=True),
    Metric("median_ae", median_ae, False, "value", loss="mae"),
    Metric("max_error", max_error, False, "value"),
    Metric("mape", mape, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0, loss="mae"),
    Metric("smape", smape, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0, loss="mae"),
    Metric("rmspe", rmspe, False, "value", scale="log1p", min_target=0.0, min_prediction=0.0),
    Metric("wmape", wmape, False, "value", loss="mae"),
    Metric("r2", r2, True, "value"),
    Metric("explained_variance", explained_variance, True, "value"),
    Metric("poisson_deviance", poisson_deviance, False, "value", min_target=0.0, min_prediction=SMALLEST_RATE),
    Metric(
        "gamma_deviance",
        gamma_deviance,
        False,
        "value",
        min_target=0.0,
        is_min_target_valid=False,
        min_prediction=SMALLEST_RATE,
    ),
    Metric("pearson", pearson, True, "value"),
    Metric("spearman", spearman, True, "value"),
    Metric("concordance", concordance, True, "value"),
    Metric("gini", gini, True, "value", reads_binary=True, min_target=0.0),
)

NUMBER_FAMILIES = (
    MetricFamily(
        "pinball_Q",
        lambda name, q: Metric(name, partial(pinball, quantile=q), False, "value", loss="mae"),
        "mean pinball (quantile) loss: errors below the truth weigh Q, errors above it 1 - Q",
        lowest=0.01,
        highest=0.99,
    ),
)
