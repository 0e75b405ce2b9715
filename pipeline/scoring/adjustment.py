"""Calibration, then the threshold: what a run does to its probabilities, fitted out-of-fold and scored honestly.

Knows arrays, folds of rows and a metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline.base.arrays import FloatArray
from pipeline.metrics import METRICS, Metric
from pipeline.scoring.calibration import (
    CalibrationKind,
    Calibrator,
    expected_calibration_error,
    fit_calibrator,
    reliability_table,
)
from pipeline.scoring.cross_fitting import cross_fitted, parts_of
from pipeline.scoring.thresholds import best_threshold, moved_to_half


class Adjustment(BaseModel):
    """What is done to probabilities of rows that are not train rows; learned from all out-of-fold predictions."""

    model_config = ConfigDict(frozen=True)

    calibrator: Calibrator | None = None
    threshold: float | None = None

    def __call__(self, probability: FloatArray) -> FloatArray:
        """(rows, classes) -> (rows, classes): calibrated, and with the threshold moved to 0.5."""
        if self.calibrator is not None:
            probability = self.calibrator(probability)
        return probability if self.threshold is None else moved_to_half(probability, self.threshold)


@dataclass(frozen=True)
class Adjusted:
    """Out-of-fold probabilities, each row adjusted by what the other folds' rows taught, and what to tell of it."""

    probability: FloatArray
    adjustment: Adjustment
    report: dict[str, Any]


def adjust(
    calibration: CalibrationKind | None,
    has_threshold: bool,
    metric: Metric,
    fold_of_row: NDArray[np.int64],
    codes: NDArray[Any],
    probability: FloatArray,
) -> Adjusted:
    """Adjust out-of-fold probabilities (rows, classes) by cross-fitting, and fit the adjustment of new rows on all.

    A threshold is for two classes. The report tells calibration before and after, and the threshold of every part;
    its reliability table is that of the probabilities before any threshold moved them.
    """
    parts = parts_of(fold_of_row, codes)
    report: dict[str, Any] = {"calibration": calibration or "none", "before": _quality(codes, probability)}
    calibrated, _ = cross_fitted(_Fit(calibration, None), parts, codes, probability)
    if calibration is not None:
        report["after"] = _quality(codes, calibrated)
    report["reliability"] = reliability_table(codes, calibrated).to_dict("records")
    fit = _Fit(calibration, metric if has_threshold else None)
    adjustment = fit(codes, probability)
    if adjustment.calibrator is not None and calibration == "temperature":
        report["temperature"] = adjustment.calibrator.temperature
    if not has_threshold:
        return Adjusted(calibrated, adjustment, report)
    adjusted, by_part = cross_fitted(fit, parts, codes, probability)
    report["threshold"] = {
        "value": adjustment.threshold,
        "by_part": [one.threshold for one in by_part],
        "score_at_half": metric(codes, calibrated),
        "score_cross_fitted": metric(codes, adjusted),
    }
    return Adjusted(adjusted, adjustment, report)


@dataclass(frozen=True)
class _Fit:
    """Learns calibration and threshold from the same rows, so that a part left out is left out of both."""

    calibration: CalibrationKind | None
    metric: Metric | None  # of the threshold; None leaves it

    def __call__(self, codes: NDArray[Any], probability: FloatArray) -> Adjustment:
        calibrator = None if self.calibration is None else fit_calibrator(self.calibration, codes, probability)
        if self.metric is None:
            return Adjustment(calibrator=calibrator)
        calibrated = probability if calibrator is None else calibrator(probability)
        return Adjustment(calibrator=calibrator, threshold=best_threshold(self.metric, codes, calibrated))


def adjusted_as_reported(report: Mapping[str, Any], prediction: FloatArray) -> FloatArray:
    """What a run's `report.json` says is done to predictions of new rows; nothing in a regression."""
    classification = report.get("classification")
    return prediction if classification is None else Adjustment.model_validate(classification["adjustment"])(prediction)


def _quality(codes: NDArray[Any], probability: FloatArray) -> dict[str, float]:
    return {
        "log_loss": METRICS["log_loss"](codes, probability),
        "brier": METRICS["brier"](codes, probability),
        "expected_calibration_error": expected_calibration_error(codes, probability),
    }
