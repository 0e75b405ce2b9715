"""Section `errors` of a classification: confusion, curves, calibration, threshold, each class, doubtful labels."""

from __future__ import annotations

import numpy as np

from pipeline.config.run_report import RunReport
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table, Text, number_cell
from pipeline.report.charts.heatmap import heatmap
from pipeline.report.collect import Material, OutOfFold
from pipeline.report.compute import classes as curves_of
from pipeline.report.compute.classes import Codes
from pipeline.report.compute.label_errors import Suspect, suspects
from pipeline.report.sections.curves_of_classes import (
    before_threshold,
    calibration_figure,
    precision_figure,
    roc_figure,
    roc_figure_of_each,
    threshold_figure,
)
from pipeline.report.sections.rows import row_cells, row_columns, row_id, telling_columns

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
        figures.append(roc_figure(curves_of.with_folds(curves_of.roc, is_positive, share[:, 1], fold), classes[1]))
        precision = curves_of.with_folds(curves_of.precision_recall, is_positive, share[:, 1], fold)
        figures.append(precision_figure(precision, float(is_positive.mean()), classes[1]))
    elif len(classes) <= MOST_CLASSES:
        figures.append(roc_figure_of_each(codes, share, classes))
    report = None if run is None or run.classification is None else run.classification.probabilities
    plain = before_threshold(report, share, fold) if len(classes) == 2 else share
    figures.append(calibration_figure(codes, plain, classes, report))
    if len(classes) == 2 and material.metric.reads == "label" and run is not None:
        figures.append(threshold_figure(material, run, codes, plain, report))
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
    shown = [[words.count_in_cell(int(n)) if n else "" for n in row] for row in part]
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
