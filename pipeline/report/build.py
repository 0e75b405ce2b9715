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
from pipeline.report.drivers import measured_drivers
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
    what_it_goes_by,
)

SECTIONS: dict[str, Callable[[Material], Section | None]] = {
    "headline": headline.section,
    "runs": runs.section,
    "data": data.section,
    "errors": errors.section,
    "drivers": what_it_goes_by.section,
    "learning": learning.section,
    "tuning": tuning.section,
    "ensemble": ensemble.section,
    "kaggle": kaggle.section,
    "trust": trust.section,
    "provenance": provenance.section,
}


def write_report(store: FeatureStore, run: str | None = None, *, is_measured: bool = False) -> Path:
    """Write the page and return its path; it is about `run`, by default the best. Raises ArtifactError.

    `is_measured`: what the prediction goes by is measured if that has not been done, which takes some seconds.
    """
    material = collect(store, run)
    untold = _measure(material) if is_measured else []
    sections, failures = drawn(material)
    failures = untold + failures
    path = store.workspace.page
    text = page(
        sections,
        competition=words.of_data(store.spec.name, 200),
        kicker=_kicker(material),
        is_sample=material.is_sample,
        failures=failures,
    )
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        files.write_text(path, text)
    return path


def _measure(material: Material) -> list[str]:
    """Measure what the prediction goes by; return a sentence if that fails."""
    try:
        measured_drivers(material)
    except Exception as error:
        told = f"What the prediction goes by could not be measured: {_what(error)}"
        say(f"report: {told}")
        return [told]
    return []


def _what(error: Exception) -> str:
    what = error.message.splitlines()[0] if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
    return words.of_data(what)


def drawn(material: Material) -> tuple[list[Section], list[str]]:
    """The sections that have something to say, and a sentence for each that could not be drawn."""
    sections, failures = [], []
    for key, draw in SECTIONS.items():
        try:
            section = draw(material)
        except Exception as error:
            failures.append(f"The section {key!r} could not be drawn: {_what(error)}")
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
