"""Calibration: whether rows given 0.8 are right in 8 of 10 cases, and the mending by temperature or isotonic steps.

Knows class codes and probabilities (rows, classes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.config.run_report import CalibrationKind, Calibrator

HOTTEST = 20.0  # temperatures are sought between 1 / HOTTEST and HOTTEST
SMALLEST = 1e-12  # a probability of 0 has no logarithm


def reliability_table(codes: NDArray[Any], probability: FloatArray, *, n_bins: int = 10) -> pd.DataFrame:
    """One row a bin of equal width of the predicted class's probability, empty bins left out.

    Columns: `low`, `high`, `rows`, `confidence` (mean probability), `accuracy` (share that is right).
    """
    confidence = probability.max(axis=1)
    is_right = probability.argmax(axis=1) == codes
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    rows = pd.DataFrame({"confidence": confidence, "accuracy": is_right.astype(np.float64)})
    by_bin = rows.groupby(np.digitize(confidence, edges[1:-1], right=True))  # (low, high]
    table = by_bin.mean().assign(low=lambda t: edges[t.index], high=lambda t: edges[t.index + 1], rows=by_bin.size())
    return table.reset_index(drop=True)[["low", "high", "rows", "confidence", "accuracy"]]


def expected_calibration_error(codes: NDArray[Any], probability: FloatArray, *, n_bins: int = 10) -> float:
    """Mean over the rows of their bin's |accuracy - confidence|; "On Calibration of Modern Neural Networks" (2017)."""
    table = reliability_table(codes, probability, n_bins=n_bins)
    gap = (table["accuracy"] - table["confidence"]).abs()
    return float((gap * table["rows"]).sum() / table["rows"].sum())


def apply_calibrator(calibrator: Calibrator, probability: FloatArray) -> FloatArray:
    """Calibrate (rows, classes) probabilities; rows sum to 1.

    Temperature: p^(1/T), renormalised; no label changes. Isotonic: each class's probability by its own rising steps,
    renormalised (of two classes the second's steps speak for both).
    """
    if calibrator.kind == "temperature":
        return _tempered(probability, calibrator.temperature)
    if len(calibrator.steps) == 1:
        positive = np.interp(probability[:, 1], *calibrator.steps[0])
        return np.column_stack([1.0 - positive, positive])
    by_class = [np.interp(probability[:, j], *steps) for j, steps in enumerate(calibrator.steps)]
    stepped = np.column_stack(by_class)
    return np.asarray(stepped / stepped.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_calibrator(kind: CalibrationKind, codes: NDArray[Any], probability: FloatArray) -> Calibrator:
    """Learn from rows the model was not fitted on. Steps stay half a row away from 0 and from 1."""
    if kind == "temperature":
        return Calibrator(kind=kind, temperature=_best_temperature(codes, probability))
    columns = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    return Calibrator(kind=kind, steps=[_isotonic_steps(codes == j, probability[:, j]) for j in columns])


def _tempered(probability: FloatArray, temperature: float) -> FloatArray:
    from scipy.special import softmax

    return np.asarray(softmax(np.log(np.maximum(probability, SMALLEST)) / temperature, axis=1), dtype=np.float64)


def _best_temperature(codes: NDArray[Any], probability: FloatArray) -> float:
    """The temperature of the least log loss."""
    from scipy.optimize import minimize_scalar

    rows, labels = np.arange(len(codes)), codes.astype(np.int64)

    def log_loss(log_temperature: float) -> float:
        of_true = _tempered(probability, float(np.exp(log_temperature)))[rows, labels]
        return float(-np.log(np.maximum(of_true, SMALLEST)).mean())

    limit = float(np.log(HOTTEST))
    return float(np.exp(minimize_scalar(log_loss, bounds=(-limit, limit), method="bounded").x))


def _isotonic_steps(is_class: NDArray[np.bool_], probability: FloatArray) -> tuple[list[float], list[float]]:
    from sklearn.isotonic import IsotonicRegression

    half_a_row = 0.5 / len(is_class)
    fitted = IsotonicRegression(y_min=half_a_row, y_max=1.0 - half_a_row, out_of_bounds="clip")
    fitted.fit(probability, is_class.astype(np.float64))
    return fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
