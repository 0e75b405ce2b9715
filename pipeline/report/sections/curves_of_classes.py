"""Figures of a classification's errors: ROC and precision-recall curves, calibration, score by threshold."""

from __future__ import annotations

import numpy as np

from pipeline.config.run_report import ProbabilityReport, RunReport
from pipeline.report import words
from pipeline.report.blocks import Figure
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material
from pipeline.report.compute import classes as curves_of
from pipeline.report.compute.classes import Codes, Curve
from pipeline.report.compute.comparison import score_noise
from pipeline.scoring.thresholds import moved_to_half


def roc_figure(curve: Curve, positive: str) -> Figure:
    """The ROC curve of two classes with the spread of the folds."""
    plane = Plane(
        [0, 1],
        [0, 1],
        x_label="false alarms: share of the others",
        y_label=f"found: share of {positive}",
        is_square=True,
        margin_x=0.0,
        margin_y=0.01,
    )
    plane.line([0, 1], [0, 1], colour=0, css="dashed")
    plane.band(curve.x, curve.low, curve.high).line(curve.x, curve.y)
    at = int(np.searchsorted(curve.x, 0.1))
    caption = (
        f"Area {words.score_with_noise(curve.area, curve.area_sd)} (spread of the folds). With false alarms "
        "for a tenth of the others, "
        f"{words.percent(float(curve.y[at]))} of {positive} are found."
    )
    return Figure(
        plane.svg(f"ROC curve of {positive}, area {curve.area:.3f}"),
        "ROC curve",
        caption,
        [(1, "all rows, and the folds' spread")],
    )


def precision_figure(curve: Curve, base: float, positive: str) -> Figure:
    """The precision-recall curve of two classes; `base` is the share of the positive one."""
    plane = Plane(
        [0, 1],
        [0, 1],
        x_label=f"recall: share of {positive} that is found",
        y_label="precision: share that is right",
        is_square=True,
        margin_x=0.0,
        margin_y=0.01,
    )
    plane.rule(y=base, name="by chance")
    plane.band(curve.x, curve.low, curve.high).line(curve.x, curve.y)
    at = int(np.searchsorted(curve.x, 0.8))
    caption = (
        f"Area {words.score_with_noise(curve.area, curve.area_sd)}. To find four of five {positive}, "
        f"{words.percent(1 - float(curve.y[at]))} of what is called so is wrong."
    )
    return Figure(
        plane.svg(f"precision-recall curve of {positive}"),
        "Precision and recall",
        caption,
        [(1, "all rows, and the folds' spread")],
    )


def roc_figure_of_each(codes: Codes, share: np.ndarray, classes: list[str]) -> Figure:
    """The ROC curve of each of several classes against the others."""
    plane = Plane(
        [0.001, 1],
        [0, 1],
        x_label="false alarms: share of the other classes",
        y_label="found: share of the class",
        log_x=True,
        is_square=True,
        margin_x=0.0,
        margin_y=0.01,
    )
    areas = {}
    grid = np.concatenate([[0.001], np.geomspace(0.002, 1, 60)])
    for code, name in enumerate(classes):
        is_class = codes == code
        if is_class.all() or not is_class.any():
            continue
        order = np.argsort(-share[:, code], kind="stable")
        hits, misses = np.cumsum(is_class[order]) / is_class.sum(), np.cumsum(~is_class[order]) / (~is_class).sum()
        areas[name] = float(np.trapezoid(np.append(0, hits), np.append(0, misses)))
        plane.line(grid, np.interp(grid, misses, hits), colour=1, css="thin", title=f"{name}: area {areas[name]:.4f}")
    if not areas:
        return Figure(plane.svg("no curve"), "ROC curve of each class", "")
    worst, best = min(areas, key=lambda one: areas[one]), max(areas, key=lambda one: areas[one])
    caption = (
        f"Each class against the others: {best} is told apart best (area {areas[best]:.4f}), {worst} least "
        f"({areas[worst]:.4f}). The scale of false alarms is logarithmic."
    )
    return Figure(plane.svg("ROC curve of each class against the others"), "ROC curve of each class", caption)


def before_threshold(report: ProbabilityReport | None, share: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The probabilities before the chosen threshold was moved to a half, if one was."""
    if report is None or report.threshold is None:
        return share
    parts = np.unique(fold)
    if len(parts) != len(report.threshold.by_part):
        return share
    plain = share.copy()
    for part, threshold in zip(parts, report.threshold.by_part, strict=True):
        if isinstance(threshold, float):
            plain[fold == part] = moved_to_half(share[fold == part], 1.0 - threshold)
    return plain


def calibration_figure(codes: Codes, share: np.ndarray, classes: list[str], report: ProbabilityReport | None) -> Figure:
    """Probabilities against the share that came true, with what calibration changed."""
    is_two = len(classes) == 2
    told = share[:, 1] if is_two else share.max(axis=1)
    found = curves_of.reliability((codes == 1) if is_two else share.argmax(axis=1) == codes, told)
    label = f"probability of {classes[1]}" if is_two else "probability of the predicted class"
    plane = Plane(
        np.append(found.told, [0 if is_two else found.told.min(), 1]),
        np.append(np.append(found.low, found.high), [1]),
        x_label=label,
        y_label="share that came true",
        is_square=True,
        margin_x=0.02,
        margin_y=0.02,
    )
    ends = np.array([max(plane.x.low, plane.y.low), min(plane.x.high, plane.y.high)])
    plane.line(ends, ends, colour=0, css="dashed").whiskers(found.told, found.low, found.high)
    titles = [
        f"{words.count(int(n), 'row')}: told {t:.3f}, came true {c:.3f}"
        for n, t, c in zip(found.rows, found.told, found.came_true, strict=True)
    ]
    plane.line(found.told, found.came_true, css="thin").points(found.told, found.came_true, titles=titles)
    gap = float(np.sum(found.rows * np.abs(found.told - found.came_true)) / found.rows.sum())
    off = (found.told < found.low) | (found.told > found.high)
    where = (
        "every bin holds the line within its 95 % interval"
        if not off.any()
        else f"{int(off.sum())} of {len(off)} bins miss it by more than chance"
    )
    caption = (
        f"Well calibrated probabilities lie on the line: {where}; on average they are off by {words.percent(gap)}."
    )
    if report is not None and report.after is not None:
        caption += (
            f" Calibration by {report.calibration} changed log loss from {report.before.log_loss:.4f} to "
            f"{report.after.log_loss:.4f} "
            f"and calibration error from {report.before.expected_calibration_error:.4f} to "
            f"{report.after.expected_calibration_error:.4f}."
        )
    return Figure(
        plane.svg("share that came true against probability"),
        "Calibration",
        caption,
        [(1, "a tenth of the rows, 95 % interval")],
    )


def threshold_figure(
    material: Material, run: RunReport, codes: Codes, share: np.ndarray, report: ProbabilityReport | None
) -> Figure:
    """The score by the threshold of two classes, and the one in use."""
    metric, noise = material.metric.at(material.oof(run).rows), score_noise(run.fold_scores)
    thresholds, scores = curves_of.score_by_threshold(metric, codes, share)
    plane = Plane(thresholds, scores, x_label="threshold", y_label=metric.name, margin_x=0.0)
    if np.isfinite(noise):
        plane.band(thresholds, scores - noise, scores + noise)
    plane.line(thresholds, scores)
    best = int(np.nanargmin(metric.losses(scores)))
    chosen = 0.5
    if report is not None and report.threshold is not None and isinstance(report.threshold.value, float):
        chosen = report.threshold.value
    plane.rule(x=chosen, name=f"used: {chosen:.2f}", colour=2)
    at = int(np.abs(thresholds - chosen).argmin())
    lost = float(metric.gain(scores[best], scores[at]))
    verdict = "within the noise" if not lost > noise else "more than the noise"
    caption = (
        f"The best threshold on these rows is {thresholds[best]:.2f}: better by {words.score(lost, noise)} than "
        f"the one in use, {verdict}."
    )
    if report is not None and report.threshold is not None:
        caption += (
            f" Cross-fitted thresholds score {words.score(report.threshold.score_cross_fitted, noise)}, a half "
            f"{words.score(report.threshold.score_at_half, noise)}."
        )
    return Figure(plane.svg(f"{metric.name} by threshold"), "Score by threshold", caption, [(1, "score and its noise")])
