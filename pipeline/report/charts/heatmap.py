"""A table of shaded cells, and a row of pixels as a picture.

Knows numbers and words; must not know what they mean.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.base.arrays import FloatArray
from pipeline.report.charts.drawing import number, picture, short, text

WIDTH, LABELS, MOST_HEAD = 420.0, 116.0, 98.0
MOST_ABOVE, LETTER = 15, 6.6  # characters of a slanted name above a column; units of one
MOST_WRITTEN = 16  # columns whose cells hold their number


def heatmap(
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    shown: Sequence[Sequence[str]],
    titles: Sequence[Sequence[str]],
    shades: FloatArray,
    name: str,
    row_label: str = "",
    column_label: str = "",
) -> Markup:
    """One cell per pair of names, shaded by `shades` (0 to 1; negative ones in the other colour)."""
    longest, last = (LETTER * min(MOST_ABOVE, len(name)) for name in (max(columns, key=len), columns[-1]))
    cell = (WIDTH - LABELS - 8.0 - 0.77 * last) / len(columns)  # they lean beyond the last column
    tall, is_wide = min(cell, 64.0 if len(columns) < 5 else 36.0), cell > 64.0
    head = 40.0 if is_wide else min(MOST_HEAD, 36.0 + 0.64 * longest)
    size = "" if len(columns) <= 8 else " small" if len(columns) <= MOST_WRITTEN else " none"
    parts = [text(LABELS, 12, column_label, css="label"), text(0, head - 8, row_label, css="label")]
    for j, label in enumerate(columns):
        at = LABELS + (j + 0.5) * cell
        if is_wide:
            parts.append(text(at, head - 8, label, css="tick mid", most=int(cell / 7)))
            continue
        parts.append(
            Markup('<text class="tick" transform="translate({} {}) rotate(-40)">{}</text>').format(
                number(at - 2), number(head - 6), short(label, MOST_ABOVE)
            )
        )
    for i, label in enumerate(rows):
        top = head + i * tall
        parts.append(text(LABELS - 6, top + tall / 2 + 4, label, css="tick end", most=16))
        for j in range(len(columns)):
            shade = float(np.nan_to_num(shades[i, j]))
            square = Markup(
                '<rect class="cell c{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"><title>{}</title></rect>'
            )
            left = LABELS + j * cell
            opacity = f"{min(1.0, 0.04 + 0.96 * abs(shade)):.2f}"
            sizes = (number(left + 0.5), number(top + 0.5), number(cell - 1), number(tall - 1))
            parts.append(square.format(2 if shade < 0 else 1, *sizes, opacity, short(titles[i][j], 300)))
            if len(columns) <= MOST_WRITTEN:
                ink = "onfill" if abs(shade) > 0.55 else ""
                css = f"count mid {ink}{size}"
                parts.append(text(left + cell / 2, top + tall / 2 + 4, shown[i][j], css=css, most=7))
    return picture(parts, width=WIDTH, height=head + len(rows) * tall + 4, name=name)


def image(pixels: FloatArray, *, name: str) -> Markup:
    """A square grey picture of a row of pixels, from the lowest value (black) to the highest (white), as a PNG."""
    side = round(len(pixels) ** 0.5)
    values = np.nan_to_num(pixels[: side * side].reshape(side, side))
    low, high = float(values.min()), float(values.max())
    grey = ((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    lines = b"".join(b"\x00" + line.tobytes() for line in grey)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    source = base64.b64encode(png).decode("ascii")
    return Markup('<img class="pixels" alt="{}" src="data:image/png;base64,{}">').format(short(name, 200), source)
