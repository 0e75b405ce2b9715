"""A small convolutional network as an architecture of the pack.

Knows grey images as rows of pixels, from the top left; knows nothing of the columns they come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import Dropout
from pipeline.nets.parameters import ParameterInfo
from pipeline.nets.products import affine


@dataclass(frozen=True)
class ConvNet:
    """Convolution that keeps the size, halving by maximum, relu, for each of `channels`; a hidden layer, dropout."""

    height: int
    width: int
    channels: tuple[int, ...]
    n_hidden: int
    n_outputs: int
    kernel: int = 3  # odd
    n_heads: ClassVar[int] = 1
    is_plain: ClassVar[bool] = False
    is_heavy: ClassVar[bool] = True
    reads_codes: ClassVar[bool] = False

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Units of the layer that dropout follows."""
        return (self.n_hidden,)

    @property
    def n_inputs(self) -> int:
        """Pixels."""
        return self.height * self.width

    @property
    def n_activations(self) -> int:
        """Numbers of all layers' activations of a row."""
        return sum(self._map_sizes()) + self.n_hidden + self.n_outputs

    @property
    def widest(self) -> int:
        """Numbers of the widest layer's activations of a row, to know how many rows fit."""
        return max(self.n_inputs, self.n_hidden, *self._map_sizes())

    def _map_sizes(self) -> list[int]:
        """Numbers each convolution makes of a row."""
        return [n * (self.height >> k) * (self.width >> k) for k, n in enumerate(self.channels)]

    @property
    def _n_features(self) -> int:
        n_halvings = len(self.channels)
        return self.channels[-1] * (self.height >> n_halvings) * (self.width >> n_halvings)

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters."""
        infos = {}
        for layer, (n_in, n_out) in enumerate(pairwise((1, *self.channels))):
            infos[f"kernel_{layer}"] = ParameterInfo((n_out, n_in, self.kernel, self.kernel), True)
            infos[f"shift_{layer}"] = ParameterInfo((n_out,), False)
        for layer, (n_in, n_out) in enumerate(pairwise((self._n_features, self.n_hidden, self.n_outputs))):
            infos[f"weight_{layer}"] = ParameterInfo((n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((1, n_out), False)
        return infos

    def without_start(self) -> ConvNet:
        """See `Network`."""
        return self

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
        """Pixels (members, batch, height x width) -> (members, batch, outputs). `dropout` None is eval mode."""
        pixels = inputs.as_dense()
        n_members, batch, _ = pixels.shape
        by_layer = [(parameters[f"kernel_{k}"], parameters[f"shift_{k}"]) for k in range(len(self.channels))]
        if pixels.device.type == "cpu":  # which takes members one by one as fast as in groups, and one alone faster
            of_members = [(kernel.unbind(), shift.unbind()) for kernel, shift in by_layer]
            images = pixels.reshape(n_members, batch, 1, self.height, self.width)
            maps = [_maps(image, [(k[m], s[m]) for k, s in of_members]) for m, image in enumerate(images)]
            x = torch.stack([one.flatten(1) for one in maps])
        else:
            images = pixels.transpose(0, 1).reshape(batch, n_members, self.height, self.width)
            grouped = _maps(images, [(k.flatten(0, 1), s.flatten()) for k, s in by_layer], n_groups=n_members)
            x = grouped.reshape(batch, n_members, self._n_features).transpose(0, 1)
        x = torch.relu(affine(x, parameters["weight_0"], parameters["bias_0"]))
        x = x if dropout is None else dropout(x, 0)
        return affine(x, parameters["weight_1"], parameters["bias_1"])


def _maps(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], n_groups: int = 1) -> Tensor:
    """x (batch, groups, height, width) -> the last layer's maps (batch, groups x channels, height, width)."""
    for kernel, shift in layers:
        x = functional.conv2d(x, kernel, shift, padding=kernel.shape[-1] // 2, groups=n_groups)
        x = torch.relu(functional.max_pool2d(x, 2))  # in this order the same numbers, of a quarter as many
    return x
