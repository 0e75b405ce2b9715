"""Section `runs`: every run with its fold noise, which pairs the folds tell apart, score against time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.config.run_report import RunReport
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Section, Table, number_cell
from pipeline.report.charts.drawing import number, picture, short, text
from pipeline.report.charts.heatmap import heatmap
from pipeline.report.charts.plane import Plane
from pipeline.report.charts.scales import scale, tick_text
from pipeline.report.collect import Material, honest_score
from pipeline.report.compute.comparison import pairwise, pareto, score_noise

MOST_SHOWN = 30
MOST_COMPARED = 14


def section(material: Material) -> Section | None:
    """None without a run."""
    runs = material.runs
    if not runs:
        return None
    figures = [_noise_figure(material)]
    if len(runs) > 1:
        figures += [_pairs(material), _time_figure(material)]
    blocks: list[Block] = [Figures(figures), _table(material)]
    return Section("runs", "Runs", _lead(material), blocks)


def _lead(material: Material) -> str:
    runs, metric = material.runs, material.metric
    best = runs[0]
    noise = score_noise(best.fold_scores)
    told = (
        f"{best.run} leads {words.count(len(runs), 'run')} with {metric.name} {words.score(honest_score(best), noise)}"
    )
    if len(runs) == 1:
        return f"One run so far: {best.run}, {metric.name} {words.score_with_noise(honest_score(best), noise)}."
    means, widths = pairwise(metric, [run.fold_scores for run in runs[:MOST_SHOWN]])
    close = [
        run.run for run, mean, width in zip(runs[1:], means[0, 1:], widths[0, 1:], strict=False) if not mean > width
    ]
    if not close:
        return f"{told}; the folds tell it apart from every other run."
    return (
        f"{told}; the folds cannot tell it from {words.count(len(close), 'other')} "
        f"({words.listed(close, 3)}): their difference lies within the noise."
    )


def _labels(runs: Sequence[RunReport]) -> list[str]:
    """The model of each run, with the beginning of its hash where several runs are of one model."""
    models = [run.config.model for run in runs]
    return [
        model if models.count(model) == 1 else f"{model} {run.run.rsplit('-', 1)[-1][:4]}"
        for model, run in zip(models, runs, strict=True)
    ]


def _noise_figure(material: Material) -> Figure:
    """A dot per run with its standard error, best on top."""
    runs, metric = material.runs[:MOST_SHOWN], material.metric
    scores = np.array([honest_score(run) for run in runs])
    noise = np.array([score_noise(run.fold_scores) for run in runs])
    folds = [np.array(run.fold_scores) for run in runs]
    row, left, width, right, labels = 22.0, 140.0, 420.0, 14.0, _labels(material.runs[:MOST_SHOWN])
    known = np.nan_to_num(noise)
    middle = scores[np.isfinite(scores)]
    far = np.median(middle) + np.array([-1, 1]) * 12 * max(
        np.median(known), np.ptp(np.sort(middle)[: max(2, len(middle) // 2)])
    )
    reach = np.clip(np.concatenate([scores - known, scores + known, *folds[:1]]), *far)
    to_x = scale(reach, left, width - right)
    bottom = row * len(runs) + 8
    parts = []
    ticks = to_x.ticks(4)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else None
    for tick, at in zip(ticks, to_x(ticks), strict=True):
        parts.append(Markup('<path class="grid" d="M{} 0V{}"/>').format(number(at), number(bottom)))
        parts.append(text(at, bottom + 16, tick_text(tick, step), css="tick mid"))
    for i, run in enumerate(runs):
        y = i * row + 12
        colour = 2 if run == material.run else 1
        css = "tick end strong" if run == material.run else "tick end"
        parts.append(text(left - 10, y + 4, labels[i], css=css, most=22))
        if np.isfinite(noise[i]):
            low, high = (number(float(to_x(scores[i] + sign * noise[i]))) for sign in (-1, 1))
            parts.append(Markup('<path class="whisker c{}" d="M{} {}H{}"/>').format(colour, low, number(y), high))
        for fold, value in enumerate(folds[i]):
            if np.isfinite(value):
                tiny = Markup('<circle class="faint c{}" cx="{}" cy="{}" r="2"><title>fold {}: {}</title></circle>')
                parts.append(
                    tiny.format(colour, number(float(to_x(value))), number(y), fold, words.score(value, noise[i]))
                )
        dot = Markup('<circle class="point c{}" cx="{}" cy="{}" r="5"><title>{}: {}</title></circle>')
        told = words.score_with_noise(float(scores[i]), float(noise[i]))
        if np.isfinite(scores[i]):
            parts.append(dot.format(colour, number(float(to_x(scores[i]))), number(y), short(run.run), told))
    parts.append(text((left + width - right) / 2, bottom + 36, f"{metric.name} ({_better(material)})", css="label mid"))
    svg = picture(parts, width=width, height=bottom + 44, name=f"{metric.name} of each run with its fold noise")
    more = "" if len(material.runs) <= MOST_SHOWN else f" The best {MOST_SHOWN} of {len(material.runs)} are drawn."
    caption = (
        "Large dots are cross-validated scores (of ensembles: in nested folds), lines one standard error of "
        "the folds to each "
        f"side, small dots the folds.{more}"
    )
    return Figure(svg, "Scores and their noise", caption)


def _better(material: Material) -> str:
    return "greater is better" if material.metric.greater_is_better else "lower is better"


def _time_figure(material: Material) -> Figure:
    runs, metric = material.runs, material.metric
    seconds = np.maximum(0.1, np.array([run.ensemble.spent_s if run.ensemble else run.elapsed_s for run in runs]))
    scores = np.array([honest_score(run) for run in runs])
    is_known = np.isfinite(scores)
    losses = metric.losses(scores)
    front = pareto(losses, seconds)
    cut = np.nanquantile(losses, 0.85) if len(runs) > 4 else np.nanmax(losses[is_known])
    limit = losses.min() + 2.5 * max(float(cut - losses.min()), 1e-12)
    shown = is_known & (losses <= limit)
    plane = Plane(
        seconds[shown], scores[shown], x_label="seconds of training", y_label=metric.name, log_x=True, margin_x=0.08
    )
    front = np.array([i for i in front if shown[i]], dtype=np.int64)
    labels = _labels(runs)
    plane.line(seconds[front], scores[front], colour=3, css="dashed")
    plane.points(
        seconds[shown],
        scores[shown],
        titles=[
            f"{run.run}: {words.score(score)}, {words.seconds(s)}"
            for run, score, s in zip(runs, scores, seconds, strict=True)
            if np.isfinite(score) and metric.losses([score])[0] <= limit
        ],
    )
    for i in front:
        plane.note(float(seconds[i]), float(scores[i]), labels[i])
    names = [labels[i] for i in front]
    left_out = int((~shown).sum())
    caption = f"No quicker run beats those on the dashed line: {words.listed(names, 6)}."
    if left_out:
        caption += (
            f" {words.count(left_out, 'run')} with a far worse score {'is' if left_out == 1 else 'are'} not drawn."
        )
    return Figure(plane.svg(f"{metric.name} against seconds of training"), "Score for the time", caption)


def _pairs(material: Material) -> Figure:
    runs, metric = material.runs[:MOST_COMPARED], material.metric
    means, widths = pairwise(metric, [run.fold_scores for run in runs])
    sure = np.abs(means) > widths
    shades = np.where(sure, np.sign(means) * np.minimum(1.0, np.abs(means) / np.maximum(widths, 1e-12) / 4), 0.0)
    signs = np.where(np.isnan(means), "", np.where(~sure, "·", np.where(means > 0, "+", "−")))
    names = _labels(runs)
    titles = [
        [
            ""
            if i == j
            else f"{runs[i].run} against {runs[j].run}: {words.gain(means[i, j], widths[i, j])} per fold, "
            f"95 % interval ± {words.score(widths[i, j], widths[i, j])}"
            for j in range(len(runs))
        ]
        for i in range(len(runs))
    ]
    n_pairs = len(runs) * (len(runs) - 1) // 2
    n_sure = int(sure[np.triu_indices(len(runs), 1)].sum())
    svg = heatmap(
        names,
        names,
        shown=signs.tolist(),
        titles=titles,
        shades=shades,
        name="Which runs the folds tell apart",
        row_label="the run …",
        column_label="… against the run",
    )
    caption = (
        f"The folds tell {n_sure} of {words.count(n_pairs, 'pair')} apart (95 %, paired by fold, corrected "
        "for training "
        "rows that folds share). + the row's run is better, − worse, · within the noise."
    )
    return Figure(svg, "Which runs the folds tell apart", caption, [(1, "row is better"), (2, "row is worse")])


def _table(material: Material) -> Table:
    rows = []
    for run in [*material.runs, *material.others]:
        noise, is_current = score_noise(run.fold_scores), run in material.runs
        spent = run.ensemble.spent_s if run.ensemble else run.elapsed_s
        rows.append(
            [
                Cell(run.run, mark="" if is_current else "quiet"),
                Cell(run.config.model),
                Cell(run.config.preset),
                number_cell(words.score(run.cv_score, noise), run.cv_score),
                number_cell(
                    "–" if run.ensemble is None else words.score(run.ensemble.nested_score, noise), honest_score(run)
                ),
                number_cell(words.score(noise, noise), noise),
                number_cell(words.seconds(spent), spent),
                Cell(words.day(run.finished_at)),
                Cell("current" if is_current else "other", mark="" if is_current else "quiet"),
            ]
        )
    columns = [
        Column("run"),
        Column("model"),
        Column("preset"),
        Column("cv", is_number=True, help=f"{material.metric.name} of all out-of-fold predictions"),
        Column("nested", is_number=True, help="of ensembles: weights chosen on the other folds"),
        Column("± noise", is_number=True, help="standard error of the folds"),
        Column("time", is_number=True),
        Column("finished", help="UTC"),
        Column("features", help="runs of other features do not compare"),
    ]
    return Table("All runs", columns, rows, is_searchable=len(rows) > 8)
