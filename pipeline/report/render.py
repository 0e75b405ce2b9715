"""Sections -> one HTML file that is complete in itself: templates, style and script are parts of the package.

Knows blocks; must not know competitions or runs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.base.version import VERSION
from pipeline.report.blocks import Section

TEMPLATES = "templates"


def environment() -> Environment:
    """What turns templates into HTML; every text that is not markup is escaped."""
    return Environment(
        loader=PackageLoader("pipeline.report", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(
    sections: Sequence[Section], *, competition: str, kicker: str, is_sample: bool, failures: Sequence[str] = ()
) -> str:
    """The whole file. `failures` tell what could not be drawn."""
    script = _file("page.js")
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            sections=sections,
            competition=competition,
            kicker=kicker,
            is_sample=is_sample,
            failures=failures,
            style=Markup(_file("page.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
            version=VERSION,
        )
    )


@cache
def _file(name: str) -> str:
    return resources.files("pipeline.report").joinpath(TEMPLATES, name).read_text(encoding="utf-8")
