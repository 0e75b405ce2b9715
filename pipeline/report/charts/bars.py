"""Horizontal bars with names and noise, and the small histograms of a table's cells.

Knows numbers and words; must not know what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.base.arrays import FloatArray
from pipeline.report.charts.drawing import number, picture, short, text
from pipeline.report.charts.scales import scale

WIDTH, ROW, LABELS, VALUES = 420.0, 22.0, 144.0, 74.0
MOST_IN_LABEL = 18  # characters
SPARK_WIDTH, SPARK_HEIGHT = 110.0, 26.0


def bar_list(
    names: Sequence[str],
    values: Sequence[float],
    *,
    shown: Sequence[str],
    name: str,
    noise: Sequence[float] | None = None,
    colours: Sequence[int] | None = None,
) -> Markup:
    """One bar per name, with the value in words; `noise` is drawn as a whisker to both sides."""
    heights = np.nan_to_num(np.asarray(values, dtype=np.float64))
    spread = np.zeros(len(heights)) if noise is None else np.nan_to_num(np.asarray(noise, dtype=np.float64))
    reach = np.concatenate([[0.0], heights - spread, heights + spread])
    to_x = scale(reach, LABELS, WIDTH - VALUES, margin=0.0)
    ground = float(to_x(0.0))
    parts = [Markup('<path class="axis" d="M{} 0V{}"/>').format(number(ground), number(ROW * len(names) + 4))]
    for i, (label, value) in enumerate(zip(names, heights, strict=True)):
        top, at = i * ROW + 4, float(to_x(value))
        colour = 1 if colours is None else colours[i]
        rectangle = Markup(
            '<rect class="bar c{}" x="{}" y="{}" width="{}" height="{}" rx="2"><title>{}: {}</title></rect>'
        )
        wide = max(0.8, abs(at - ground))
        told = short(label, 200)
        parts.append(
            rectangle.format(colour, number(min(at, ground)), number(top), number(wide), ROW - 8, told, shown[i])
        )
        if spread[i] > 0:
            low, high = (number(float(to_x(value + sign * spread[i]))) for sign in (-1.0, 1.0))
            parts.append(
                Markup('<path class="whisker c0" d="M{} {}H{}"/>').format(low, number(top + (ROW - 8) / 2), high)
            )
        parts.append(text(LABELS - 8, top + 11, label, css="tick end", most=MOST_IN_LABEL))
        parts.append(text(WIDTH - VALUES + 8, top + 11, shown[i], css="tick", most=14))
    return picture(parts, width=WIDTH, height=ROW * len(names) + 6, name=name)


def spark(first: FloatArray, second: FloatArray | None, *, name: str) -> Markup:
    """A histogram of shares in a table's cell: the first as bars, the second as a stepped line over them."""
    n_bars = len(first)
    step = SPARK_WIDTH / max(1, n_bars)
    top = max(float(np.max(first, initial=0.0)), 0.0 if second is None else float(np.max(second, initial=0.0))) or 1.0
    path = "".join(
        f"M{number(i * step + 0.5)} {SPARK_HEIGHT:g}v{number(-share / top * (SPARK_HEIGHT - 2))}h{number(step - 1)}"
        f"V{SPARK_HEIGHT:g}z"
        for i, share in enumerate(first)
        if share > 0
    )
    parts = [Markup('<path class="bar c1" d="{}"/>').format(path)]
    if second is not None:
        heights = [SPARK_HEIGHT - share / top * (SPARK_HEIGHT - 2) for share in second]
        line = "".join(
            f"{'M' if i == 0 else 'L'}{number(i * step)} {number(y)}h{number(step)}" for i, y in enumerate(heights)
        )
        parts.append(Markup('<path class="line thin c2" d="{}"/>').format(line))
    return picture(parts, width=SPARK_WIDTH, height=SPARK_HEIGHT, name=name, css="spark")
