"""Section `tuning`: the studies: history, what mattered, slices, and whether the lead holds on other folds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.base.text import TEXT
from pipeline.report import words
from pipeline.report.blocks import Block, Cell, Column, Figure, Figures, Heading, Section, Table, number_cell
from pipeline.report.charts.bars import bar_list
from pipeline.report.charts.plane import Plane
from pipeline.report.collect import Material, Study
from pipeline.report.compute.comparison import score_noise

KNOWN = ("trial", "state", "cv_score", "fold_sd", "elapsed_s", "reason")
MOST_SLICES = 6
N_TRIALS_SHOWN = 15
LOG_RATIO = 50.0  # a range wider than this is drawn on a logarithmic axis


def section(material: Material) -> Section | None:
    """None without a study."""
    studies = [study for study in material.studies if len(study.trials)]
    if not studies:
        return None
    blocks: list[Block] = []
    for study in studies:
        if len(studies) > 1:
            blocks.append(Heading(study.model))
        blocks += _blocks(material, study)
    return Section("tuning", "Tuning", " ".join(_sentence(material, study) for study in studies[:3]), blocks)


def _noise(material: Material, study: Study) -> float:
    sd = float(study.trials["fold_sd"].median())
    return sd if np.isfinite(sd) else score_noise(material.runs[0].fold_scores) if material.runs else float("nan")


def _sentence(material: Material, study: Study) -> str:
    trials, noise = study.trials, _noise(material, study)
    states = trials["state"].value_counts()
    told = f"{study.model}: {words.count(len(trials), 'trial')}"
    if states.get("pruned", 0):
        told += f", {states['pruned']} of them pruned"
    complete = trials[trials["state"] == "complete"]
    if not len(complete):
        return f"{told}; none is complete yet."
    losses = material.metric.losses(complete["cv_score"].to_numpy())
    best, first = complete.iloc[int(losses.argmin())], complete.iloc[0]
    told += f"; the best, trial {best['trial']:.0f}, scores {words.score(best['cv_score'], noise)}"
    result = study.result
    if result is not None and result.confirmation is not None:
        seen = result.confirmation
        told += (
            f". Its lead over the default is {words.gain(seen.lead_on_tuned_folds, noise)} on the study's folds and "
            f"{words.gain(seen.lead_on_fresh_folds, noise)} on others"
        )
        if seen.lead_on_fresh_folds < 0.5 * seen.lead_on_tuned_folds:
            told += ": most of it is luck with the folds"
    elif len(complete) > 1:
        told += (
            f", {words.gain(float(material.metric.gain(best['cv_score'], first['cv_score'])), noise)} better "
            "than the first"
        )
    return f"{told}."


def _blocks(material: Material, study: Study) -> list[Block]:
    figures = [_history(material, study)]
    if len(study.importances):
        figures.append(_importances(study))
    figures += _slices(material, study)
    blocks: list[Block] = [Figures(figures), *_confirmation(material, study), _table(material, study)]
    return blocks


def _history(material: Material, study: Study) -> Figure:
    trials, metric = study.trials, material.metric
    complete = trials[trials["state"] == "complete"]
    pruned = trials[trials["state"] != "complete"]
    scores = complete["cv_score"].to_numpy(dtype=np.float64)
    losses = metric.losses(scores)
    cut = float(np.quantile(losses[np.isfinite(losses)], 0.9)) if len(losses) else 0.0
    near = scores[losses <= cut] if len(losses) > 5 else scores
    plane = Plane(trials["trial"], near, x_label="trial", y_label=metric.name)
    if len(pruned):
        edge = plane.y.low if metric.greater_is_better else plane.y.high
        plane.cloud(pruned["trial"], np.full(len(pruned), edge), colour=0, size=5, opacity=0.9)
    titles = [f"trial {number:.0f}: {score:.5f}" for number, score in zip(complete["trial"], scores, strict=True)]
    plane.points(complete["trial"], scores, titles=titles, size=3.5)
    best = np.maximum.accumulate(scores) if metric.greater_is_better else np.minimum.accumulate(scores)
    plane.line(complete["trial"], best, colour=2)
    at = int(losses.argmin()) if len(losses) else 0
    number = int(complete["trial"].iloc[at]) if len(complete) else 0
    late = number > 0.8 * float(trials["trial"].max())
    caption = f"The best was found at trial {number} of {int(trials['trial'].max())}" + (
        ": the search was still getting better." if late else "; later ones brought nothing."
    )
    legend = [(1, "trial"), (2, "best so far"), *([(0, "pruned or failed, at the edge")] if len(pruned) else [])]
    return Figure(plane.svg(f"{metric.name} by trial"), f"History of {study.model}", caption, legend)


def _importances(study: Study) -> Figure:
    table = study.importances.sort_values("importance", ascending=False).head(12)
    names, values = [str(one) for one in table["parameter"]], [float(one) for one in table["importance"]]
    total = sum(values) or 1.0
    svg = bar_list(
        names, values, shown=[words.percent(value / total) for value in values], name="importance by parameter"
    )
    return Figure(
        svg, "What mattered", f"{names[0]} mattered most for being among the best tenth of the trials (PED-ANOVA)."
    )


def _slices(material: Material, study: Study) -> list[Figure]:
    """Score against each parameter, the important ones first."""
    complete = study.trials[study.trials["state"] == "complete"]
    names = [name for name in study.trials.columns if name not in KNOWN]
    if len(study.importances):
        rank = {
            str(name): i
            for i, name in enumerate(study.importances.sort_values("importance", ascending=False)["parameter"])
        }
        names.sort(key=lambda name: rank.get(name, len(rank)))
    figures: list[Figure] = []
    for name in names:
        found = _slice(material, complete, name)
        if found is not None and len(figures) < MOST_SLICES:
            figures.append(found)
    return figures


def _shown(value: object) -> str:
    return words.of_data(value, 40) if isinstance(value, str | bool) else words.amount(float(str(value)), 4)


def _slice(material: Material, complete: pd.DataFrame, name: str) -> Figure | None:
    metric, values = material.metric, complete[name]
    known = values.notna().to_numpy()
    scores = complete["cv_score"].to_numpy(dtype=np.float64)[known]
    if known.sum() < 3 or values[known].astype(TEXT).nunique() < 2:
        return None
    losses = metric.losses(scores)
    near = losses <= np.quantile(losses, 0.9)
    numbers = pd.to_numeric(values[known], errors="coerce").to_numpy(dtype=np.float64)
    best = values[known].iloc[int(losses.argmin())]
    if np.isfinite(numbers).all() and not pd.api.types.is_bool_dtype(values):
        is_log = numbers.min() > 0 and numbers.max() / numbers.min() > LOG_RATIO
        plane = Plane(numbers, scores[near], x_label=name, y_label=metric.name, log_x=bool(is_log), height=230)
        x = numbers
        shown = f"{float(best):.3g}"
    else:
        levels = sorted(values[known].astype(TEXT).unique())
        x = np.array([levels.index(str(one)) for one in values[known]], dtype=np.float64)
        plane = Plane(
            [-0.5, len(levels) - 0.5], scores[near], x_label=name, y_label=metric.name, x_names=levels, height=230
        )
        shown = str(best)
    titles = [f"{name} {value}: {score:.5f}" for value, score in zip(values[known], scores, strict=True)]
    plane.points(x, scores, titles=titles, size=3.5)
    return Figure(plane.svg(f"{metric.name} by {name}"), name, f"Best at {words.of_data(shown, 40)}.")


def _confirmation(material: Material, study: Study) -> list[Block]:
    if study.result is None or study.result.confirmation is None:
        return []
    seen, noise = study.result.confirmation, _noise(material, study)
    rows = []
    for name, one in [("default", seen.default), *((f"candidate {i}", c) for i, c in enumerate(seen.candidates, 1))]:
        fresh = float(np.mean(one.fresh_folds)) if one.fresh_folds else float("nan")
        is_chosen = one == seen.chosen
        rows.append(
            [
                Cell(f"{name}{', chosen' if is_chosen else ''}", mark="good" if is_chosen else ""),
                number_cell(words.score(one.tuned_folds, noise), one.tuned_folds),
                number_cell(words.score(fresh, noise), fresh),
                Cell("  ".join(words.score(value, noise) for value in one.fresh_folds)),
            ]
        )
    columns = [
        Column("configuration"),
        Column("study's folds", is_number=True, help="the score by which it was found: optimistic"),
        Column("other folds", is_number=True, help="mean over folds and seeds that the study has not seen"),
        Column("each"),
    ]
    return [Table(f"{study.model}: the best trials on other folds", columns, rows)]


def _table(material: Material, study: Study) -> Table:
    noise, metric = _noise(material, study), material.metric
    complete = study.trials[study.trials["state"] == "complete"]
    trials = complete.iloc[np.argsort(metric.losses(complete["cv_score"].to_numpy()), kind="stable")].head(
        N_TRIALS_SHOWN
    )
    names = [name for name in trials.columns if name not in KNOWN]
    rows = [
        [
            Cell(f"{one['trial']:.0f}", float(one["trial"])),
            number_cell(words.score(one["cv_score"], noise), one["cv_score"]),
            number_cell(words.seconds(one["elapsed_s"]), one["elapsed_s"]),
            *(Cell("" if pd.isna(one[name]) else _shown(one[name])) for name in names),
        ]
        for one in trials.to_dict("records")
    ]
    columns = [
        Column("trial"),
        Column(metric.name, is_number=True),
        Column("time", is_number=True),
        *(Column(name) for name in names),
    ]
    return Table(f"{study.model}: the {len(rows)} best of {len(study.trials)} trials", columns, rows)
