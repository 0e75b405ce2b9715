"""Section `ensemble`: weights, correlation of errors, what each member adds, gain for the time, what was given up."""

from __future__ import annotations

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.config.run_report import EnsembleReport, MemberReport, RunReport
from pipeline.metrics import Metric
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Section, Table, number_cell
from pipeline.report.charts.bars import bar_list
from pipeline.report.charts.heatmap import heatmap
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material, OutOfFold
from pipeline.report.compute.comparison import score_noise
from pipeline.report.compute.ensembles import Combination, error_correlation, growing, leave_one_out

MOST_ROWS = 50_000
MOST_MEMBERS = 20


def section(material: Material) -> Section | None:
    """Of the run, or of the best ensemble there is; None without one whose members are there."""
    asked = [one for one in (material.run, *material.runs) if one is not None and one.ensemble is not None]
    if not asked or asked[0].ensemble is None:
        return None
    run, ensemble = asked[0], asked[0].ensemble
    by_name = {one.run: one for one in [*material.runs, *material.others]}
    members = [(one, by_name[one.run]) for one in ensemble.members if one.run in by_name][:MOST_MEMBERS]
    blocks: list[Block] = []
    figures = [_weights(ensemble)]
    oofs = _oofs(material, members)
    if len(oofs) > 1:
        figures += _of_predictions(material, run, members, oofs)
    blocks += [Figures(figures), _table(material, run, ensemble), *_given_up(ensemble)]
    return Section("ensemble", "Ensemble", _lead(material, run, ensemble), blocks)


def _lead(material: Material, run: RunReport, ensemble: EnsembleReport) -> str:
    noise, metric = score_noise(run.fold_scores), material.metric
    single = ensemble.nested_scores.get("single", float("nan"))
    gain = float(metric.gain(ensemble.nested_score, single))
    told = (
        f"{words.count(len(ensemble.members), 'member')} of {words.count(len(ensemble.looked_at), 'run')} in "
        f"{words.seconds(ensemble.spent_s)} ({ensemble.method} weights)"
    )
    if np.isfinite(gain):
        told += (
            f": in nested folds {words.score(ensemble.nested_score, noise)}, {words.gain(gain, noise)} better "
            "than one run chosen in the same way"
        )
    if ensemble.given_up:
        told += (
            f". {words.count(len(ensemble.given_up), 'candidate')} "
            f"{'was' if len(ensemble.given_up) == 1 else 'were'} given up"
        )
    return f"{told}."


def _oofs(material: Material, members: list[tuple[MemberReport, RunReport]]) -> list[OutOfFold]:
    """The members' predictions of the same rows."""
    oofs = [material.oof(report) for _, report in members]
    return oofs if all(len(one.rows) == len(oofs[0].rows) for one in oofs) else []


def _weights(ensemble: EnsembleReport) -> Figure:
    members = ensemble.members[:MOST_MEMBERS]
    svg = bar_list(
        [one.label for one in members],
        [one.weight for one in members],
        shown=[words.percent(one.weight) for one in members],
        name="weight of each member",
    )
    heaviest = members[0]
    return Figure(svg, "Weights", f"{heaviest.label} has the greatest weight, {words.percent(heaviest.weight)}.")


def _of_predictions(
    material: Material, run: RunReport, members: list[tuple[MemberReport, RunReport]], oofs: list[OutOfFold]
) -> list[Figure]:
    rows = np.arange(len(oofs[0].rows))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    metric = material.metric.at(oofs[0].rows[rows])
    target, fold = oofs[0].target[rows], oofs[0].fold[rows]
    predictions, weights = [one.prediction[rows] for one in oofs], [one.weight for one, _ in members]
    labels = [one.label for one, _ in members]
    sampled = "" if len(rows) == len(oofs[0].rows) else f" Of {len(rows):,} sampled rows."
    noise = score_noise(run.fold_scores)

    how = _combination(run, len(members), weights, metric)
    found = leave_one_out(predictions, how, target, fold)
    gains = [one.gain for one in found]
    sure = [one for one, label in zip(found, labels, strict=True) if one.gain > one.width]
    adds = bar_list(
        labels,
        gains,
        shown=[words.gain(one.gain, one.width / 2) for one in found],
        noise=[one.width for one in found],
        colours=[1 if gain >= 0 else 2 for gain in gains],
        name="what each member adds",
    )
    best = int(np.nanargmax(gains))
    told = f"Without {labels[best]} a fold would score {words.gain(gains[best], found[best].width / 2)} worse"
    told += "; of no member is it more than noise." if not sure else f"; of {len(sure)} it is more than noise."
    told += f" Whiskers are 95 % intervals; weights were chosen on these rows, so that gains are optimistic.{sampled}"
    figures = [Figure(adds, "What each member adds", told)]

    figures += alike(labels, error_correlation(predictions, target, metric))
    figures.append(_for_the_time(material, members, growing(predictions, how, target), noise))
    return figures


def alike(labels: list[str], together: FloatArray) -> list[Figure]:
    """How the members' errors are correlated: `together` (members, members); nothing where no member has errors."""
    off = together[~np.eye(len(together), dtype=bool)]
    if not np.isfinite(off).any():  # members without errors
        return []
    least = np.unravel_index(
        int(np.nanargmin(np.where(np.eye(len(together), dtype=bool), np.inf, together))), together.shape
    )
    low = float(np.nanmin(off))
    shades = np.where(np.isfinite(together), (together - min(low, 0.9)) / max(1e-9, 1 - min(low, 0.9)), 0.0)
    names = [
        [f"{a} and {b}: {value:.3f}" for b, value in zip(labels, row, strict=True)]
        for a, row in zip(labels, together, strict=True)
    ]
    shown = [
        ["" if i == j else f"{value:.2f}".removeprefix("0") for j, value in enumerate(row)]
        for i, row in enumerate(together)
    ]
    svg = heatmap(labels, labels, shown=shown, titles=names, shades=shades, name="correlation of the members' errors")
    caption = (
        f"{labels[least[0]]} and {labels[least[1]]} differ most ({low:.2f}). Members whose errors are less "
        "alike gain more "
        "from being averaged."
    )
    return [Figure(svg, "How alike their errors are", caption)]


def _combination(run: RunReport, n_members: int, weights: list[float], metric: Metric) -> Combination:
    """How the ensemble combines its members; by their weights alone if some are no longer there."""
    ensemble = run.ensemble
    if ensemble is None or n_members < len(ensemble.members):
        return Combination(weights, metric)
    return Combination(weights, metric, ensemble.rule, ensemble.adjustment)


def _for_the_time(
    material: Material, members: list[tuple[MemberReport, RunReport]], scores: list[float], noise: float
) -> Figure:
    seconds = np.cumsum([max(0.1, one.elapsed_s) for one, _ in members])
    plane = Plane(
        seconds,
        scores,
        x_label="seconds of training, members added by weight",
        y_label=material.metric.name,
        margin_x=0.06,
    )
    plane.line(seconds, scores, colour=1, css="thin")
    titles = [
        f"with {one.label}: {words.score(score, noise)}, {words.seconds(s)}"
        for (one, _), score, s in zip(members, scores, seconds, strict=True)
    ]
    plane.points(seconds, scores, titles=titles)
    for i, (one, _) in enumerate(members[:8]):
        plane.note(float(seconds[i]), float(scores[i]), one.label)
    gain = float(material.metric.gain(scores[-1], scores[0]))
    caption = (
        f"From the first member to all {len(members)}: {words.gain(gain, noise)} in "
        f"{words.seconds(float(seconds[-1]))} of training."
    )
    return Figure(plane.svg("score of the growing ensemble against seconds"), "Gain for the time", caption)


def _table(material: Material, run: RunReport, ensemble: EnsembleReport) -> Table:
    noise = score_noise(run.fold_scores)
    rows = [
        [
            Cell(one.label),
            Cell(one.run),
            number_cell(words.percent(one.weight) if one.weight else "–", one.weight),
            number_cell(words.score(one.cv_score, noise), one.cv_score),
            number_cell(words.seconds(one.elapsed_s), one.elapsed_s),
        ]
        for one in ensemble.looked_at
    ]
    columns = [
        Column("candidate"),
        Column("run"),
        Column("weight", is_number=True),
        Column(f"cv {material.metric.name}", is_number=True),
        Column("time", is_number=True),
    ]
    return Table("All candidates", columns, rows)


def _given_up(ensemble: EnsembleReport) -> list[Block]:
    if not ensemble.given_up:
        return []
    rows = [[Cell(words.of_data(one.candidate, 100)), Cell(words.of_data(one.why))] for one in ensemble.given_up]
    return [Table("Given up", [Column("candidate"), Column("why")], rows)]
