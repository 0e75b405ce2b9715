"""The parameters of a pack in one buffer, so that a step is a few batched products and updates.

Knows shapes; must not know what the parameters do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterInfo:
    """A parameter of one member."""

    shape: tuple[int, ...]
    is_weight: bool  # weights decay, other parameters do not


class ParameterPack:
    """A buffer with one contiguous block (members, *shape) per parameter.

    `views[name]` is the block as a leaf for autograd, `gradients[name]` the corresponding block of `gradient`.
    """

    def __init__(self, infos: Mapping[str, ParameterInfo], rows: Tensor) -> None:
        """Copy rows (members, numbers), with parameters in the order of `infos`."""
        self.infos = dict(infos)
        self.buffer = torch.empty(rows.numel(), dtype=rows.dtype, device=rows.device)
        self.gradient = torch.zeros_like(self.buffer)
        blocks = blocks_of(self.infos, self.buffer, len(rows))
        for name, part in views_of(self.infos, rows).items():
            blocks[name].copy_(part)
        self.views = {name: block.detach().requires_grad_() for name, block in blocks.items()}
        self.gradients = blocks_of(self.infos, self.gradient, len(rows))

    def rows(self) -> Tensor:
        """Copy the parameters as (members, numbers)."""
        return torch.cat([view.detach().flatten(1) for view in self.views.values()], dim=1)

    def row(self, position: int) -> Tensor:
        """Copy the member at `position` as (numbers,)."""
        return torch.cat([view.detach()[position].flatten() for view in self.views.values()])

    def keep(self, positions: Tensor) -> ParameterPack:
        """Return a new pack of the members at `positions`."""
        return ParameterPack(self.infos, self.rows().index_select(0, positions))

    def differentiate(self, loss: Tensor) -> None:
        """Fill `gradient` with the derivative of a scalar, by autograd."""
        parts = torch.autograd.grad(loss, list(self.views.values()))
        torch.cat([part.flatten() for part in parts], out=self.gradient)


def blocks_of(infos: Mapping[str, ParameterInfo], buffer: Tensor, n_members: int) -> dict[str, Tensor]:
    """Name -> block (members, *shape) of a buffer laid out as in `ParameterPack`."""
    sizes = [n_members * math.prod(info.shape) for info in infos.values()]
    parts = torch.split(buffer, sizes)
    return {name: part.view(n_members, *infos[name].shape) for name, part in zip(infos, parts, strict=True)}


def views_of(infos: Mapping[str, ParameterInfo], rows: Tensor) -> dict[str, Tensor]:
    """Name -> view (members, *shape) of the parameter's columns in rows (members, numbers)."""
    parts = torch.split(rows, [math.prod(info.shape) for info in infos.values()], dim=1)
    return {name: part.view(-1, *infos[name].shape) for name, part in zip(infos, parts, strict=True)}
