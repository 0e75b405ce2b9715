"""What networks read: a dense part, and one-hot columns kept as codes, whose products cost a lookup a category.

Knows tensors; knows nothing of what their columns mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """Rows of a table (views, rows, ...) or a batch (members, batch, ...).

    Columns are the dense ones, then `n_onehot` that are zero but for one a slot: `codes` (..., slots) int32 says which
    (from 0), `values` (..., slots) what it holds there; None when that is 1 everywhere.
    """

    dense: Tensor  # (..., n_dense) float32
    codes: Tensor | None = None
    values: Tensor | None = None
    n_onehot: int = 0

    @property
    def n_columns(self) -> int:
        """Dense and one-hot columns."""
        return self.dense.shape[-1] + self.n_onehot

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.dense.device

    @property
    def n_bytes(self) -> int:
        """Memory the tensors take."""
        parts = (self.dense, self.codes, self.values)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        codes, values = (None if part is None else change(part) for part in (self.codes, self.values))
        return Inputs(change(self.dense), codes, values, self.n_onehot)

    def to(self, device: torch.device) -> Inputs:
        """The same rows on `device`."""
        return self._each(lambda part: part.to(device))

    def __getitem__(self, where: Any) -> Inputs:
        """The part of every tensor that `where` selects along the leading axes."""
        return self._each(lambda part: part[where])

    def expand(self, n_members: int) -> Inputs:
        """(1, rows, ...) -> (members, rows, ...), the same rows for each, without a copy."""
        return self._each(lambda part: part.expand(n_members, *part.shape[1:]))

    def flat(self) -> Inputs:
        """(views, rows, ...) -> (views x rows, ...), without a copy."""
        return self._each(lambda part: part.flatten(0, 1))

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor]:
        """Of a batch: (entries,) row of the flat weights (members x columns), and (rows + 1,) where a row's begin."""
        assert self.codes is not None
        n_members, batch, n_slots = self.codes.shape
        first = torch.arange(n_members, dtype=torch.int32, device=self.device) * self.n_columns
        positions = self.codes + (first + self.dense.shape[-1])[:, None, None]
        begins = torch.arange(n_members * batch + 1, dtype=torch.int32, device=self.device) * n_slots
        return positions.reshape(-1), begins

    def as_dense(self) -> Tensor:
        """(..., columns): every column written out."""
        if self.codes is None:
            return self.dense
        width = self.dense.shape[-1]
        whole = torch.cat([self.dense, self.dense.new_zeros(*self.dense.shape[:-1], self.n_onehot)], dim=-1)
        ones = torch.ones_like(self.codes, dtype=whole.dtype) if self.values is None else self.values
        return whole.scatter_add_(-1, self.codes.long() + width, ones)


class Gather:
    """Batches of a table, in buffers that are made once: rows by their number in the flat table.

    A table that is too large for `device` stays where it is; its batches travel.
    """

    def __init__(self, table: Inputs, n_rows: int, device: torch.device) -> None:
        self.table, self.device = table.flat(), device
        self._rooms = [
            None if part is None else part.new_empty(n_rows, part.shape[-1])
            for part in (self.table.dense, self.table.codes, self.table.values)
        ]

    def __call__(self, rows: Tensor) -> Inputs:
        """rows (members, batch) -> the batch; the next call overwrites it."""
        flat = rows.reshape(-1).to(self.table.device)
        parts = (self.table.dense, self.table.codes, self.table.values)
        dense, codes, values = (
            None
            if part is None or room is None
            else torch.index_select(part, 0, flat, out=room[: len(flat)]).view(*rows.shape, -1)
            for part, room in zip(parts, self._rooms, strict=True)
        )
        assert dense is not None
        batch = Inputs(dense, codes, values, self.table.n_onehot)
        return batch if batch.device == self.device else batch.to(self.device)


def linear(inputs: Inputs, weights: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """inputs (members, batch, ...) times weights (members, columns, units), plus bias (members, 1, units).

    Differentiable by weights and bias where `out` is None.
    """
    n_dense = inputs.dense.shape[-1]
    if inputs.codes is None:
        return torch.baddbmm(bias, inputs.dense, weights, out=out)
    product = torch.baddbmm(bias, inputs.dense, weights[:, :n_dense], out=out)
    if out is None:
        return product + onehot_product(weights, inputs)
    return product.add_(_product(weights, inputs))


def onehot_product(weights: Tensor, inputs: Inputs) -> Tensor:
    """(members, batch, units): the one-hot columns of a batch times their weights (members, columns, units)."""
    product: Tensor = _OnehotProduct.apply(weights, inputs)  # type: ignore[no-untyped-call]
    return product


def linear_gradient(inputs: Inputs, d: Tensor, out: Tensor) -> None:
    """Fill `out` (members, columns, units), the gradient of `linear`'s weights, from that of its result."""
    if inputs.codes is None:
        torch.bmm(inputs.dense.transpose(1, 2), d, out=out)
        return
    out.copy_(_gradient(inputs, d))
    n_dense = inputs.dense.shape[-1]
    if n_dense:
        torch.bmm(inputs.dense.transpose(1, 2), d, out=out[:, :n_dense])


def _product(weights: Tensor, inputs: Inputs) -> Tensor:
    positions, begins = inputs.entries
    values = None if inputs.values is None else inputs.values.reshape(-1)
    product = torch.embedding_bag(weights.flatten(0, 1), positions, begins, False, 0, False, values, True)[0]
    return product.view(*inputs.dense.shape[:2], -1)


def _gradient(inputs: Inputs, d: Tensor) -> Tensor:
    """(members, columns, units): for every column the sum of d over its entries, by the transposed lookups."""
    positions, begins = inputs.entries
    n_rows, n_columns = d.shape[0] * d.shape[1], d.shape[0] * inputs.n_columns
    flat = d.reshape(n_rows, -1)
    if flat.device.type != "cpu":
        n_slots = len(positions) // max(1, n_rows)
        each = flat.repeat_interleave(n_slots, dim=0)
        each = each if inputs.values is None else each * inputs.values.reshape(-1, 1)
        return flat.new_zeros(n_columns, d.shape[2]).index_add_(0, positions, each).view(d.shape[0], -1, d.shape[2])
    values = np.ones(len(positions), dtype=np.int8) if inputs.values is None else inputs.values.reshape(-1).numpy()
    by_row = csr_matrix((values, positions.numpy(), begins.numpy()), shape=(n_rows, n_columns), copy=False)
    by_column = by_row.tocsc()
    factors = None if inputs.values is None else torch.from_numpy(by_column.data)
    rows, column_begins = torch.from_numpy(by_column.indices), torch.from_numpy(by_column.indptr)
    summed = torch.embedding_bag(flat, rows, column_begins, False, 0, False, factors, True)[0]
    return summed.view(d.shape[0], -1, d.shape[2])


class _OnehotProduct(torch.autograd.Function):
    """`_product` for autograd."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, inputs: Inputs) -> Tensor:
        ctx.inputs = inputs
        return _product(weights.detach(), inputs)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        return _gradient(ctx.inputs, d.contiguous()), None
