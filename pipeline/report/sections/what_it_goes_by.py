"""Section `drivers`: which columns the final prediction needs, and how it moves with them."""

from __future__ import annotations

import numpy as np

from pipeline.report import words
from pipeline.report.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Figure,
    Figures,
    Heading,
    Section,
    Table,
    Tabs,
    Text,
    number_cell,
)
from pipeline.report.charts.bars import bar_list
from pipeline.report.charts.heatmap import heatmap
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material
from pipeline.report.compute.drivers import Effect, Importance
from pipeline.report.drivers import Drivers, known_drivers

MOST_BARS = 20
STANDARD_ERRORS = 2.0
LOG_RATIO = 200.0


def section(material: Material) -> Section | None:
    """None if it was not measured."""
    found = known_drivers(material)
    if found is None or not found.importances:
        return None
    blocks: list[Block] = []
    if material.store.spec.encoder.pixels:
        blocks.append(Figures([_patches(material, found)]))
    else:
        blocks.append(Figures([_bars(material, found), *(_effect(material, found, one) for one in found.effects)]))
        if found.rows:
            blocks += _rows(found)
        blocks.append(Details(f"All {len(found.importances)} columns", [_table(material, found)]))
    return Section("drivers", "What it goes by", _lead(material, found), blocks)


def _is_sure(one: Importance) -> bool:
    return bool(one.loss > STANDARD_ERRORS * np.nan_to_num(one.noise) and one.loss > 0)


def _lead(material: Material, found: Drivers) -> str:
    sure = [one for one in found.importances if _is_sure(one)]
    run = material.run.run if material.run is not None else ""
    times = "once" if found.n_repeats == 1 else f"{found.n_repeats} times"
    how = f"{words.count(found.n_rows, 'row')} not trained on, each column shuffled {times}"
    if not sure:
        return f"No single column matters to {run} by more than the noise ({how}): others stand in for it."
    first = sure[0]
    told = (
        f"{run} needs {words.of_data(first.name, 60)} most: shuffled, {material.metric.name} gets "
        f"{words.score(first.loss, first.noise)} worse"
    )
    others = [words.of_data(one.name, 40) for one in sure[1:4]]
    if others:
        told += f"; then {words.listed(others)}"
    n_idle = len(found.importances) - len(sure)
    return (
        f"{told}. {words.count(n_idle, 'column')} of {len(found.importances)} could be shuffled without a loss "
        f"beyond noise ({how})."
    )


def _bars(material: Material, found: Drivers) -> Figure:
    shown = found.importances[:MOST_BARS]
    svg = bar_list(
        [one.name for one in shown],
        [one.loss for one in shown],
        shown=[words.score(one.loss, one.noise) for one in shown],
        noise=[STANDARD_ERRORS * one.noise for one in shown],
        colours=[1 if _is_sure(one) else 0 for one in shown],
        name="loss of score when a column is shuffled",
    )
    caption = (
        f"How much worse {material.metric.name} gets when the column is shuffled in rows that were not "
        "trained on; all features made "
        "of a raw column together. Whiskers are two standard errors over the folds; grey: within them. "
        "Columns that say the "
        "same share their importance."
    )
    if len(found.importances) < found.n_groups and not any(
        recipe.kind == "date" for recipe in material.store.manifest.recipes
    ):
        caption += f" {len(found.importances)} of {found.n_groups} columns were tried."
    return Figure(svg, "Importance for the final prediction", caption, [(1, "more than noise"), (0, "within noise")])


def _effect(material: Material, found: Drivers, one: Effect) -> Figure:
    means, spreads = np.array(one.mean), np.array(one.spread)
    name = words.of_data(one.name, 60)
    caption = _told(material, found, one, means[0])
    if not one.is_number:
        levels = [words.of_data(value, 60) for value in one.at]
        shown = [words.change(float(one), 2) for one in means[0]]
        svg = bar_list(levels, one.mean[0], shown=shown, noise=one.spread[0], name=f"effect of {name}")
        return Figure(svg, f"Effect of {name}", f"{caption} Bars: change of {words.of_data(found.outputs[0], 60)}.")
    y = np.concatenate([(means - spreads).reshape(-1), (means + spreads).reshape(-1)])
    label = "change of the prediction" if len(found.outputs) > 1 else f"change of {words.of_data(found.outputs[0], 24)}"
    at = np.array([float(value) for value in one.at])
    is_log = at.min() > 0 and at.max() / at.min() > LOG_RATIO
    plane = Plane(at, y, x_label=name, y_label=label, log_x=bool(is_log), height=240)
    plane.rule(y=0.0)
    for i, (mean, spread) in enumerate(zip(means, spreads, strict=True), 1):
        plane.band(at, mean - spread, mean + spread, colour=i).line(at, mean, colour=i)
    legend = [(i, words.of_data(output, 60)) for i, output in enumerate(found.outputs, 1)]
    return Figure(plane.svg(f"effect of {name}"), f"Effect of {name}", caption, legend if len(legend) > 1 else [])


def _told(material: Material, found: Drivers, one: Effect, mean: np.ndarray) -> str:
    low, high = int(mean.argmin()), int(mean.argmax())
    difference = float(mean[high] - mean[low])
    ends = [words.cell(float(one.at[i])) if one.is_number else words.of_data(one.at[i], 40) for i in (low, high)]
    if material.metric.scale in ("log", "log1p") and not material.is_classification:
        much = f"{words.percent(float(np.expm1(difference)))} more"
    elif material.is_classification:
        much = f"{100 * difference:.1f} points more"
    else:
        much = f"{words.amount(difference, 3)} more"
    how = "by accumulated local effects" if one.is_number else "if all rows had the level"
    return (
        f"Highest at {ends[1]}, lowest at {ends[0]}: {much} of "
        f"{words.of_data(found.outputs[0].removeprefix('log ').removeprefix('log1p '), 60)}, {how}; the band "
        "is the spread of the folds."
    )


def _rows(found: Drivers) -> list[Block]:
    """Why the worst rows got their predictions."""
    tabs = []
    for row in found.rows:
        names = [f"{name} = {value}" if value else name for name, value in zip(row.columns, row.values, strict=True)]
        shown = [words.change(value) for value in row.added]
        colours = [1 if value >= 0 else 2 for value in row.added]
        svg = bar_list(names, row.added, shown=shown, colours=colours, name=f"contributions to row {row.id}")
        told = f"Actual {row.actual}, predicted {row.predicted}. Without any column the prediction is {row.rest:.4g}."
        tabs.append((row.id, [Figures([Figure(svg, f"Row {row.id}", told, [(1, "raises"), (2, "lowers")])])]))
    told = (
        f"What each value adds to the prediction of the rows with the greatest errors, by {found.booster} on "
        "the scale that it "
        "learns (Tree SHAP, models that have not seen the row)."
    )
    return [Heading("Why these rows are wrong"), Text(told), Tabs("rows by id", tabs)]


def _patches(material: Material, found: Drivers) -> Figure:
    places = {
        tuple(int(one) for one in item.name.removeprefix("pixels ").split(",")): item
        for item in found.importances
        if item.name.startswith("pixels ")
    }
    n_rows, n_columns = (1 + max((place[axis] for place in places), default=0) for axis in (0, 1))
    losses = np.zeros((n_rows, n_columns))
    for (row, column, *_), item in places.items():
        losses[row, column] = np.nan_to_num(item.loss)
    top = float(np.abs(losses).max()) or 1.0
    names = [[f"{losses[i, j]:+.4f}" for j in range(n_columns)] for i in range(n_rows)]
    noise = [item.noise for item in found.importances if np.isfinite(item.noise)]
    digits = words.digits_for(float(np.median(noise))) if noise else 3
    shown = [[f"{losses[i, j]:.{min(digits, 3)}f}" for j in range(n_columns)] for i in range(n_rows)]
    labels = [str(4 * i) for i in range(max(n_rows, n_columns))]
    svg = heatmap(
        labels[:n_rows],
        labels[:n_columns],
        shown=shown,
        titles=names,
        shades=losses / top,
        name="loss of score by patch of pixels",
        row_label="row of pixels",
        column_label="column of pixels",
    )
    return Figure(
        svg,
        "Which part of the picture matters",
        f"How much worse {material.metric.name} gets when a patch of 4 × 4 pixels is exchanged between pictures.",
    )


def _table(material: Material, found: Drivers) -> Table:
    rows = [
        [
            Cell(words.of_data(one.name)),
            number_cell(words.score(one.loss, one.noise), one.loss, "" if _is_sure(one) else "quiet"),
            number_cell(words.score(one.noise, one.noise), one.noise),
        ]
        for one in found.importances
    ]
    columns = [
        Column("column"),
        Column(f"loss of {material.metric.name}", is_number=True),
        Column("± noise", is_number=True),
    ]
    return Table("Importance of all columns", columns, rows, is_searchable=True)
