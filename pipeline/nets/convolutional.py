"""A small convolutional network as an architecture of the pack: members are the groups of grouped convolutions.

Knows square grey images as rows of pixels; has what `training.train_pack` asks of an architecture, as `MLP` has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import Activation, Dropout
from pipeline.nets.parameters import ParameterInfo

KERNEL = 3  # with a margin of one pixel: a convolution keeps the image's size


@dataclass(frozen=True)
class ConvNet:
    """Convolution 3 x 3, relu, halving by maximum, for each of `channels`; a hidden layer with dropout; the outputs."""

    side: int
    channels: tuple[int, ...]
    n_hidden: int
    n_outputs: int
    activation: Activation = "relu"
    n_heads: int = 1
    is_plain: bool = False  # no step by hand: autograd differentiates

    @property
    def n_inputs(self) -> int:
        """Pixels."""
        return self.side**2

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Numbers of each layer's activations of a row."""
        sides = [self.side >> layer for layer in range(len(self.channels))]
        maps = [n * side**2 for n, side in zip(self.channels, sides, strict=True)]
        return (*maps, self.n_hidden)

    @property
    def widest(self) -> int:
        """Numbers of the widest layer's activations of a row."""
        return max(self.n_inputs, *self.hidden_sizes)

    @property
    def _n_features(self) -> int:
        return self.channels[-1] * (self.side >> len(self.channels)) ** 2

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters."""
        infos = {}
        for layer, (n_in, n_out) in enumerate(pairwise((1, *self.channels))):
            infos[f"kernel_{layer}"] = ParameterInfo((n_out, n_in, KERNEL, KERNEL), True)
            infos[f"shift_{layer}"] = ParameterInfo((n_out,), False)
        for layer, (n_in, n_out) in enumerate(pairwise((self._n_features, self.n_hidden, self.n_outputs))):
            infos[f"weight_{layer}"] = ParameterInfo((n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((1, n_out), False)
        return infos

    def initial_row(self, generator: torch.Generator) -> Tensor:
        """(numbers,) one member's initial parameters: weights He normal, the rest 0; drawn on the CPU."""
        parts = []
        for info in self.parameter_infos().values():
            if not info.is_weight:
                parts.append(torch.zeros(math.prod(info.shape)))
                continue
            n_in = math.prod(info.shape[1:]) if len(info.shape) == 4 else info.shape[0]
            drawn = torch.empty(math.prod(info.shape)).normal_(0.0, math.sqrt(2.0 / n_in), generator=generator)
            parts.append(drawn)
        return torch.cat(parts)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: Dropout | None) -> Tensor:
        """Pixels (members, batch, side x side) -> (members, batch, outputs). `dropout` None is eval mode."""
        x = inputs.as_dense()
        n_members, batch, _ = x.shape
        x = x.transpose(0, 1).reshape(batch, n_members, self.side, self.side)
        for layer in range(len(self.channels)):
            kernel, shift = parameters[f"kernel_{layer}"].flatten(0, 1), parameters[f"shift_{layer}"].flatten()
            x = functional.conv2d(x, kernel, shift, padding=KERNEL // 2, groups=n_members)
            x = functional.max_pool2d(torch.relu(x), 2)  # (batch, members x channels, side, side)
        x = x.reshape(batch, n_members, self._n_features).transpose(0, 1)
        x = torch.relu(torch.baddbmm(parameters["bias_0"], x, parameters["weight_0"]))
        x = x if dropout is None else dropout(x)
        return torch.baddbmm(parameters["bias_1"], x, parameters["weight_1"])
