"""Section `errors`: where the run is wrong. Chooses the part for numbers or the part for classes."""

from __future__ import annotations

from pipeline.report.blocks import Section
from pipeline.report.collect import Material
from pipeline.report.sections import errors_of_classes, errors_of_numbers


def section(material: Material) -> Section | None:
    """None without a run."""
    if material.run is None:
        return None
    if material.is_classification:
        return errors_of_classes.section(material, material.run)
    return errors_of_numbers.section(material, material.run)
