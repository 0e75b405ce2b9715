"""From values to pixels: linear and logarithmic scales, their ticks and the ticks' words.

Knows numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.base.arrays import FloatArray

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
MOST_LOG_TICKS = 5


@dataclass(frozen=True)
class Scale:
    """A map of the values `low` to `high` to the pixels `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def __call__(self, values: Any) -> FloatArray:
        """The pixels of values; values outside are drawn at the edge."""
        low, high, inside = self.low, self.high, np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        if self.is_log:
            low, high, inside = math.log10(low), math.log10(high), np.log10(inside)
        share = (inside - low) / (high - low)
        pixels: FloatArray = self.start + share * (self.stop - self.start)
        return pixels

    def ticks(self, number: int = 5) -> list[float]:
        """Round values inside the scale, `number` of them or a little more or less."""
        if self.is_log:
            return _log_ticks(self.low, self.high)
        step = _step((self.high - self.low) / max(1, number))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def scale(values: Any, start: float, stop: float, *, is_log: bool = False, margin: float = 0.04) -> Scale:
    """A scale that holds all finite values, with a margin at both ends."""
    finite = np.asarray(values, dtype=np.float64).reshape(-1)
    finite = finite[np.isfinite(finite)]
    if is_log:
        finite = finite[finite > 0]
    if not len(finite):
        return Scale(0.5 if is_log else 0.0, 1.0, start, stop, is_log)
    low, high = float(finite.min()), float(finite.max())
    if is_log:
        ratio = (high / low) ** margin if high > low else 1.5
        return Scale(low / ratio, high * ratio, start, stop, is_log)
    room = (high - low) * margin if high > low else abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, stop)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return min((one * power for one in STEPS), key=lambda one: abs(math.log(one / rough)))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_LOG_TICKS + 1:
            break
    return ticks[:: math.ceil(len(ticks) / (MOST_LOG_TICKS + 1))] if ticks else [low, high]


def tick_text(value: float, step: float | None = None) -> str:
    """A value in few characters: 250k, 1.5M, 0.05; `step` to the next tick says how many digits tell them apart."""
    if value == 0.0:
        return "0"
    size, gap = abs(value), abs(step or value)
    if size < 1e-4 or size >= 1e13:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+", "e")
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= unit:
            base = 1e3 if name == "k" else unit
            return f"{_shown(value / base, gap / base)}{name}"
    return _shown(value, gap)


def _shown(value: float, gap: float) -> str:
    digits = max(0, min(10, 1 - math.floor(math.log10(gap) + 1e-9)))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
