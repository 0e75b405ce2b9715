"""Regression by classification: the target in bins, and one value from the bins' probabilities.

Knows arrays; must not know which learner predicts the probabilities.

Where a target is noisy, the median of a predicted distribution errs in other rows than trees grown for absolute errors
do, and their average has smaller errors (benchmarks/ablation.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.arrays.learners import Arrays, FitRows

LOWS, HIGHS, MEANS, IS_MEDIAN = "bin_lows", "bin_highs", "bin_means", "is_median"  # arrays of a member
ROWS_OF_BIN = 10  # fewest rows, on average


@dataclass(frozen=True)
class TargetBins:
    """Intervals of the target with about equally many rows, as long as values repeat little."""

    lows: FloatArray  # (bins,) the least target of the fit rows in each
    highs: FloatArray  # (bins,) and the largest; a value that fills a bin is both
    means: FloatArray  # (bins,)
    is_median: bool  # what is predicted; else the mean

    @classmethod
    def of(cls, y: FloatArray, n_bins: int, *, is_median: bool) -> TargetBins | None:
        """At most `n_bins` bins, fewer of few rows or values; None where there are not two."""
        n_bins, ordered = max(2, min(n_bins, len(y) // ROWS_OF_BIN)), np.sort(y)
        lows = np.unique(np.quantile(y, np.arange(n_bins) / n_bins, method="lower"))
        if len(lows) < 2:
            return None
        found = cls(lows, lows, lows, is_median)
        codes = found.codes(y)
        highs = np.append(ordered[np.searchsorted(ordered, lows[1:]) - 1], ordered[-1])
        means = np.bincount(codes, weights=y) / np.bincount(codes)  # of equal values not exactly the value
        return replace(found, highs=highs, means=np.clip(means, lows, highs))

    def codes(self, y: FloatArray) -> NDArray[np.int64]:
        """(rows,) the bin of each target."""
        return np.maximum(np.searchsorted(self.lows, y, side="right") - 1, 0)

    def rows(self, rows: FitRows) -> FitRows:
        """Rows whose target is the bin."""
        return replace(rows, y=self.codes(rows.y).astype(np.float64), n_classes=len(self.means))

    def arrays(self) -> Arrays:
        """What prediction needs."""
        arrays = {LOWS: self.lows, HIGHS: self.highs, MEANS: self.means}
        return arrays | {IS_MEDIAN: np.array(self.is_median)}

    @classmethod
    def from_arrays(cls, member: Arrays) -> TargetBins | None:
        """What `arrays` returned; None for a member without bins."""
        if LOWS not in member:
            return None
        return cls(member[LOWS], member[HIGHS], member[MEANS], bool(member[IS_MEDIAN]))

    def value(self, probability: FloatArray) -> FloatArray:
        """(rows, bins) probabilities -> (rows,) means or medians; targets are spread evenly within a bin."""
        if not self.is_median:
            return probability @ self.means
        rows = np.arange(len(probability))
        below = np.cumsum(probability, axis=1)
        at = np.minimum((below < 0.5).sum(axis=1), len(self.means) - 1)
        share = (0.5 - (below[rows, at] - probability[rows, at])) / np.maximum(probability[rows, at], 1e-12)
        return np.asarray(self.lows[at] + np.clip(share, 0.0, 1.0) * (self.highs - self.lows)[at], dtype=np.float64)
