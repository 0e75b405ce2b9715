"""The array types that all packages share, and samples of positions. Must not know what the numbers mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def sampled(number: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Sorted positions of a sample of at most `most` of `number` items."""
    return np.arange(number) if number <= most else np.sort(rng.choice(number, most, replace=False))
