"""Calibration, then the decision: what a run does to its probabilities, fitted out-of-fold and scored honestly.

The decision of two classes is a threshold, that of more classes with an order cut points between neighbours.

Knows arrays, folds of rows, a metric and what a run's configuration asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from pipeline.scoring.class_weights import best_class_weights, weighted_classes
from pipeline.scoring.cross_fitting import cross_fitted, parts_of
from pipeline.scoring.cut_points import best_cut_points, decided_by_cut_points
from pipeline.scoring.thresholds import best_threshold, moved_to_half


def apply_adjustment(adjustment: Adjustment | None, prediction: FloatArray) -> FloatArray:
    """Calibrate probabilities and decide, so that the chosen class is the most probable one.

    `prediction` is (rows, classes), or (rows, targets) of several targets; None (a regression) changes nothing.
    """
    if adjustment is None:
        return prediction
    if adjustment.by_target:
        columns = zip(adjustment.by_target, prediction.T, strict=True)
        return np.column_stack([apply_adjustment(one, _two_classes(column))[:, 1] for one, column in columns])
    calibrated = prediction if adjustment.calibrator is None else apply_calibrator(adjustment.calibrator, prediction)
    if adjustment.cut_points is not None:
        return decided_by_cut_points(calibrated, adjustment.cut_points)
    if adjustment.class_weights is not None:
        return weighted_classes(calibrated, adjustment.class_weights)
    return calibrated if adjustment.threshold is None else moved_to_half(calibrated, adjustment.threshold)


def _two_classes(positive: FloatArray) -> FloatArray:
    """(rows,) probabilities of the second class -> (rows, 2)."""
    return np.column_stack([1.0 - positive, positive])


def has_threshold(config: RunConfig, task: Task, metric: Metric) -> bool:
    """Whether the run chooses a decision threshold or cut points. Raises SpecError for what cannot be."""
    where = f"preset {config.preset}"
    if task == "regression" and config.calibration != "none":
        raise SpecError("a regression has no probabilities to mend", where=f"{where}, calibration")
    can_have = metric.reads == "label" and (task == "binary" or metric.of_confusion is not None)
    if config.threshold == "best" and not can_have:
        raise SpecError(
            f"there is no threshold to choose: the task is {task}, and the metric {metric.name} reads "
            f"{'labels' if metric.reads == 'label' else 'no labels'}",
            where=f"{where}, threshold",
            hint='A threshold parts two classes, or classes with an order, for a metric of labels. Leave it at "auto".',
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
    """Adjust out-of-fold probabilities by cross-fitting, and fit the adjustment of new rows on all.

    `codes` are (rows,) with (rows, classes), or (rows, targets) with those of the second class; each target has an
    adjustment of its own. The report tells calibration before and after, of all targets together, and the threshold of
    every part; its reliability table is that of the probabilities before any threshold moved them. Cut points that do
    not score better than the most probable class are left out.
    """
    decides_by = metric if has_threshold and (codes.ndim == 1 or not metric.is_joint) else None
    if codes.ndim == 1:
        found = _cross_fitted(calibration, decides_by, fold_of_row, codes, probability)
        flat_codes, before, calibrated = codes, probability, found.calibrated
    else:
        columns = zip(codes.T, probability.T, strict=True)
        found = _of_several(
            [_cross_fitted(calibration, decides_by, fold_of_row, one, _two_classes(p)) for one, p in columns]
        )
        flat_codes = codes.reshape(-1)
        before, calibrated = _two_classes(probability.reshape(-1)), _two_classes(found.calibrated.reshape(-1))
    threshold = None
    if found.decisions:
        threshold = ThresholdReport(
            value=_decision(found.adjustment),
            by_part=found.decisions,
            score_at_half=metric(codes, found.calibrated),
            score_cross_fitted=metric(codes, found.adjusted),
        )
    calibrator, table = found.adjustment.calibrator, reliability_table(flat_codes, calibrated)
    report = ProbabilityReport(
        calibration=calibration or "none",
        temperature=calibrator.temperature if calibrator is not None and calibration == "temperature" else None,
        before=_quality(flat_codes, before),
        after=None if calibration is None else _quality(flat_codes, calibrated),
        reliability=[ReliabilityBin.model_validate(row) for row in table.to_dict("records")],
        threshold=threshold,
    )
    return Adjusted(found.adjusted, found.adjustment, report)


@dataclass(frozen=True)
class _CrossFitted:
    """Probabilities after calibration and after the decision, both cross-fitted; the adjustment of new rows."""

    calibrated: FloatArray
    adjusted: FloatArray
    adjustment: Adjustment
    decisions: list[float | list[float]]  # of each part; [] without a decision


def _cross_fitted(
    calibration: CalibrationKind | None,
    metric: Metric | None,
    fold_of_row: NDArray[np.int64],
    codes: NDArray[Any],
    probability: FloatArray,
) -> _CrossFitted:
    """Cross-fit one target's adjustment; without `metric` no class is decided."""
    parts, every_row = parts_of(fold_of_row, codes), np.ones(len(codes), dtype=bool)

    def fit(metric: Metric | None, rows: NDArray[np.bool_]) -> Adjustment:
        return _fit(calibration, None if metric is None else metric.at(rows), codes[rows], probability[rows])

    calibrated, _ = cross_fitted(partial(fit, None), apply_adjustment, parts, probability)
    if metric is not None:
        adjusted, by_part = cross_fitted(partial(fit, metric), apply_adjustment, parts, probability)
        is_chosen = probability.shape[1] == 2 or metric.is_better(metric(codes, adjusted), metric(codes, calibrated))
        if is_chosen:
            decisions = [_decision(one) for one in by_part]
            return _CrossFitted(calibrated, adjusted, fit(metric, every_row), decisions)
    return _CrossFitted(calibrated, calibrated, fit(None, every_row), [])


def _of_several(found: Sequence[_CrossFitted]) -> _CrossFitted:
    """The targets side by side: the probabilities of their second classes."""
    adjustments = [one.adjustment for one in found]
    by_part = zip(*(one.decisions for one in found), strict=True)
    return _CrossFitted(
        np.column_stack([one.calibrated[:, 1] for one in found]),
        np.column_stack([one.adjusted[:, 1] for one in found]),
        Adjustment(by_target=adjustments if any(one != Adjustment() for one in adjustments) else []),
        [[one for one in thresholds if isinstance(one, float)] for thresholds in by_part],
    )


def _decision(adjustment: Adjustment) -> float | list[float]:
    if adjustment.by_target:
        return [one.threshold for one in adjustment.by_target if one.threshold is not None]
    decision = adjustment.threshold if adjustment.cut_points is None else adjustment.cut_points
    assert decision is not None, "a decision was fitted"
    return decision


def _fit(
    calibration: CalibrationKind | None, metric: Metric | None, codes: NDArray[Any], probability: FloatArray
) -> Adjustment:
    """Learn calibration and decision (for `metric`; None: no decision) from the same rows."""
    calibrator = None if calibration is None else fit_calibrator(calibration, codes, probability)
    calibrated = probability if calibrator is None else apply_calibrator(calibrator, probability)
    decision = Adjustment() if metric is None else fit_decision(metric, codes, calibrated)
    return decision.updated(calibrator=calibrator)


def fit_decision(metric: Metric, codes: NDArray[Any], probability: FloatArray) -> Adjustment:
    """Learn the decision that suits a metric of labels: threshold, cut points of ordered classes, or class weights."""
    if probability.shape[1] == 2:
        return Adjustment(threshold=best_threshold(metric, codes, probability))
    if metric.of_confusion is not None:
        return Adjustment(cut_points=best_cut_points(metric, codes, probability))
    return Adjustment(class_weights=best_class_weights(metric, codes, probability))


def _quality(codes: NDArray[Any], probability: FloatArray) -> ProbabilityQuality:
    return ProbabilityQuality(
        log_loss=METRICS["log_loss"](codes, probability),
        brier=METRICS["brier"](codes, probability),
        expected_calibration_error=expected_calibration_error(codes, probability),
    )
