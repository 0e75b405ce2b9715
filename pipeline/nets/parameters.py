"""The parameters of a pack: one buffer, with a block (members, *shape) for each parameter, one after the other.

So a step is a few batched products and few updates. Knows shapes; knows nothing of what the parameters do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of one member: its shape, and whether weight decay applies to it."""

    shape: tuple[int, ...]
    is_weight: bool


class ParameterPack:
    """Parameters of all members in one buffer: a contiguous block (members, *shape) for each parameter.

    `views[name]` is that block, a leaf autograd differentiates by; `gradients[name]` the matching block of `gradient`.
    """

    def __init__(self, infos: Mapping[str, ParameterInfo], rows: Tensor) -> None:
        """Take over one row of numbers a member: rows (members, numbers), parameters in the order of `infos`."""
        self.infos = dict(infos)
        self.buffer = torch.empty(rows.numel(), dtype=rows.dtype, device=rows.device)
        self.gradient = torch.zeros_like(self.buffer)
        blocks = blocks_of(self.infos, self.buffer, len(rows))
        for name, part in views_of(self.infos, rows).items():
            blocks[name].copy_(part)
        self.views = {name: block.detach().requires_grad_() for name, block in blocks.items()}
        self.gradients = blocks_of(self.infos, self.gradient, len(rows))

    def rows(self) -> Tensor:
        """(members, numbers): a copy, one row a member."""
        return torch.cat([view.detach().flatten(1) for view in self.views.values()], dim=1)

    def row(self, position: int) -> Tensor:
        """(numbers,) a copy of the member at `position`."""
        return torch.cat([view.detach()[position].flatten() for view in self.views.values()])

    def keep(self, positions: Tensor) -> ParameterPack:
        """The pack of the members at `positions`; the others' memory is given back."""
        return ParameterPack(self.infos, self.rows().index_select(0, positions))

    def differentiate(self, loss: Tensor) -> None:
        """Fill `gradient` with the derivative of the scalar `loss`, by autograd."""
        parts = torch.autograd.grad(loss, list(self.views.values()))
        torch.cat([part.flatten() for part in parts], out=self.gradient)


def blocks_of(infos: Mapping[str, ParameterInfo], buffer: Tensor, n_members: int) -> dict[str, Tensor]:
    """Name -> (members, *shape) block of a buffer that holds the parameters one after the other."""
    sizes = [n_members * math.prod(info.shape) for info in infos.values()]
    parts = torch.split(buffer, sizes)
    return {name: part.view(n_members, *infos[name].shape) for name, part in zip(infos, parts, strict=True)}


def views_of(infos: Mapping[str, ParameterInfo], rows: Tensor) -> dict[str, Tensor]:
    """Name -> (members, *shape) view of the parameter's columns in a (members, numbers) matrix."""
    parts = torch.split(rows, [math.prod(info.shape) for info in infos.values()], dim=1)
    return {name: part.view(-1, *infos[name].shape) for name, part in zip(infos, parts, strict=True)}
