"""Section `errors` of a regression: predictions, residuals, groups of rows with great errors, the worst rows."""

from __future__ import annotations

import numpy as np

from pipeline.config.run_report import RunReport
from pipeline.config.types import NUMERIC
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table, Text, number_cell
from pipeline.report.charts.bars import bar_list
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material, OutOfFold
from pipeline.report.compute import residuals as errors_of
from pipeline.report.compute.columns import histogram
from pipeline.report.compute.residuals import Group
from pipeline.report.sections.rows import row_cells, row_columns, row_id, telling_columns

MOST_POINTS = 2_500
MOST_TARGETS = 3
N_WORST = 20
N_COLUMNS_TRIED = 12
N_COLUMNS_SHOWN = 4
MOST_RUNS_ASKED = 8


def section(material: Material, run: RunReport) -> Section:
    """The errors of each target; worst rows of the first."""
    oof = material.oof(run)
    targets, predictions = (one.reshape(len(one), -1) for one in (oof.target, oof.prediction))
    names = material.store.spec.target
    blocks: list[Block] = []
    for j, name in enumerate(names[:MOST_TARGETS]):
        if len(names) > 1:
            blocks.append(Heading(f"Target {words.of_data(name, 80)}"))
        blocks += _of_target(material, oof, targets[:, j], predictions[:, j], is_first=j == 0)
    if len(names) > MOST_TARGETS:
        blocks.append(Text(f"The first {MOST_TARGETS} of {len(names)} targets are shown.", is_quiet=True))
    return Section("errors", "Errors", _lead(material, targets[:, 0], predictions[:, 0]), blocks)


def _scale_name(material: Material) -> str:
    return {"none": "", "log": "log ", "log1p": "log1p "}[material.metric.scale]


def _lead(material: Material, target: np.ndarray, prediction: np.ndarray) -> str:
    errors = errors_of.residuals(target, prediction, material.metric)
    groups = errors_of.by_quantile(prediction, errors)
    worst, best = max(groups, key=lambda group: group.error), min(groups, key=lambda group: group.error)
    share = np.sort(errors**2)[::-1]
    n_few = max(1, len(errors) // 100)
    of_few = float(share[:n_few].sum() / share.sum()) if share.sum() > 0 else 0.0
    if material.metric.scale == "none":
        middle = f"Half of the predictions are within {words.amount(float(np.median(np.abs(errors))), 3)} of the truth"
    else:
        middle = (
            f"Half of the predictions are within {words.percent(float(np.expm1(np.median(np.abs(errors)))))} of "
            "the truth"
        )
    return (
        f"{middle}; the worst hundredth of the rows ({words.count(n_few, 'row')}) makes "
        f"{words.percent(of_few)} of the squared "
        f"error. Errors are greatest where the prediction is {worst.name}, smallest at {best.name}."
    )


def _of_target(
    material: Material, oof: OutOfFold, target: np.ndarray, prediction: np.ndarray, *, is_first: bool
) -> list[Block]:
    errors = errors_of.residuals(target, prediction, material.metric)
    by_prediction = errors_of.by_quantile(prediction, errors)
    figures = [
        _against(material, target, prediction),
        _residual_plot(material, prediction, errors),
        _spread(material, errors),
        _groups(material, "Error by tenth of the prediction", "prediction", by_prediction, errors),
    ]
    blocks: list[Block] = [Figures(figures)]
    if is_first and material.is_current:
        by_column = _by_columns(material, oof.rows, errors)
        if by_column:
            blocks += [Heading("By column"), Figures(by_column)]
        blocks.append(_worst(material, oof, target, prediction, errors))
    return blocks


def _sample(number: int) -> np.ndarray:
    if number <= MOST_POINTS:
        return np.arange(number)
    return np.sort(np.random.default_rng(0).choice(number, MOST_POINTS, replace=False))


def _sampled_note(number: int) -> str:
    return "" if number <= MOST_POINTS else f" {MOST_POINTS:,} of {number:,} rows are drawn."


def _against(material: Material, target: np.ndarray, prediction: np.ndarray) -> Figure:
    rows, is_log = _sample(len(target)), material.metric.scale != "none" and float(target.min()) > 0
    both = np.concatenate([target[rows], prediction[rows]])
    both = both[both > 0] if is_log else both
    plane = Plane(
        both, both, x_label="prediction", y_label="actual", log_x=is_log, log_y=is_log, is_square=True, margin_y=0.03
    )
    ends = np.array([plane.x.low, plane.x.high])
    plane.cloud(prediction[rows], target[rows], opacity=0.45 if len(rows) < 1000 else 0.3)
    plane.line(ends, ends, colour=0, css="dashed")
    explained = 1 - float(np.var(target - prediction)) / (float(np.var(target)) or 1.0)
    caption = (
        f"A perfect prediction lies on the line. Predictions explain {words.percent(max(0.0, explained))} of the "
        f"variance.{_sampled_note(len(target))}"
    )
    return Figure(plane.svg("actual value against out-of-fold prediction"), "Predicted and actual", caption)


def _residual_plot(material: Material, prediction: np.ndarray, errors: np.ndarray) -> Figure:
    rows = _sample(len(errors))
    is_log = material.metric.scale != "none" and float(prediction.min()) > 0
    plane = Plane(
        prediction[rows],
        errors[rows],
        x_label="prediction",
        y_label=f"{_scale_name(material)}prediction − actual",
        log_x=is_log,
        is_square=True,
    )
    plane.cloud(prediction[rows], errors[rows], opacity=0.45 if len(rows) < 1000 else 0.3)
    plane.rule(y=0.0)
    groups = errors_of.by_quantile(prediction, errors, 20)
    edges = np.quantile(prediction, np.linspace(0, 1, 21))
    middles = (edges[:-1] + edges[1:]) / 2
    if len(groups) == len(middles):
        plane.line(middles, [group.bias for group in groups], colour=2)
    low, high = groups[0], groups[-1]

    def side(group: Group) -> str:
        if abs(group.bias) < 2 * group.error / group.rows**0.5:
            return "about right"
        return "too high" if group.bias > 0 else "too low"

    caption = f"The line is the mean error: small predictions are {side(low)}, great ones {side(high)} on average."
    return Figure(plane.svg("error against prediction"), "Residuals", caption, [(2, "mean of a twentieth of the rows")])


def _spread(material: Material, errors: np.ndarray) -> Figure:
    edges, counts = histogram(errors, 40)
    plane = Plane(
        edges,
        np.append(counts, 0),
        x_label=f"{_scale_name(material)}prediction − actual",
        y_label="rows",
        height=260,
        margin_y=0.02,
    )
    titles = [f"{a:.4g} to {b:.4g}: {n:,.0f} rows" for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    plane.columns(edges, counts, titles=titles).rule(x=0.0)
    low, high = (float(one) for one in np.quantile(errors, [0.05, 0.95]))
    bias, noise = float(errors.mean()), float(errors.std()) / len(errors) ** 0.5
    leaning = (
        "not biased"
        if abs(bias) < 2 * noise
        else f"{'too high' if bias > 0 else 'too low'} by {words.score(abs(bias), noise)} on average"
    )
    caption = f"Nine of ten errors lie between {words.change(low)} and {words.change(high)}; predictions are {leaning}."
    return Figure(plane.svg("histogram of the errors"), "Spread of the errors", caption)


def _groups(material: Material, title: str, label: str, groups: list[Group], errors: np.ndarray) -> Figure:
    values = np.array([group.error for group in groups])
    noise = np.nan_to_num(np.array([group.noise for group in groups]))
    whole = float(np.sqrt(np.mean(errors**2)))
    worst = max(groups, key=lambda group: group.error)
    sure = "" if worst.error - whole > 2 * np.nan_to_num(worst.noise) else ", within the noise"
    caption = (
        f"Greatest at {worst.name}: {words.score(worst.error, worst.noise)} against "
        f"{words.score(whole, worst.noise)} of all rows{sure}."
    )
    if all(group.short == group.name for group in groups):
        shown = [words.score(group.error, group.noise) for group in groups]
        names = [group.name for group in groups]
        return Figure(
            bar_list(names, values.tolist(), shown=shown, noise=noise.tolist(), name=f"error by {label}"),
            title,
            caption,
        )
    places = np.arange(len(groups), dtype=np.float64)
    plane = Plane(
        np.array([-0.5, len(groups) - 0.5]),
        np.append(values + noise, 0),
        x_label=f"{words.of_data(label, 40)}, from …",
        y_label=f"rms {_scale_name(material)}error",
        x_names=[group.short for group in groups],
        height=260,
        margin_x=0.0,
        margin_y=0.03,
    )
    titles = [
        f"{group.name}: error {words.score_with_noise(group.error, group.noise)}, mean {words.change(group.bias)}, "
        f"{group.rows:,} rows"
        for group in groups
    ]
    plane.columns(np.append(places - 0.5, len(groups) - 0.5), values, titles=titles, gap=4.0)
    plane.whiskers(places, values - noise, values + noise, colour=0)
    plane.rule(y=whole, name="all rows")
    return Figure(plane.svg(f"error by {label}"), title, caption)


def _by_columns(material: Material, rows: np.ndarray, errors: np.ndarray) -> list[Figure]:
    """The columns, of those that matter, along which errors differ most."""
    store, found = material.store, []
    for name in telling_columns(material, N_COLUMNS_TRIED):
        values = store.train[name].iloc[rows]
        if store.manifest.roles[name] in NUMERIC:
            groups = errors_of.by_quantile(values.to_numpy(dtype=np.float64), errors, 8)
        else:
            groups = errors_of.by_level(values, errors, 8)
        if len(groups) > 1:
            found.append((errors_of.unevenness(groups), name, groups))
    found.sort(key=lambda one: -one[0])
    return [
        _groups(material, words.of_data(name, 60), name, groups, errors) for _, name, groups in found[:N_COLUMNS_SHOWN]
    ]


def _worst(material: Material, oof: OutOfFold, target: np.ndarray, prediction: np.ndarray, errors: np.ndarray) -> Table:
    names = telling_columns(material)
    others = [run for run in material.runs if run != material.run and run.ensemble is None][:MOST_RUNS_ASKED]
    agreeing = np.zeros(len(errors), dtype=np.int64)
    asked = 0
    for run in others:
        other = material.oof(run)
        if len(other.rows) != len(oof.rows) or (other.rows != oof.rows).any():
            continue
        told = errors_of.residuals(other.target, other.prediction, material.metric).reshape(len(errors), -1)[:, 0]
        agreeing += (np.sign(told) == np.sign(errors)) & (np.abs(told) > 0.5 * np.abs(errors))
        asked += 1
    rows = []
    for i in errors_of.worst(errors, N_WORST):
        row = int(oof.rows[i])
        share = [number_cell(f"{agreeing[i]} of {asked}", float(agreeing[i]))] if asked else []
        rows.append(
            [
                row_id(material, row),
                number_cell(words.amount(float(target[i]), 6), target[i]),
                number_cell(words.amount(float(prediction[i]), 6), prediction[i]),
                number_cell(words.change(float(errors[i])), errors[i]),
                *share,
                Cell(str(oof.fold[i]), float(oof.fold[i])),
                *row_cells(material, row, names),
            ]
        )
    columns = [
        Column("id"),
        Column("actual", is_number=True),
        Column("predicted", is_number=True),
        Column(f"{_scale_name(material)}error", is_number=True),
        *(
            [
                Column(
                    "runs that agree",
                    is_number=True,
                    help="other runs whose error has this sign and at least half this size",
                )
            ]
            if asked
            else []
        ),
        Column("fold", is_number=True),
        *row_columns(material, names),
    ]
    return Table(f"The {len(rows)} worst rows", columns, rows)
