"""The pieces of an SVG picture: numbers in few digits, escaped texts, the frame with its accessible name.

Knows markup; must not know what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from markupsafe import Markup

from pipeline.base.arrays import FloatArray
from pipeline.base.printable import printable

MOST_CHARACTERS = 60  # of a text in a picture


def short(text: object, most: int = MOST_CHARACTERS) -> str:
    """A text of data in one line, without signs that cannot be seen, shortened."""
    line = printable(str(text)[: 4 * most], is_one_line=True)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def number(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def polyline(x: FloatArray, y: FloatArray) -> str:
    """The path data of a line, broken where a value is not finite."""
    parts, is_new = [], True
    for one, other in zip(np.round(x, 1), np.round(y, 1), strict=True):
        if not (np.isfinite(one) and np.isfinite(other)):
            is_new = True
            continue
        parts.append(f"{'M' if is_new else 'L'}{one:g} {other:g}")
        is_new = False
    return "".join(parts)


def dots(x: FloatArray, y: FloatArray) -> str:
    """The path data of points that are drawn as lines of length 0 with round ends; equal ones are drawn once."""
    places = np.round(np.column_stack([x, y]), 1)
    places = places[np.isfinite(places).all(axis=1)]
    return "".join(f"M{a:g} {b:g}h0" for a, b in np.unique(places, axis=0))


def text(x: float, y: float, content: object, *, css: str = "", most: int = MOST_CHARACTERS) -> Markup:
    """A text; `css` names classes."""
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(number(x), number(y), css, short(content, most))


def picture(parts: Iterable[Markup], *, width: float, height: float, name: str, css: str = "chart") -> Markup:
    """The whole picture, with the accessible name `name`."""
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        css, number(width), number(height), short(name, 400), Markup("").join(parts)
    )
