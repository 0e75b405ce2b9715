"""Which rows become the context where there are more than it takes. Must not know models or storage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray


def sample_context(y: FloatArray, n_rows: int, seed: int, *, is_regression: bool) -> NDArray[np.intp]:
    """Positions of at most `n_rows` rows, in order: evenly through the sorted target, ties at random.

    So every class, and every part of a numeric target's range, has its share; each class has a row at least while they
    fit.
    """
    if len(y) <= n_rows:
        return np.arange(len(y))
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(y)), y))
    chosen = order[((np.arange(n_rows) + rng.random()) * len(y) / n_rows).astype(np.intp)]
    if is_regression:
        return np.sort(chosen)
    lacking = order[np.flatnonzero(np.diff(y[order], prepend=np.nan) != 0)]  # a row of each class
    lacking = lacking[~np.isin(y[lacking], y[chosen])][:n_rows]
    if len(lacking):  # they replace rows of the most frequent class
        counts = np.unique(y[chosen], return_counts=True)
        of_most = np.flatnonzero(y[chosen] == counts[0][counts[1].argmax()])[: len(lacking)]
        chosen[of_most] = lacking[: len(of_most)]
    return np.sort(chosen)
