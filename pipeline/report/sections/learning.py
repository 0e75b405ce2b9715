"""Section `learning`: train and valid curves of the folds, and where the best epochs lie."""

from __future__ import annotations

import numpy as np

from pipeline.config.run_report import RunReport
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Section, Table, Text, number_cell
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material
from pipeline.report.compute.comparison import score_noise
from pipeline.report.compute.curves import LearningCurves, learning_curves, smallest_gap

MOST_RUNS = 6


def section(material: Material) -> Section | None:
    """Of the run's networks, or those of its members; rounds of boosted trees. None if nothing was learned in steps."""
    run = material.run
    if run is None:
        return None
    asked = [run]
    if run.ensemble is not None:
        names = {member.run for member in run.ensemble.members}
        asked = [one for one in material.runs if one.run in names]
    figures, sentences, rounds = list[Figure](), list[str](), list[list[Cell]]()
    for one in asked[:MOST_RUNS]:
        history = material.history(one)
        for part in sorted(history["part"].unique()) if len(history) else []:
            curves = learning_curves(history, int(part), material.metric)
            if len(curves.epochs) > 1:
                figures.append(_figure(material, one, curves, int(part)))
                sentences.append(_sentence(one, curves))
        for number, found in enumerate(one.parts):
            if found.n_epochs is not None:
                name = one.run if len(one.parts) == 1 else f"{one.run}, part {number + 1}"
                rounds.append([Cell(name), Cell(one.config.model), number_cell(f"{found.n_epochs:,}", found.n_epochs)])
    if not figures and not rounds:
        return None
    blocks: list[Block] = [Figures(figures)] if figures else []
    if len(asked) > MOST_RUNS:
        blocks.append(Text(f"{MOST_RUNS} of {len(asked)} members are drawn.", is_quiet=True))
    if rounds:
        columns = [
            Column("run"),
            Column("model"),
            Column("epochs or rounds", is_number=True, help="mean over folds and seeds"),
        ]
        blocks.append(Table("Length of training", columns, rounds))
    lead = (
        sentences[0] if sentences else "There are no curves of epochs; the table tells how long each model was trained."
    )
    return Section("learning", "Learning", lead, blocks)


def _sentence(run: RunReport, curves: LearningCurves) -> str:
    first, last, end = min(curves.best), max(curves.best), int(curves.epochs[-1])
    where = f"at epoch {first}" if first == last else f"between epochs {first} and {last}"
    told = f"{run.run}: the folds were best {where} of {end}"
    if first > 0.85 * end:
        return f"{told}: near the end, so that longer training may help."
    if last < 0.6 * end:
        return f"{told}: well before the end, so that shorter training or more regularisation may help."
    return f"{told}."


def _figure(material: Material, run: RunReport, curves: LearningCurves, part: int) -> Figure:
    metric = material.metric
    valid, train = (np.nanmean(one, axis=0) for one in (curves.valid, curves.train))
    every = np.concatenate([curves.valid.reshape(-1), train])
    every = every[np.isfinite(every)]
    start = max(1, len(curves.epochs) // 10)  # the first epochs would flatten the rest
    late = np.concatenate([curves.valid[:, start:].reshape(-1), train[start:]])
    late = late[np.isfinite(late)] if np.isfinite(late).any() else every
    room = 0.25 * (late.max() - late.min())
    reach = np.clip(every, late.min() - room, late.max() + room)
    plane = Plane(curves.epochs, reach, x_label="epoch", y_label=metric.name, margin_x=0.01)
    for fold, scores in enumerate(curves.valid):
        plane.line(curves.epochs, scores, colour=2, css="thin faded", title=f"valid, fold {fold}")
    plane.line(curves.epochs, train, colour=1).line(curves.epochs, valid, colour=2)
    middle = float(np.median(curves.best))
    plane.rule(x=middle, name=f"best epoch {middle:.0f}")
    gap, noise = smallest_gap(curves, metric), score_noise(run.fold_scores)
    caption = (
        f"At the end train rows score {words.gain(gap, noise)} better than rows that were not seen "
        f"(the noise of a score is {words.score(noise, noise)})."
    )
    name = run.run if len(run.parts) < 2 else f"{run.run}, part {part + 1}"
    legend = [(1, "train, mean of the folds"), (2, "valid: each fold, and their mean")]
    return Figure(plane.svg(f"{metric.name} by epoch of {name}"), name, caption, legend)
