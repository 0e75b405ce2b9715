"""Section `kaggle`: the ledger, cv against public score with the noise of the folds, what a shake-up may bring."""

from __future__ import annotations

import numpy as np

from pipeline.kaggle.ledger import Entry
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table, Text, number_cell
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material
from pipeline.report.compute.comparison import score_noise
from pipeline.scoring.choice import choose
from pipeline.scoring.fold_noise import rank_correlation

MOST_SHOWN = 200
MOST_CANDIDATES = 30


def section(material: Material) -> Section | None:
    """None without a submission."""
    if not material.ledger:
        return None
    scored = [one for one in material.ledger if one.public_score is not None and one.cv_score is not None]
    blocks: list[Block] = []
    if len(scored) > 1:
        blocks.append(Figures([_against(material, scored)]))
    blocks += [*_choice(material), _table(material)]
    return Section("kaggle", "Kaggle", _lead(material, scored), blocks)


def _noise_of(material: Material, entry: Entry) -> float:
    report = next((run for run in [*material.runs, *material.others] if run.run == entry.run), None)
    return float("nan") if report is None else score_noise(report.fold_scores)


def _usual_noise(material: Material, scored: list[Entry]) -> float:
    known = [one for one in (_noise_of(material, entry) for entry in scored) if np.isfinite(one)]
    return float(np.median(known)) if known else float("nan")


def _lead(material: Material, scored: list[Entry]) -> str:
    sent = [one for one in material.ledger if one.is_sent]
    told = f"{words.count(len(sent), 'submission')} sent"
    if not scored:
        return f"{told}; none has a public score beside a cv score yet."
    metric, noise = material.metric, _usual_noise(material, scored)
    best = min(scored, key=lambda one: float(metric.losses(one.public_score)))
    told += (
        f"; the best public score is {words.score(best.public_score, noise)} ({best.run or best.file}, cv "
        f"{words.score(best.cv_score, noise)})"
    )
    correlation = rank_correlation([one.cv_score or 0.0 for one in scored], [one.public_score or 0.0 for one in scored])
    if correlation is not None:
        verdict = "agree" if correlation > 0.7 else "agree weakly" if correlation > 0.3 else "do not agree"
        told += f". Cv and public score {verdict} on the order (rank correlation {correlation:.2f})"
    return f"{told}."


def _against(material: Material, scored: list[Entry]) -> Figure:
    metric = material.metric
    cv, public = (
        np.array([getattr(one, key) for one in scored], dtype=np.float64) for key in ("cv_score", "public_score")
    )
    noise = _usual_noise(material, scored)
    gap = float(np.median(public - cv))
    plane = Plane(cv, public, x_label=f"cv {metric.name}", y_label="public score", margin_x=0.08, margin_y=0.1)
    ends = np.array([plane.x.low, plane.x.high])
    if np.isfinite(noise):
        plane.band(ends, ends + gap - noise, ends + gap + noise)
    plane.line(ends, ends + gap, colour=0, css="dashed")
    titles = [
        f"{one.run or one.file}: cv {a:.5f}, public {b:.5f}" for one, a, b in zip(scored, cv, public, strict=True)
    ]
    plane.points(cv, public, titles=titles)
    outside = int((np.abs(public - cv - gap) > noise).sum()) if np.isfinite(noise) else 0
    caption = f"The line is cv {words.gain(gap, noise)}, the usual gap; the band one standard error of the folds."
    if np.isfinite(noise):
        caption += f" {words.count(outside, 'submission')} of {len(scored)} lie{'s' if outside == 1 else ''} outside."
    return Figure(
        plane.svg("public score against cv"),
        "Cv and public score",
        caption,
        [(1, "submission, and the noise of the folds")],
    )


def _choice(material: Material) -> list[Block]:
    """Which two submissions to select, as `choose` ranks them."""
    choice = choose(material.store)
    if choice is None:
        return []
    pair, noise = choice.pair, _usual_noise(material, material.ledger)
    selected = (id(pair.first), id(pair.second))
    rows = []
    for one in choice.candidates[:MOST_CANDIDATES]:
        is_selected = id(one) in selected
        rows.append(
            [
                Cell(words.of_data(one.name, 80), mark="good" if is_selected else ""),
                Cell("select" if is_selected else "", mark="good" if is_selected else ""),
                *(
                    number_cell(words.score(value, noise), np.nan if value is None else value)
                    for value in (one.cv, one.entry.public_score, one.expected, one.error)
                ),
            ]
        )
    columns = [
        Column("submission"),
        Column("choice"),
        Column("cv", is_number=True),
        Column("public", is_number=True),
        Column("expected private", is_number=True, help="from cv and public score, each by its noise"),
        Column("±", is_number=True),
    ]
    told = f"Select {words.of_data(pair.first.name, 80)} and {words.of_data(pair.second.name, 80)}."
    why = [Text(words.of_data(f"{line}.", 600)) for line in choice.why]
    return [Heading("Which two to select"), Text(told), *why, Table("Candidates, best expected first", columns, rows)]


def _table(material: Material) -> Table:
    noise = _usual_noise(material, material.ledger)
    rows = [
        [
            Cell(words.day(one.time)),
            Cell(words.of_data(one.run or f"by hand: {one.note or one.file}", 80)),
            *(
                number_cell(words.score(value, noise), np.nan if value is None else value)
                for value in (one.cv_score, one.public_score, one.private_score)
            ),
            Cell("in doubt" if one.status == "sending" else one.status, mark="" if one.is_sent else "quiet"),
        ]
        for one in material.ledger[-MOST_SHOWN:]
    ]
    columns = [
        Column("time", help="UTC"),
        Column("run"),
        *(Column(name, is_number=True) for name in ("cv", "public", "private")),
        Column("status"),
    ]
    return Table("Ledger", columns, rows, is_searchable=len(rows) > 12)
