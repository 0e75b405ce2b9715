"""Packed networks: an architecture says its parameters' shapes and how a batch flows through them.

An architecture holds no weights. Those of all members lie in one `ParameterPack`: a block (members, *shape) for each
parameter, one after the other in one buffer, so that a step is a few batched products and few updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Activation = Literal["relu", "leaky_relu", "prelu", "sigmoid", "tanh", "gelu", "silu"]
Initialisation = Literal["torch", "xavier", "he", "normal"]

PRELU_SLOPE = 0.25  # torch.nn.PReLU's start
NORMAL_STD = 0.01


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


class Dropout(Protocol):
    """What drops units in training."""

    def fill(self, mask: Tensor) -> Tensor:
        """Fill (members, batch, units) with 0 and 1 / (1 - rate)."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """x with units dropped."""
        ...


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with one activation; no hidden sizes make it a linear model."""

    n_inputs: int
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    activation: Activation = "relu"
    initialisation: Initialisation = "torch"
    has_input_scale: bool = False  # a learned factor per input, "Better by Default" (NeurIPS 2024)

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters, in the order of `ParameterPack`'s columns."""
        infos = {"input_scale": ParameterInfo((1, self.n_inputs), False)} if self.has_input_scale else {}
        for layer, (n_in, n_out) in enumerate(self._layer_sizes()):
            infos[f"weight_{layer}"] = ParameterInfo((n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((1, n_out), False)
            if self.activation == "prelu" and layer < len(self.hidden_sizes):
                infos[f"slope_{layer}"] = ParameterInfo((1, 1), False)
        return infos

    def initial_row(self, generator: torch.Generator) -> Tensor:
        """(numbers,) one member's initial parameters, drawn on the CPU so that every device starts alike."""
        parts = []
        for name, info in self.parameter_infos().items():
            kind, _, layer = name.rpartition("_")
            if name == "input_scale":
                value = torch.ones(info.shape)
            elif kind == "slope":
                value = torch.full(info.shape, PRELU_SLOPE)
            else:
                n_in, n_out = self._layer_sizes()[int(layer)]
                value = _initial(self.initialisation, info, n_in, n_out, generator)
            parts.append(value.reshape(-1))
        return torch.cat(parts)

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor, dropout: Dropout | None) -> Tensor:
        """x (members, batch, inputs) -> (members, batch, outputs). `dropout` None is eval mode."""
        if self.has_input_scale:
            x = x * parameters["input_scale"]
        for layer in range(len(self.hidden_sizes) + 1):
            x = torch.baddbmm(parameters[f"bias_{layer}"], x, parameters[f"weight_{layer}"])
            if layer < len(self.hidden_sizes):
                x = self.activate(x, parameters.get(f"slope_{layer}"))
                x = x if dropout is None else dropout(x)
        return x

    def _layer_sizes(self) -> list[tuple[int, int]]:
        return list(pairwise((self.n_inputs, *self.hidden_sizes, self.n_outputs)))

    def activate(self, x: Tensor, slope: Tensor | None) -> Tensor:
        """The activation; `slope` is that of a prelu layer."""
        if slope is not None:
            return torch.where(x >= 0, x, slope * x)
        function: Callable[[Tensor], Tensor] = ACTIVATIONS[self.activation]
        return function(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


def _initial(kind: Initialisation, info: ParameterInfo, n_in: int, n_out: int, generator: torch.Generator) -> Tensor:
    """One weight or bias: torch's Linear default, Xavier uniform, He normal, or N(0, 0.01); biases else 0."""
    if kind == "torch":
        bound = 1.0 / math.sqrt(n_in)
        return torch.empty(info.shape).uniform_(-bound, bound, generator=generator)
    if not info.is_weight:
        return torch.zeros(info.shape)
    if kind == "xavier":
        bound = math.sqrt(6.0 / (n_in + n_out))
        return torch.empty(info.shape).uniform_(-bound, bound, generator=generator)
    std = math.sqrt(2.0 / n_in) if kind == "he" else NORMAL_STD
    return torch.empty(info.shape).normal_(0.0, std, generator=generator)
