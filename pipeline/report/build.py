"""The page of a competition: its material, the sections in their order, the file.

A section that cannot be drawn is left out with a remark: the page never breaks what it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import PipelineError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.report import words
from pipeline.report.blocks import Section
from pipeline.report.collect import Material, collect
from pipeline.report.render import page
from pipeline.report.sections import (
    data,
    ensemble,
    errors,
    headline,
    kaggle,
    learning,
    provenance,
    runs,
    trust,
    tuning,
)

SECTIONS: dict[str, Callable[[Material], Section | None]] = {
    "headline": headline.section,
    "runs": runs.section,
    "data": data.section,
    "errors": errors.section,
    "learning": learning.section,
    "tuning": tuning.section,
    "ensemble": ensemble.section,
    "kaggle": kaggle.section,
    "trust": trust.section,
    "provenance": provenance.section,
}


def write_report(store: FeatureStore, run: str | None = None) -> Path:
    """Write the page and return its path; it is about `run`, by default the best. Raises ArtifactError."""
    material = collect(store, run)
    sections, failures = drawn(material)
    path = store.workspace.page
    text = page(
        sections,
        competition=words.of_data(store.spec.name, 200),
        kicker=_kicker(material),
        is_sample=material.is_sample,
        failures=failures,
    )
    files.write_text(path, text)
    return path


def drawn(material: Material) -> tuple[list[Section], list[str]]:
    """The sections that have something to say, and a sentence for each that could not be drawn."""
    sections, failures = [], []
    for key, draw in SECTIONS.items():
        try:
            section = draw(material)
        except Exception as error:
            what = (
                error.message.splitlines()[0]
                if isinstance(error, PipelineError)
                else f"{type(error).__name__}: {error}"
            )
            failures.append(f"The section {key!r} could not be drawn: {words.of_data(what)}")
            say(f"report: {failures[-1]}")
            continue
        if section is not None:
            sections.append(section)
    return sections, failures


def _kicker(material: Material) -> str:
    spec = material.store.spec
    kind = {"regression": "Regression", "binary": "Two classes", "multiclass": "Several classes"}[spec.task]
    better = "greater" if material.metric.greater_is_better else "lower"
    return f"{kind} · {material.metric.name}, {better} is better"
