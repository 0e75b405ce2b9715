"""Calibration, then the threshold: what a run does to its probabilities, fitted out-of-fold and scored honestly.

Knows arrays, folds of rows, a metric and what a run's configuration asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.config.run import RunConfig
from pipeline.config.run_report import (
    Adjustment,
    CalibrationKind,
    ProbabilityQuality,
    ProbabilityReport,
    ReliabilityBin,
    ThresholdReport,
)
from pipeline.metrics import METRICS, Metric, Task
from pipeline.scoring.calibration import (
    apply_calibrator,
    expected_calibration_error,
    fit_calibrator,
    reliability_table,
)
from pipeline.scoring.cross_fitting import cross_fitted, parts_of
from pipeline.scoring.thresholds import best_threshold, moved_to_half


def apply_adjustment(adjustment: Adjustment | None, prediction: FloatArray) -> FloatArray:
    """Calibrate (rows, classes) probabilities and move the threshold to 0.5; None (a regression) changes nothing."""
    if adjustment is None:
        return prediction
    calibrated = prediction if adjustment.calibrator is None else apply_calibrator(adjustment.calibrator, prediction)
    return calibrated if adjustment.threshold is None else moved_to_half(calibrated, adjustment.threshold)


def has_threshold(config: RunConfig, task: Task, metric: Metric) -> bool:
    """Whether the run chooses a decision threshold. Raises SpecError for an adjustment that cannot be."""
    where = f"preset {config.preset}"
    if task == "regression" and config.calibration != "none":
        raise SpecError("a regression has no probabilities to mend", where=f"{where}, calibration")
    can_have = task == "binary" and metric.reads == "label"
    if config.threshold == "best" and not can_have:
        raise SpecError(
            f"there is no threshold to choose: the task is {task}, and the metric {metric.name} reads "
            f"{'labels' if metric.reads == 'label' else 'no labels'}",
            where=f"{where}, threshold",
            hint='A threshold parts two classes for a metric of labels. Leave it at "auto".',
        )
    return can_have and (config.threshold == "best" or (config.threshold == "auto" and metric.needs_threshold))


@dataclass(frozen=True)
class Adjusted:
    """Out-of-fold probabilities, each row adjusted by what the other folds' rows taught, and what to tell of it."""

    probability: FloatArray
    adjustment: Adjustment
    report: ProbabilityReport


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

    def fit(metric: Metric | None, rows: NDArray[np.bool_]) -> Adjustment:
        return _fit(calibration, None if metric is None else metric.at(rows), codes[rows], probability[rows])

    calibrated, _ = cross_fitted(partial(fit, None), apply_adjustment, parts, probability)
    with_threshold = partial(fit, metric if has_threshold else None)
    adjustment = with_threshold(np.ones(len(codes), dtype=bool))
    adjusted, threshold = calibrated, None
    if adjustment.threshold is not None:
        adjusted, by_part = cross_fitted(with_threshold, apply_adjustment, parts, probability)
        threshold = ThresholdReport(
            value=adjustment.threshold,
            by_part=[one.threshold for one in by_part if one.threshold is not None],
            score_at_half=metric(codes, calibrated),
            score_cross_fitted=metric(codes, adjusted),
        )
    calibrator, table = adjustment.calibrator, reliability_table(codes, calibrated)
    report = ProbabilityReport(
        calibration=calibration or "none",
        temperature=calibrator.temperature if calibrator is not None and calibration == "temperature" else None,
        before=_quality(codes, probability),
        after=None if calibration is None else _quality(codes, calibrated),
        reliability=[ReliabilityBin.model_validate(row) for row in table.to_dict("records")],
        threshold=threshold,
    )
    return Adjusted(adjusted, adjustment, report)


def _fit(
    calibration: CalibrationKind | None, metric: Metric | None, codes: NDArray[Any], probability: FloatArray
) -> Adjustment:
    """Learn calibration and threshold (for `metric`; None: no threshold) from the same rows."""
    calibrator = None if calibration is None else fit_calibrator(calibration, codes, probability)
    calibrated = probability if calibrator is None else apply_calibrator(calibrator, probability)
    threshold = None if metric is None else best_threshold(metric, codes, calibrated)
    return Adjustment(calibrator=calibrator, threshold=threshold)


def _quality(codes: NDArray[Any], probability: FloatArray) -> ProbabilityQuality:
    return ProbabilityQuality(
        log_loss=METRICS["log_loss"](codes, probability),
        brier=METRICS["brier"](codes, probability),
        expected_calibration_error=expected_calibration_error(codes, probability),
    )
