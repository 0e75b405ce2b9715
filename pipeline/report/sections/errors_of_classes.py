"""Section `errors` of a classification: confusion, curves, calibration, threshold, each class, doubtful labels."""

from __future__ import annotations

import numpy as np

from pipeline.config.run_report import ProbabilityReport, RunReport
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table, Text, number_cell
from pipeline.report.charts.heatmap import heatmap
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material, OutOfFold
from pipeline.report.compute import classes as curves_of
from pipeline.report.compute.classes import Codes, Curve
from pipeline.report.compute.comparison import score_noise
from pipeline.report.compute.label_errors import Suspect, suspects
from pipeline.report.sections.rows import row_cells, row_columns, row_id, telling_columns
from pipeline.scoring.thresholds import moved_to_half

MOST_CLASSES = 24  # in the confusion matrix; others are listed as pairs
N_PAIRS = 20
MOST_TARGETS = 3
N_SUSPECTS = 20
MOST_RUNS_ASKED = 6
MOST_PROBABILITIES = 20_000_000  # of all runs together, for doubtful labels


def section(material: Material, run: RunReport) -> Section:
    """The errors of each target; several targets have two classes each."""
    oof, classes = material.oof(run), [words.class_name(label) for label in material.store.classes]
    blocks: list[Block] = []
    if oof.target.ndim == 2:
        names = material.store.spec.target
        for j, name in enumerate(names[:MOST_TARGETS]):
            share = np.column_stack([1 - oof.prediction[:, j], oof.prediction[:, j]])
            blocks += [Heading(f"Target {words.of_data(name, 80)}")]
            blocks += [Figures(_figures(material, None, oof.target[:, j].astype(np.int64), share, oof.fold, classes))]
        lead = _lead(
            oof.target.reshape(-1).astype(np.int64), (oof.prediction > 0.5).reshape(-1).astype(np.int64), classes
        )
        if len(names) > MOST_TARGETS:
            blocks.append(Text(f"The first {MOST_TARGETS} of {len(names)} targets are shown.", is_quiet=True))
        return Section("errors", "Errors", lead, blocks)
    codes, share = oof.target.astype(np.int64), oof.prediction
    blocks.append(Figures(_figures(material, run, codes, share, oof.fold, classes)))
    blocks.append(_by_class(codes, share, classes))
    if material.is_current:
        blocks += _doubtful(material, run, oof, codes, classes)
    return Section("errors", "Errors", _lead(codes, share.argmax(axis=1), classes), blocks)


def _lead(codes: Codes, predicted: Codes, classes: list[str]) -> str:
    table = curves_of.confusion(codes, predicted, len(classes))
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    n_wrong = int(wrong.sum())
    told = (
        f"{words.count(n_wrong, 'row')} of {len(codes):,} ({words.percent(n_wrong / max(1, len(codes)))}) get "
        "the wrong class"
    )
    if not n_wrong:
        return f"{told}."
    i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
    recall = np.diag(table) / np.maximum(1, table.sum(axis=1))
    present = np.flatnonzero(table.sum(axis=1))
    hardest = int(present[recall[present].argmin()])
    return (
        f"{told}; most often {classes[i]} is taken for {classes[j]} ({words.count(int(wrong[i, j]), 'time')}). "
        f"{classes[hardest][:1].upper()}{classes[hardest][1:]} is found least: "
        f"{words.percent(float(recall[hardest]))} of its rows."
    )


def _figures(
    material: Material, run: RunReport | None, codes: Codes, share: np.ndarray, fold: np.ndarray, classes: list[str]
) -> list[Figure]:
    predicted = share.argmax(axis=1)
    figures = [_confusion(codes, predicted, classes)]
    if len(classes) == 2:
        is_positive = codes == 1
        figures.append(_roc(curves_of.with_folds(curves_of.roc, is_positive, share[:, 1], fold), classes[1]))
        precision = curves_of.with_folds(curves_of.precision_recall, is_positive, share[:, 1], fold)
        figures.append(_precision(precision, float(is_positive.mean()), classes[1]))
    elif len(classes) <= MOST_CLASSES:
        figures.append(_roc_of_each(codes, share, classes))
    report = None if run is None or run.classification is None else run.classification.probabilities
    plain = _before_threshold(report, share, fold) if len(classes) == 2 else share
    figures.append(_calibration(codes, plain, classes, report))
    if len(classes) == 2 and material.metric.reads == "label" and run is not None:
        figures.append(_threshold(material, run, codes, plain, report))
    return figures


def _confusion(codes: Codes, predicted: Codes, classes: list[str]) -> Figure:
    table = curves_of.confusion(codes, predicted, len(classes))
    kept = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        off = table - np.diag(np.diag(table))
        kept = np.sort(np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")[:MOST_CLASSES])
    part = table[np.ix_(kept, kept)]
    shares = part / np.maximum(1, table[kept].sum(axis=1, keepdims=True))
    signs = np.where(np.eye(len(kept), dtype=bool), 1.0, -1.0)
    names = [classes[i] for i in kept]
    titles = [
        [
            f"{n:,} rows of {names[i]} predicted {names[j]}: {words.percent(float(shares[i, j]))} of its rows"
            for j, n in enumerate(row)
        ]
        for i, row in enumerate(part)
    ]
    shown = [[f"{n:,}" if n else "" for n in row] for row in part]
    off_shades = shares * signs
    scale = np.abs(off_shades[signs < 0]).max(initial=0.0)
    shades = np.where(signs > 0, shares, off_shades / max(0.4, scale))
    svg = heatmap(
        names,
        names,
        shown=shown,
        titles=titles,
        shades=shades,
        name="rows by true and predicted class",
        row_label="true",
        column_label="predicted",
    )
    right = float(np.diag(table).sum()) / max(1, int(table.sum()))
    more = f" The {MOST_CLASSES} classes with most errors are drawn." if len(kept) < len(classes) else ""
    caption = f"{words.percent(right)} lie on the diagonal. Shades are shares of the true class.{more}"
    return Figure(svg, "Confusion", caption, [(1, "right"), (2, "wrong")])


def _roc(curve: Curve, positive: str) -> Figure:
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


def _precision(curve: Curve, base: float, positive: str) -> Figure:
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


def _roc_of_each(codes: Codes, share: np.ndarray, classes: list[str]) -> Figure:
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
        f"Each class against the others. {best} is told apart best (area {areas[best]:.4f}), {worst} least "
        f"({areas[worst]:.4f}). The scale of false alarms is logarithmic."
    )
    return Figure(plane.svg("ROC curve of each class against the others"), "ROC curve of each class", caption)


def _before_threshold(report: ProbabilityReport | None, share: np.ndarray, fold: np.ndarray) -> np.ndarray:
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


def _calibration(codes: Codes, share: np.ndarray, classes: list[str], report: ProbabilityReport | None) -> Figure:
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


def _threshold(
    material: Material, run: RunReport, codes: Codes, share: np.ndarray, report: ProbabilityReport | None
) -> Figure:
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


def _by_class(codes: Codes, share: np.ndarray, classes: list[str]) -> Table:
    table = curves_of.confusion(codes, share.argmax(axis=1), len(classes))
    rows = []
    for code, name in enumerate(classes):
        n_true, n_told, n_right = int(table[code].sum()), int(table[:, code].sum()), int(table[code, code])
        precision, recall = n_right / n_told if n_told else np.nan, n_right / n_true if n_true else np.nan
        f1 = 2 * n_right / (n_true + n_told) if n_true + n_told else np.nan
        wrong = table[code].copy()
        wrong[code] = 0
        mistaken = f"{classes[int(wrong.argmax())]} ({int(wrong.max()):,})" if wrong.max() else "–"
        rows.append(
            [
                Cell(name),
                number_cell(f"{n_true:,}", n_true),
                number_cell(words.percent(precision), precision),
                number_cell(words.percent(recall), recall),
                number_cell("–" if np.isnan(f1) else f"{f1:.3f}", f1),
                Cell(mistaken),
            ]
        )
    columns = [
        Column("class"),
        Column("rows", is_number=True),
        Column("precision", is_number=True, help="share of the rows called so that are"),
        Column("recall", is_number=True, help="share of its rows that are found"),
        Column("F1", is_number=True),
        Column("most often taken for"),
    ]
    return Table("Each class", columns, rows, is_searchable=len(classes) > 20)


def _doubtful(material: Material, run: RunReport, oof: OutOfFold, codes: Codes, classes: list[str]) -> list[Block]:
    asked = [run, *(one for one in material.runs if one != run and one.ensemble is None)][:MOST_RUNS_ASKED]
    asked = asked[: max(1, MOST_PROBABILITIES // max(1, oof.prediction.size))]
    shares = []
    for one in asked:
        other = material.oof(one)
        if len(other.rows) == len(oof.rows) and (other.rows == oof.rows).all():
            shares.append(other.prediction)
    found = suspects(codes, shares)
    if not found:
        return []
    names = telling_columns(material)

    def cells(one: Suspect) -> list[Cell]:
        row = int(oof.rows[one.row])
        return [
            row_id(material, row),
            Cell(classes[one.label]),
            Cell(classes[one.instead]),
            number_cell(f"{one.of_label:.3f}", one.of_label),
            number_cell(f"{one.of_other:.3f}", one.of_other),
            *row_cells(material, row, names),
        ]

    columns = [
        Column("id"),
        Column("label"),
        Column("rather"),
        Column("p(label)", is_number=True, help="mean probability of the label"),
        Column("p(rather)", is_number=True),
        *row_columns(material, names),
    ]
    rows = [cells(one) for one in found[:N_SUSPECTS]]
    who = "the run" if len(shares) == 1 else f"all {len(shares)} runs"
    told = (
        f"{words.count(len(found), 'train row')} ({words.percent(len(found) / len(codes))}) may have the "
        f"wrong label: {who} call"
        f"{'s' if len(shares) == 1 else ''} them confidently another class, on rows not trained on "
        "(confident learning). "
        "Look before you drop any: rare rows look the same."
    )
    shown = f"The {len(rows)} most doubtful labels" if len(found) > len(rows) else "Doubtful labels"
    return [Heading("Doubtful labels"), Text(told), Table(shown, columns, rows)]
