"""A plane with two axes, on which points, lines, bands, bars and rules are drawn.

Knows numbers and words; must not know what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.base.arrays import FloatArray
from pipeline.report.charts.drawing import dots, number, picture, polyline, short, text
from pipeline.report.charts.scales import Scale, scale, tick_text

WIDTH, HEIGHT = 420.0, 290.0
N_LAYERS = 6  # of a cloud
LEFT, RIGHT, TOP, BOTTOM = 62.0, 12.0, 12.0, 44.0


class Plane:
    """Draws in the order of the calls; `x` and `y` are values that the axes must hold."""

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        x_label: str,
        y_label: str,
        log_x: bool = False,
        log_y: bool = False,
        x_names: Sequence[str] | None = None,
        is_square: bool = False,
        width: float = WIDTH,
        height: float = HEIGHT,
        margin_x: float = 0.03,
        margin_y: float = 0.06,
    ) -> None:
        """`x_names` replaces the ticks of x by names at 0, 1, 2, ..."""
        self.width, self.height = width, width * 0.86 if is_square else height
        bottom, right = self.height - BOTTOM, width - RIGHT
        self.x: Scale = scale(x, LEFT, right, is_log=log_x, margin=margin_x)
        self.y: Scale = scale(y, bottom, TOP, is_log=log_y, margin=margin_y)
        self._notes: list[tuple[float, float, float]] = []  # left, right and height of the words so far
        self._parts: list[Markup] = [*self._grid(x_label, y_label, x_names)]

    def _grid(self, x_label: str, y_label: str, x_names: Sequence[str] | None) -> list[Markup]:
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        parts = []
        y_ticks = self.y.ticks(5)
        step = None if self.y.is_log or len(y_ticks) < 2 else y_ticks[1] - y_ticks[0]
        for tick, at in zip(y_ticks, self.y(y_ticks), strict=True):
            parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(number(LEFT), number(at), number(right)))
            parts.append(text(LEFT - 6, at + 4, tick_text(tick, step), css="tick end"))
        x_ticks = self.x.ticks(5)
        step = None if self.x.is_log or len(x_ticks) < 2 else x_ticks[1] - x_ticks[0]
        named = [(tick, tick_text(tick, step)) for tick in x_ticks]
        if x_names is not None:
            room = int((right - LEFT) / max(1, len(x_names)) / 7.2)
            every = 1 if room >= 3 else -(-3 // max(1, room))
            named = [(float(i), short(name, max(3, room * every))) for i, name in enumerate(x_names) if i % every == 0]
        for tick, name in named:
            parts.append(text(float(self.x(tick)), bottom + 16, name, css="tick mid"))
        parts.append(
            Markup('<path class="axis" d="M{0} {1}H{2}"/>').format(number(LEFT), number(bottom), number(right))
        )
        parts.append(text((LEFT + right) / 2, self.height - 8, x_label, css="label mid"))
        middle = (TOP + bottom) / 2
        parts.append(
            Markup('<text class="label mid" transform="translate(12 {}) rotate(-90)">{}</text>').format(
                number(middle), short(y_label)
            )
        )
        return parts

    def cloud(self, x: Any, y: Any, *, colour: int = 1, size: float = 4.0, opacity: float = 0.5) -> Plane:
        """Many points without titles."""
        path = Markup('<path class="cloud c{}" d="{}" stroke-width="{}" stroke-opacity="{}"/>')
        x, y = self.x(x), self.y(y)
        for layer in range(N_LAYERS):  # inside one path, points that overlap would not look darker
            places = dots(x[layer::N_LAYERS], y[layer::N_LAYERS])
            self._parts.append(path.format(colour, places, number(size), opacity))
        return self

    def points(self, x: Any, y: Any, *, titles: Sequence[str], colour: int = 1, size: float = 5.0) -> Plane:
        """Few points, each with a title that shows when it is pointed at."""
        for one, other, title in zip(self.x(x), self.y(y), titles, strict=True):
            if np.isfinite(one) and np.isfinite(other):
                circle = Markup('<circle class="point c{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>')
                self._parts.append(circle.format(colour, number(one), number(other), number(size), short(title, 300)))
        return self

    def line(self, x: Any, y: Any, *, colour: int = 1, css: str = "", title: str = "") -> Plane:
        """A line; `css` may say `dashed` or `thin`."""
        told = Markup("<title>{}</title>").format(short(title, 300)) if title else ""
        path = Markup('<path class="line c{} {}" d="{}">{}</path>')
        self._parts.append(path.format(colour, css, polyline(self.x(x), self.y(y)), told))
        return self

    def band(self, x: Any, low: Any, high: Any, *, colour: int = 1) -> Plane:
        """The area between two lines."""
        x = np.asarray(x, dtype=np.float64)
        low, high = (np.asarray(one, dtype=np.float64) for one in (low, high))
        known = np.isfinite(low) & np.isfinite(high)
        x, low, high = x[known], low[known], high[known]
        around = polyline(self.x(np.append(x, x[::-1])), self.y(np.append(low, high[::-1])))
        self._parts.append(Markup('<path class="band c{}" d="{}Z"/>').format(colour, around))
        return self

    def whiskers(self, x: Any, low: Any, high: Any, *, colour: int = 1) -> Plane:
        """Vertical lines from `low` to `high`."""
        places = zip(self.x(x), self.y(low), self.y(high), strict=True)
        path = "".join(f"M{number(a)} {number(b)}V{number(c)}" for a, b, c in places if np.isfinite([a, b, c]).all())
        self._parts.append(Markup('<path class="whisker c{}" d="{}"/>').format(colour, path))
        return self

    def columns(
        self,
        edges: Any,
        heights: Any,
        *,
        colour: int = 1,
        titles: Sequence[str] = (),
        base: float = 0.0,
        gap: float = 1.0,
    ) -> Plane:
        """Bars between neighbouring edges."""
        pixels: FloatArray = self.x(edges)
        ground = float(self.y(base))
        for i, top in enumerate(self.y(heights)):
            if not np.isfinite(top):
                continue
            left, width = pixels[i] + gap / 2, max(0.5, pixels[i + 1] - pixels[i] - gap)
            told = Markup("<title>{}</title>").format(short(titles[i], 300)) if titles else ""
            rectangle = Markup('<rect class="bar c{}" x="{}" y="{}" width="{}" height="{}">{}</rect>')
            upper, tall = min(top, ground), abs(ground - top)
            self._parts.append(
                rectangle.format(colour, number(left), number(upper), number(width), number(max(0.4, tall)), told)
            )
        return self

    def rule(self, *, x: float | None = None, y: float | None = None, name: str = "", colour: int = 0) -> Plane:
        """A dashed line across the plane, with a name."""
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        if x is not None:
            at = float(self.x(x))
            self._parts.append(
                Markup('<path class="rule c{}" d="M{} {}V{}"/>').format(colour, number(at), TOP, number(bottom))
            )
            if name:
                is_right = at > (LEFT + right) * 0.6
                css = "note end" if is_right else "note"
                self._parts.append(text(at - 5 if is_right else at + 5, TOP + 11, name, css=css))
        if y is not None:
            at = float(self.y(y))
            self._parts.append(
                Markup('<path class="rule c{}" d="M{} {}H{}"/>').format(colour, LEFT, number(at), number(right))
            )
            if name:
                self._parts.append(text(right - 2, at - 5, name, css="note end"))
        return self

    def note(self, x: float, y: float, words: str) -> Plane:
        """A word beside a point, unless it would lie on another one."""
        at, high = float(self.x(x)), float(self.y(y))
        is_right = at > self.width * 0.7
        long = 6.6 * len(words)
        left, right = (at - 8 - long, at - 8) if is_right else (at + 8, at + 8 + long)
        if any(left < b and right > a and abs(high - c) < 13 for a, b, c in self._notes):
            return self
        self._notes.append((left, right, high))
        self._parts.append(
            text(at - 8 if is_right else at + 8, high + 4, words, css="note end" if is_right else "note")
        )
        return self

    def svg(self, name: str) -> Markup:
        """The picture, with its accessible name."""
        return picture(self._parts, width=self.width, height=self.height, name=name)
