"""Packed networks: an architecture says its parameters' shapes and how a batch flows through them.

An architecture holds no weights: those of all members lie in one `ParameterPack`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.embeddings import CategoryEmbedding, NumberEmbedding
from pipeline.nets.inputs import Inputs, linear
from pipeline.nets.parameters import ParameterInfo
from pipeline.nets.products import affine

Activation = Literal["relu", "leaky_relu", "prelu", "sigmoid", "tanh", "gelu", "silu", "selu", "mish"]
Initialisation = Literal["torch", "xavier", "he", "normal"]

PRELU_SLOPE = 0.25  # torch.nn.PReLU's start
NORMAL_STD = 0.01


class Dropout(Protocol):
    """What drops units in training."""

    def fill(self, mask: Tensor, layer: int) -> Tensor:
        """Fill (members, batch, units) of a hidden layer with 0 and 1 / (1 - rate)."""
        ...

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        """x, of a hidden layer, with units dropped."""
        ...


class Network(Protocol):
    """An architecture, as training, prediction and storage ask of it: a frozen dataclass of JSON values, no weights."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __hash__(self) -> int:
        """Equal for equal ones."""
        ...

    @property
    def n_inputs(self) -> int:
        """Columns it reads."""
        ...

    @property
    def n_outputs(self) -> int:
        """Numbers a row and head."""
        ...

    @property
    def n_heads(self) -> int:
        """Outputs of a row: heads are averaged."""
        ...

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Units of the layers that dropout follows."""
        ...

    @property
    def n_activations(self) -> int:
        """Numbers of all layers' activations of a row and head, to know what a batch takes."""
        ...

    @property
    def widest(self) -> int:
        """Numbers of the widest layer's activations of a row, to know how many rows fit."""
        ...

    @property
    def is_plain(self) -> bool:
        """Nothing but layers and activations: no more is kept for the gradient."""
        ...

    @property
    def is_heavy(self) -> bool:
        """One member's step is long whatever the batch: every parameter is read often."""
        ...

    @property
    def reads_codes(self) -> bool:
        """Whether one-hot columns must stay codes."""
        ...

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters, in the order of `ParameterPack`'s columns."""
        ...

    def without_start(self) -> Network:
        """Return it with the default start: equal for networks that can train in one pack."""
        ...

    def initial_row(self, generator: torch.Generator) -> Tensor:
        """(numbers,) one member's initial parameters, drawn on the CPU so that every device starts alike."""
        ...

    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: Dropout | None) -> Tensor:
        """inputs (members, batch, ...) -> (members, batch x heads, outputs). `dropout` None is eval mode."""
        ...


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with one activation; no hidden sizes make it a linear model.

    With `n_heads` > 1 it is a TabM (ICLR 2025): that many networks that share every hidden weight, each with its own
    scales of a layer's inputs and outputs, its own biases and its own output layer. A row then has `n_heads` outputs.
    """

    n_inputs: int
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    activation: Activation = "relu"
    initialisation: Initialisation = "torch"
    has_input_scale: bool = False  # a learned factor per input, "Better by Default" (NeurIPS 2024)
    numbers: NumberEmbedding = field(default_factory=NumberEmbedding)
    categories: CategoryEmbedding = field(default_factory=CategoryEmbedding)
    has_layer_norm: bool = False  # before every activation
    is_residual: bool = False  # a layer as wide as the one before adds to it
    n_heads: int = 1
    is_heavy: ClassVar[bool] = False

    @property
    def is_plain(self) -> bool:
        """Nothing but layers and activations."""
        embeds = self.numbers.is_on or self.categories.is_on
        return not (self.has_input_scale or embeds or self.has_layer_norm or self.is_residual or self.n_heads > 1)

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters, in the order of `ParameterPack`'s columns."""
        heads, sizes = self.n_heads, self._layer_sizes()
        infos = self.numbers.parameter_infos() | self.categories.parameter_infos()
        if self.has_input_scale:
            infos["input_scale"] = ParameterInfo((1, sizes[0][0]), False)
        for layer, (n_in, n_out) in enumerate(sizes):
            is_last = layer == len(self.hidden_sizes)
            if heads > 1 and is_last:
                infos[f"weight_{layer}"] = ParameterInfo((heads, n_in, n_out), True)
            else:
                infos[f"weight_{layer}"] = ParameterInfo((n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((heads, n_out), False)
            if heads > 1 and not is_last:
                infos[f"in_{layer}"] = ParameterInfo((heads, n_in), False)
                infos[f"out_{layer}"] = ParameterInfo((heads, n_out), False)
            if self.has_layer_norm and not is_last:
                infos[f"gain_{layer}"] = ParameterInfo((1, n_out), False)
                infos[f"shift_{layer}"] = ParameterInfo((1, n_out), False)
            if self.activation == "prelu" and not is_last:
                infos[f"slope_{layer}"] = ParameterInfo((1, 1), False)
        return infos

    def without_start(self) -> MLP:
        """See `Network`."""
        numbers = replace(self.numbers, frequency_scale=NumberEmbedding.frequency_scale)
        return replace(self, initialisation="torch", numbers=numbers)

    def initial_row(self, generator: torch.Generator) -> Tensor:
        """(numbers,) one member's initial parameters, drawn on the CPU so that every device starts alike."""
        parts = [self._initial(name, info, generator) for name, info in self.parameter_infos().items()]
        return torch.cat([part.reshape(-1) for part in parts])

    def _initial(self, name: str, info: ParameterInfo, generator: torch.Generator) -> Tensor:
        kind, _, layer = name.rpartition("_")
        if kind == "number":
            return self.numbers.initial(name, info.shape, generator)
        if name == "category_table":
            return torch.empty(info.shape).normal_(generator=generator)
        if name == "in_0":  # heads must start apart: random signs
            return torch.randint(0, 2, info.shape, generator=generator) * 2.0 - 1.0
        if kind in ("in", "out", "gain") or name == "input_scale":
            return torch.ones(info.shape)
        if kind == "shift":
            return torch.zeros(info.shape)
        if kind == "slope":
            return torch.full(info.shape, PRELU_SLOPE)
        n_in, n_out = self._layer_sizes()[int(layer)]
        return _initial(self.initialisation, info, n_in, n_out, generator)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: Dropout | None) -> Tensor:
        """inputs (members, batch, ...) -> (members, batch, outputs). `dropout` None is eval mode.

        With heads, (members, batch x heads, outputs): the heads of a row follow each other.
        """
        inputs = self.categories(parameters, inputs)
        if self.numbers.is_on:
            dense = self.numbers(parameters, inputs.dense)
            inputs = Inputs(dense, inputs.codes, inputs.known, inputs.n_onehot)
        if self.n_heads > 1:
            return self._forward_heads(parameters, inputs.as_dense(), dropout)
        first = parameters["weight_0"]
        if self.has_input_scale:
            first = first * parameters["input_scale"].transpose(1, 2)
        x = linear(inputs, first, parameters["bias_0"])
        for layer in range(len(self.hidden_sizes)):
            if layer > 0:
                before, weight = x, parameters[f"weight_{layer}"]
                x = affine(x, weight, parameters[f"bias_{layer}"])
            x = self._unit(parameters, x, layer, dropout)
            if layer > 0 and self.is_residual and x.shape == before.shape:
                x = x + before
        last = len(self.hidden_sizes)
        return affine(x, parameters[f"weight_{last}"], parameters[f"bias_{last}"]) if last else x

    def _forward_heads(self, parameters: Mapping[str, Tensor], x: Tensor, dropout: Dropout | None) -> Tensor:
        members, batch, _ = x.shape
        x = x[:, :, None, :] * parameters["input_scale"][:, None] if self.has_input_scale else x[:, :, None, :]
        for layer in range(len(self.hidden_sizes)):
            before = x
            scaled = (x * parameters[f"in_{layer}"][:, None]).flatten(1, 2)
            product = torch.bmm(scaled, parameters[f"weight_{layer}"]).view(members, batch, self.n_heads, -1)
            x = product * parameters[f"out_{layer}"][:, None] + parameters[f"bias_{layer}"][:, None]
            x = self._unit(parameters, x.flatten(1, 2), layer, dropout).view_as(x)
            if self.is_residual and x.shape == before.shape:
                x = x + before
        last = len(self.hidden_sizes)
        x = x.expand(-1, -1, self.n_heads, -1) if last == 0 else x
        by_head = torch.einsum("mbhi,mhio->mbho", x, parameters[f"weight_{last}"])
        return (by_head + parameters[f"bias_{last}"][:, None]).flatten(1, 2)

    def _unit(self, parameters: Mapping[str, Tensor], x: Tensor, layer: int, dropout: Dropout | None) -> Tensor:
        """What follows a hidden layer's product: normalisation, activation, dropout."""
        if self.has_layer_norm:
            normal = functional.layer_norm(x, x.shape[-1:])
            x = normal * parameters[f"gain_{layer}"] + parameters[f"shift_{layer}"]
        x = self.activate(x, parameters.get(f"slope_{layer}"))
        return x if dropout is None else dropout(x, layer)

    def _layer_sizes(self) -> list[tuple[int, int]]:
        n_first = self.numbers.width(self.categories.width(self.n_inputs))
        return list(pairwise((n_first, *self.hidden_sizes, self.n_outputs)))

    @property
    def reads_codes(self) -> bool:
        """Whether one-hot columns must stay codes."""
        return self.categories.is_on

    @property
    def n_activations(self) -> int:
        """Numbers of all layers' activations of a row and head."""
        return sum(self.hidden_sizes) + self.n_outputs

    @property
    def widest(self) -> int:
        """Numbers of the widest layer's activations of a row, to know how many rows fit."""
        return max(1, *(max(sizes) for sizes in self._layer_sizes())) * self.n_heads

    def activate(self, x: Tensor, slope: Tensor | None) -> Tensor:
        """The activation; `slope` is that of a prelu layer. Where no gradient is asked for, relu overwrites `x`."""
        if slope is not None:
            return torch.where(x >= 0, x, slope * x)
        if self.activation == "relu" and not torch.is_grad_enabled():
            return functional.relu_(x)
        function: Callable[[Tensor], Tensor] = ACTIVATIONS[self.activation]
        return function(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "selu": functional.selu,
    "mish": functional.mish,
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
