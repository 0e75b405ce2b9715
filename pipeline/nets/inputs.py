"""Inputs of networks: dense columns, and one-hot columns kept as codes, whose products are lookups.

Knows tensors; must not know what their columns mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from pipeline.nets.products import affine, weight_gradient


@dataclass(frozen=True)
class Inputs:
    """Rows of a table (views, rows, ...) or a batch (members, batch, ...).

    The columns are the dense ones, then `n_onehot` one-hot columns: `codes` (..., slots), int16 or int32, are the
    positions of the ones, counted from 0. `known` (..., slots) is False where a slot has no one; None if all have.
    The dense part of a table may be uint8, a quarter of the memory; in a batch it is float32.
    """

    dense: Tensor  # (..., n_dense) float32, or uint8 in multiples of `unit`
    codes: Tensor | None = None
    known: Tensor | None = None
    n_onehot: int = 0
    unit: float = 1.0

    @property
    def n_columns(self) -> int:
        """Number of dense and one-hot columns."""
        return self.dense.shape[-1] + self.n_onehot

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.dense.device

    @property
    def n_bytes(self) -> int:
        """Size of the tensors."""
        return sum(part.nbytes for part in (self.dense, self.codes, self.known) if part is not None)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        codes, known = (None if part is None else change(part) for part in (self.codes, self.known))
        return replace(self, dense=change(self.dense), codes=codes, known=known)

    def to(self, device: torch.device) -> Inputs:
        """Copy the rows to `device`, unless they are there."""
        return self._map(lambda part: part.to(device))

    def __getitem__(self, where: Any) -> Inputs:
        """Index the leading axes of every tensor."""
        return self._map(lambda part: part[where])

    def expand(self, n_members: int) -> Inputs:
        """(1, rows, ...) -> (members, rows, ...), the same rows for all, without a copy."""
        return self._map(lambda part: part.expand(n_members, *part.shape[1:]))

    def as_float(self) -> Inputs:
        """Convert the dense part to float32."""
        if self.dense.dtype == torch.float32:
            return self
        return replace(self, dense=self.dense.to(torch.float32).mul_(self.unit), unit=1.0)

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor]:
        """Of a batch: rows of the flat weights (members x columns), one per entry; start of each row's entries."""
        assert self.codes is not None
        n_members, batch, n_slots = self.codes.shape
        first = torch.arange(n_members, dtype=torch.int32, device=self.device) * self.n_columns
        positions = self.codes + (first + self.dense.shape[-1])[:, None, None]
        begins = torch.arange(n_members * batch + 1, dtype=torch.int32, device=self.device) * n_slots
        return positions.reshape(-1), begins

    def as_dense(self) -> Tensor:
        """(..., columns) float32, with the one-hot columns written out."""
        if self.codes is None:
            return self.as_float().dense
        width = self.dense.shape[-1]
        whole = torch.cat([self.dense, self.dense.new_zeros(*self.dense.shape[:-1], self.n_onehot)], dim=-1)
        ones = torch.ones_like(self.codes, dtype=whole.dtype) if self.known is None else self.known.to(whole.dtype)
        return whole.scatter_add_(-1, self.codes.long() + width, ones)


class Gather:
    """Copies batches out of a table, by row numbers of the flat table, into buffers that are reused.

    A table that is too large for `device` stays where it is; its batches are copied there.
    """

    def __init__(self, table: Inputs, n_rows: int, device: torch.device) -> None:
        self.table, self.device = table._map(lambda part: part.flatten(0, 1)), device
        is_float = table.dense.dtype == torch.float32
        self._as_float = None if is_float else torch.empty(n_rows, table.dense.shape[-1], device=device)
        parts = {"dense": self.table.dense, "codes": self.table.codes, "known": self.table.known}
        self._parts = {
            name: (part, part.new_empty(n_rows, part.shape[-1])) for name, part in parts.items() if part is not None
        }

    def __call__(self, rows: Tensor) -> Inputs:
        """rows (members, batch) -> the batch; the next call overwrites it."""
        flat = rows.reshape(-1).to(self.table.device)
        parts: dict[str, Any] = {
            name: torch.index_select(part, 0, flat, out=buffer[: len(flat)]).view(*rows.shape, -1)
            for name, (part, buffer) in self._parts.items()
        }
        batch = replace(self.table, **parts)
        batch = batch if batch.device == self.device else batch.to(self.device)
        if self._as_float is None:
            return batch
        levels = self._as_float[: len(flat)].view(batch.dense.shape).copy_(batch.dense)
        return replace(batch, dense=levels.mul_(batch.unit), unit=1.0)


def linear(inputs: Inputs, weights: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """inputs (members, batch, ...) @ weights (members, columns, units) + bias (members, 1, units).

    Differentiable with respect to weights and bias if `out` is None.
    """
    n_dense = inputs.dense.shape[-1]
    if inputs.codes is None:
        return affine(inputs.dense, weights, bias, out)
    product = affine(inputs.dense, weights[:, :n_dense], bias, out)
    if out is None and torch.is_grad_enabled():
        return product + onehot_product(weights, inputs)
    return product.add_(_product(weights, inputs))


def onehot_product(weights: Tensor, inputs: Inputs) -> Tensor:
    """One-hot columns of a batch @ weights (members, columns, units) -> (members, batch, units)."""
    product: Tensor = _OnehotProduct.apply(weights, inputs)  # type: ignore[no-untyped-call]
    return product


def linear_gradient(inputs: Inputs, d: Tensor, out: Tensor) -> None:
    """Fill `out` (members, columns, units), the gradient of the weights of `linear`, from that of its result."""
    if inputs.codes is None:
        weight_gradient(inputs.dense, d, out)
        return
    out.copy_(_gradient(inputs, d))
    n_dense = inputs.dense.shape[-1]
    if n_dense:
        weight_gradient(inputs.dense, d, out[:, :n_dense])


def _product(weights: Tensor, inputs: Inputs) -> Tensor:
    positions, begins = inputs.entries
    factors = None if inputs.known is None else inputs.known.reshape(-1).to(weights.dtype)
    product = torch.embedding_bag(weights.flatten(0, 1), positions, begins, False, 0, False, factors, True)[0]
    return product.view(*inputs.dense.shape[:2], -1)


def _gradient(inputs: Inputs, d: Tensor) -> Tensor:
    """Sum d over the entries of each column, by the transposed lookups -> (members, columns, units)."""
    positions, begins = inputs.entries
    n_rows, n_columns = d.shape[0] * d.shape[1], d.shape[0] * inputs.n_columns
    flat = d.reshape(n_rows, -1)
    if flat.device.type != "cpu":
        n_slots = len(positions) // max(1, n_rows)
        each = flat.repeat_interleave(n_slots, dim=0)
        each = each if inputs.known is None else each * inputs.known.reshape(-1, 1)
        return flat.new_zeros(n_columns, d.shape[2]).index_add_(0, positions, each).view(d.shape[0], -1, d.shape[2])
    ones = np.ones(len(positions), np.int8) if inputs.known is None else inputs.known.reshape(-1).numpy().view(np.int8)
    by_row = csr_matrix((ones, positions.numpy(), begins.numpy()), shape=(n_rows, n_columns), copy=False)
    by_column = by_row.tocsc()
    factors = None if inputs.known is None else torch.from_numpy(by_column.data).to(d.dtype)
    rows, column_begins = torch.from_numpy(by_column.indices), torch.from_numpy(by_column.indptr)
    summed = torch.embedding_bag(flat, rows, column_begins, False, 0, False, factors, True)[0]
    return summed.view(d.shape[0], -1, d.shape[2])


class _OnehotProduct(torch.autograd.Function):
    """`_product` with its gradient."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, inputs: Inputs) -> Tensor:
        ctx.inputs = inputs
        return _product(weights.detach(), inputs)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        return _gradient(ctx.inputs, d.contiguous()), None
