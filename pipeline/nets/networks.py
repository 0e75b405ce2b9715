"""Packed networks: an architecture defines the shapes of its parameters and the forward pass of a batch.

It holds no weights (`ParameterPack` does) and must not know how it is trained.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.dropout import PackedDropout
from pipeline.nets.embeddings import CategoryEmbedding, NumberEmbedding
from pipeline.nets.inputs import Inputs, linear
from pipeline.nets.parameters import ParameterInfo
from pipeline.nets.products import affine

Activation = Literal["relu", "leaky_relu", "prelu", "sigmoid", "tanh", "gelu", "silu", "selu", "mish"]
Initialisation = Literal["torch", "xavier", "he", "normal"]

PRELU_SLOPE = 0.25  # initial slope in torch.nn.PReLU
NORMAL_STD = 0.01


class Network(ABC):
    """An architecture: a frozen dataclass of JSON values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    n_inputs: int  # columns
    hidden_sizes: tuple[int, ...]  # units of each layer that dropout follows
    n_outputs: int  # per row and head
    n_heads: int = 1  # outputs per row, which prediction averages
    is_heavy: ClassVar[bool] = False  # steps are slow at any batch size, as in convolutions

    @property
    def is_plain(self) -> bool:
        """Whether it has only linear layers and activations, so that little is kept for the backward pass."""
        return False

    @property
    def reads_codes(self) -> bool:
        """Whether one-hot columns must stay codes."""
        return False

    @property
    def n_activations(self) -> int:
        """Activations of all layers per row and head, to estimate memory."""
        return sum(self.hidden_sizes) + self.n_outputs

    @property
    def n_parameters(self) -> int:
        """Parameters of one member."""
        return sum(math.prod(info.shape) for info in self.parameter_infos().values())

    @property
    @abstractmethod
    def widest(self) -> int:
        """Activations of the widest layer per row, to choose how many rows to predict at once."""

    @abstractmethod
    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of each parameter, in the column order of `ParameterPack`."""

    def without_initialisation(self) -> Network:
        """Return the network with the default initialisation: equal for networks that can share a pack."""
        return self

    def initial_row(self, generator: torch.Generator) -> Tensor:
        """Draw one member's initial parameters (numbers,) on the CPU, so that they are the same on every device."""
        parts = [self._initial(name, info, generator) for name, info in self.parameter_infos().items()]
        return torch.cat([part.reshape(-1) for part in parts])

    @abstractmethod
    def _initial(self, name: str, info: ParameterInfo, generator: torch.Generator) -> Tensor:
        """Draw one parameter."""

    @abstractmethod
    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: PackedDropout | None) -> Tensor:
        """inputs (members, batch, ...) -> (members, batch x heads, outputs); `dropout` None means eval mode.

        The heads of a row are adjacent.
        """


@dataclass(frozen=True)
class MLP(Network):
    """Fully connected layers with one activation; without hidden sizes, a linear model.

    With `n_heads` > 1 it is TabM (ICLR 2025): networks that share all hidden weights. Each head scales the inputs and
    outputs of every hidden layer, and has its own biases and output layer.
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
    is_residual: bool = False  # a layer of the same width as its input adds to it
    n_heads: int = 1

    @property
    def is_plain(self) -> bool:
        embeds = self.numbers.is_on or self.categories.is_on
        return not (self.has_input_scale or embeds or self.has_layer_norm or self.is_residual or self.n_heads > 1)

    @property
    def reads_codes(self) -> bool:
        return self.categories.is_on

    @property
    def widest(self) -> int:
        return max(1, *(max(sizes) for sizes in self._layer_sizes())) * self.n_heads

    def _layer_sizes(self) -> list[tuple[int, int]]:
        n_first = self.numbers.width(self.categories.width(self.n_inputs))
        return list(pairwise((n_first, *self.hidden_sizes, self.n_outputs)))

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        heads, sizes = self.n_heads, self._layer_sizes()
        infos = self.numbers.parameter_infos() | self.categories.parameter_infos()
        if self.has_input_scale:
            infos["input_scale"] = ParameterInfo((1, sizes[0][0]), False)
        for layer, (n_in, n_out) in enumerate(sizes):
            is_last = layer == len(self.hidden_sizes)
            by_head = (heads,) if heads > 1 and is_last else ()
            infos[f"weight_{layer}"] = ParameterInfo((*by_head, n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((heads, n_out), False)
            if is_last:
                break
            if heads > 1:
                infos[f"in_{layer}"] = ParameterInfo((heads, n_in), False)
                infos[f"out_{layer}"] = ParameterInfo((heads, n_out), False)
            if self.has_layer_norm:
                infos[f"gain_{layer}"] = ParameterInfo((1, n_out), False)
                infos[f"shift_{layer}"] = ParameterInfo((1, n_out), False)
            if self.activation == "prelu":
                infos[f"slope_{layer}"] = ParameterInfo((1, 1), False)
        return infos

    def without_initialisation(self) -> MLP:
        numbers = replace(self.numbers, frequency_scale=NumberEmbedding.frequency_scale)
        return replace(self, initialisation="torch", numbers=numbers)

    def _initial(self, name: str, info: ParameterInfo, generator: torch.Generator) -> Tensor:
        kind, _, layer = name.rpartition("_")
        if kind == "number":
            return self.numbers.initial(name, info.shape, generator)
        if name == "category_table":
            return torch.empty(info.shape).normal_(generator=generator)
        if name == "in_0":  # random signs, because the heads must differ from the start
            return torch.randint(0, 2, info.shape, generator=generator) * 2.0 - 1.0
        if kind in ("in", "out", "gain") or name == "input_scale":
            return torch.ones(info.shape)
        if kind == "shift":
            return torch.zeros(info.shape)
        if kind == "slope":
            return torch.full(info.shape, PRELU_SLOPE)
        n_in, n_out = self._layer_sizes()[int(layer)]
        return _initial(self.initialisation, info, n_in, n_out, generator)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: PackedDropout | None) -> Tensor:
        inputs = self.categories(parameters, inputs)
        if self.numbers.is_on:
            inputs = replace(inputs, dense=self.numbers(parameters, inputs.dense))
        if self.n_heads > 1:
            return self._forward_heads(parameters, inputs.as_dense(), dropout)
        first = parameters["weight_0"]
        if self.has_input_scale:
            first = first * parameters["input_scale"].transpose(1, 2)
        x = linear(inputs, first, parameters["bias_0"])
        for layer in range(len(self.hidden_sizes)):
            before = x
            if layer > 0:
                x = affine(x, parameters[f"weight_{layer}"], parameters[f"bias_{layer}"])
            x = self._finish_layer(parameters, x, layer, dropout)
            if layer > 0 and self.is_residual and x.shape == before.shape:
                x = x + before
        last = len(self.hidden_sizes)
        return affine(x, parameters[f"weight_{last}"], parameters[f"bias_{last}"]) if last else x

    def _forward_heads(self, parameters: Mapping[str, Tensor], x: Tensor, dropout: PackedDropout | None) -> Tensor:
        members, batch, _ = x.shape
        x = x[:, :, None, :] * parameters["input_scale"][:, None] if self.has_input_scale else x[:, :, None, :]
        for layer in range(len(self.hidden_sizes)):
            before = x
            scaled = (x * parameters[f"in_{layer}"][:, None]).flatten(1, 2)
            product = torch.bmm(scaled, parameters[f"weight_{layer}"]).view(members, batch, self.n_heads, -1)
            x = product * parameters[f"out_{layer}"][:, None] + parameters[f"bias_{layer}"][:, None]
            x = self._finish_layer(parameters, x.flatten(1, 2), layer, dropout).view_as(x)
            if self.is_residual and x.shape == before.shape:
                x = x + before
        last = len(self.hidden_sizes)
        x = x.expand(-1, -1, self.n_heads, -1) if last == 0 else x
        by_head = torch.einsum("mbhi,mhio->mbho", x, parameters[f"weight_{last}"])
        return (by_head + parameters[f"bias_{last}"][:, None]).flatten(1, 2)

    def _finish_layer(
        self, parameters: Mapping[str, Tensor], x: Tensor, layer: int, dropout: PackedDropout | None
    ) -> Tensor:
        """Apply normalisation, activation and dropout to the product of a hidden layer."""
        if self.has_layer_norm:
            normal = functional.layer_norm(x, x.shape[-1:])
            x = normal * parameters[f"gain_{layer}"] + parameters[f"shift_{layer}"]
        x = self.activate(x, parameters.get(f"slope_{layer}"))
        return x if dropout is None else dropout(x, layer)

    def activate(self, x: Tensor, slope: Tensor | None) -> Tensor:
        """Apply the activation; `slope` is that of a prelu layer. When gradients are disabled, relu overwrites `x`."""
        if slope is not None:
            return torch.where(x >= 0, x, slope * x)
        if self.activation == "relu" and not torch.is_grad_enabled():
            return functional.relu_(x)
        return ACTIVATIONS[self.activation](x)


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
    """Draw a weight or bias as torch's Linear does, or a weight from Xavier uniform, He normal or N(0, 0.01)."""
    if kind != "torch" and not info.is_weight:
        return torch.zeros(info.shape)
    if kind in ("torch", "xavier"):
        bound = 1.0 / math.sqrt(n_in) if kind == "torch" else math.sqrt(6.0 / (n_in + n_out))
        return torch.empty(info.shape).uniform_(-bound, bound, generator=generator)
    std = math.sqrt(2.0 / n_in) if kind == "he" else NORMAL_STD
    return torch.empty(info.shape).normal_(0.0, std, generator=generator)
