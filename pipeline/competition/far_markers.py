"""Numbers such as -999 that may stand for a missing cell: repeated, written with nines or -1, and far from all others.

Knows one column of numbers; must not know files or specs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from pipeline.base.arrays import FloatArray

CANDIDATES = frozenset([sign * (10.0**digits - 1) for digits in range(1, 12) for sign in (1, -1)] + [-1.0])
FEWEST = 3  # cells
FAR = 1.0  # times the range of nearly all other numbers, from the nearest of them
NEARLY_ALL = 0.02  # quantiles of that range


@dataclass(frozen=True)
class FarMarker:
    """A number that may mark missing cells, and where the others lie."""

    value: float
    n_cells: int
    low: float
    high: float

    @property
    def told(self) -> str:
        """What the user is told of it."""
        return f"{self.value:.15g} in {self.n_cells} cells is far from the others ({self.low:g} to {self.high:g})"

    def key(self, column: str) -> str:
        """What the spec says to read it as missing."""
        return f'[columns.missing] {json.dumps(column, ensure_ascii=False)} = ["{self.value:.15g}"]'


def far_marker(values: FloatArray) -> FarMarker | None:
    """The number that probably stands for missing cells; None if there is none. NaN is left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    for candidate in {float(known.min()), float(known.max())} & CANDIDATES:
        others = known[known != candidate]
        n_cells = len(known) - len(others)
        if n_cells < FEWEST or len(others) < FEWEST:
            continue
        low, high = float(others.min()), float(others.max())
        spread = float(np.diff(np.quantile(others, [NEARLY_ALL, 1.0 - NEARLY_ALL]))[0])
        distance = max(low - candidate, candidate - high)
        if spread > 0 and distance > FAR * spread and distance > 0.5 * (high - low):
            return FarMarker(candidate, n_cells, low, high)
    return None
