"""Encoded tables as a network's inputs: dense columns, and one-hot columns kept as codes.

Knows encoded tables and `Inputs`; must not know splits or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.encoded import Encoded
from pipeline.nets.inputs import Inputs

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Columns:
    """The columns of all splits' encodings; a level that one fold has not seen is a column of zeros there."""

    dense: list[str]
    slots: list[list[str]]  # the one-hot columns of each category

    @classmethod
    def union(cls, encodings: Sequence[Encoded]) -> Columns:
        """All columns of `encodings`."""
        dense: dict[str, None] = {}
        slots: dict[str, dict[str, None]] = {}
        for one in encodings:
            dense |= dict.fromkeys(one.dense_names)
            for category, names in zip(one.vocabularies, one.onehot_names, strict=True):
                slots.setdefault(category, {}).update(dict.fromkeys(names))
        return cls(list(dense), [list(names) for names in slots.values()])

    @property
    def n_onehot(self) -> int:
        """Number of one-hot columns."""
        return sum(len(names) for names in self.slots)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.dense) + self.n_onehot

    @property
    def code_dtype(self) -> torch.dtype:
        """The smallest type that can number the one-hot columns."""
        return torch.int16 if self.n_onehot <= torch.iinfo(torch.int16).max else torch.int32

    def row_bytes(self, dtype: torch.dtype = torch.float32) -> int:
        """Bytes per row of `empty`."""
        return dtype.itemsize * len(self.dense) + (self.code_dtype.itemsize + 1) * len(self.slots)

    def empty(self, *leading: int, dtype: torch.dtype = torch.float32) -> Inputs:
        """Inputs with uninitialised rows; `dtype` is that of the dense part."""
        shape = (*leading, len(self.slots))
        codes, known = torch.empty(shape, dtype=self.code_dtype), torch.empty(shape, dtype=torch.bool)
        return Inputs(torch.empty(*leading, len(self.dense), dtype=dtype), codes, known, self.n_onehot)

    def fill(self, room: Inputs, encoded: Encoded) -> None:
        """Write an encoded table into `room` (rows, ...) made by `empty`; columns it lacks become zeros."""
        self.fill_dense(room, encoded.dense, encoded.dense_names)
        assert room.codes is not None
        assert room.known is not None
        codes, known = room.codes.numpy(), room.known.numpy()
        category_of = {name: position for position, names in enumerate(encoded.onehot_names) for name in names}
        begin = 0
        for slot, names in enumerate(self.slots):
            number_of = {name: begin + j for j, name in enumerate(names)}
            category = next((category_of[name] for name in names if name in category_of), None)
            if category is None:  # not in this encoding
                codes[:, slot], known[:, slot] = begin, False
            else:
                *levels, missing = encoded.onehot_names[category]
                numbers = np.array([number_of.get(name, -1) for name in (missing, "", *levels)])  # "": unseen
                found = numbers[encoded.codes[:, category]]
                codes[:, slot], known[:, slot] = np.where(found < 0, begin, found), found >= 0
            begin += len(names)

    def fill_dense(self, room: Inputs, values: NDArray[Any], names: Sequence[str]) -> None:
        """Write dense columns, values (rows, names), into `room`."""
        position = {name: j for j, name in enumerate(names)}
        is_known = np.array([name in position for name in self.dense], dtype=bool)
        taken = [position[name] for name in self.dense if name in position]
        dense = room.dense.numpy()
        for start in range(0, len(values), ROWS_AT_ONCE):  # so that both tables stay in the cache
            rows = slice(start, start + ROWS_AT_ONCE)
            dense[rows, ~is_known] = 0
            dense[rows, is_known] = values[rows, taken]

    def inputs_of(self, encoded: Encoded) -> Inputs:
        """An encoded table as inputs."""
        room = self.empty(len(encoded.dense))
        self.fill(room, encoded)
        return compact(room)


def compact(inputs: Inputs) -> Inputs:
    """Drop codes without slots, and `known` if all are."""
    assert inputs.codes is not None
    assert inputs.known is not None
    if inputs.codes.shape[-1] == 0:
        return replace(inputs, codes=None, known=None)
    return replace(inputs, known=None) if bool(inputs.known.all()) else inputs
