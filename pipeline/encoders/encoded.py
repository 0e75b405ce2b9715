"""An encoded table: numbers, and categories as codes until `values` expands them.

Knows arrays; must not know how they were encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

View = Literal["onehot", "ordinal"]

MISSING = "nan"
MISSING_CODE, UNSEEN_CODE, FIRST_LEVEL_CODE = 0, 1, 2


@dataclass(frozen=True)
class Encoded:
    """A table as numbers: a dense part, and the codes of categories.

    `dense` (rows, dense_names) float32 holds numbers, then target means. `codes` (rows, categories) are MISSING_CODE,
    UNSEEN_CODE, or FIRST_LEVEL_CODE + the position in the category's vocabulary.
    """

    view: View
    dense: NDArray[np.float32]
    dense_names: list[str]
    n_numbers: int  # dense columns that precede the categories in `values`; the others follow them
    codes: NDArray[np.int32]
    vocabularies: dict[str, list[str]]  # category -> levels, in the order of `codes`
    prefixes: dict[str, str] = field(default_factory=dict)  # category -> what its columns' names begin with

    @property
    def cardinality(self) -> dict[str, int]:
        """Ordinal view: column -> number of codes; empty in the onehot view."""
        if self.view == "onehot":
            return {}
        return {name: len(levels) + FIRST_LEVEL_CODE for name, levels in self.vocabularies.items()}

    @property
    def onehot_names(self) -> list[list[str]]:
        """The one-hot columns of each category: its levels, then the one for missing."""
        names = []
        for name, levels in self.vocabularies.items():
            prefix = self.prefixes.get(name, name)
            names.append([f"{prefix}={level}" for level in (*map(_as_level, levels), MISSING)])
        return names

    @cached_property
    def names(self) -> list[str]:
        """The column names of `values`."""
        of_categories = list(self.vocabularies) if self.view == "ordinal" else chain.from_iterable(self.onehot_names)
        return [*self.dense_names[: self.n_numbers], *of_categories, *self.dense_names[self.n_numbers :]]

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """(rows, names): categories as codes (ordinal view), or one-hot, all zeros for an unseen level."""
        order: Literal["C", "F"] = "C" if self.view == "ordinal" else "F"
        whole = np.zeros((len(self.dense), len(self.names)), dtype=np.float32, order=order)
        start = self.n_numbers
        stop = start + len(self.names) - self.dense.shape[1]
        whole[:, :start] = self.dense[:, :start]
        whole[:, stop:] = self.dense[:, start:]
        if self.view == "ordinal":
            whole[:, start:stop] = self.codes
            return whole
        for codes, levels in zip(self.codes.T, self.vocabularies.values(), strict=True):
            rows = np.flatnonzero(codes != UNSEEN_CODE)
            column = np.where(codes == MISSING_CODE, len(levels), codes - FIRST_LEVEL_CODE)
            whole[rows, start + column[rows]] = 1.0
            start += len(levels) + 1
        return whole

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows of `values`, in its memory order."""
        return self.values[rows] if self.view == "ordinal" else np.take(self.values.T, rows, axis=1).T


def _as_level(level: str) -> str:
    """The level in a column's name, which must differ from that of missing cells."""
    return f"{level}'" if level.rstrip("'") == MISSING else level
