"""A small convolutional network for packs.

Reads grey images as rows of pixels from the top left; must not know which columns they come from.
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

from pipeline.nets.dropout import PackedDropout
from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import Network
from pipeline.nets.parameters import ParameterInfo
from pipeline.nets.products import affine


@dataclass(frozen=True)
class ConvNet(Network):
    """For each of `channels` a same-size convolution, 2 x 2 max pooling and relu; a hidden layer with dropout."""

    height: int
    width: int
    channels: tuple[int, ...]
    n_hidden: int
    n_outputs: int
    kernel: int = 3  # odd
    is_heavy: ClassVar[bool] = True

    @property
    def hidden_sizes(self) -> tuple[int, ...]:  # type: ignore[override]  # read-only, as a frozen field is
        return (self.n_hidden,)

    @property
    def n_inputs(self) -> int:  # type: ignore[override]
        """Pixels."""
        return self.height * self.width

    @property
    def n_activations(self) -> int:
        return sum(self._map_sizes()) + super().n_activations

    @property
    def widest(self) -> int:
        return max(self.n_inputs, self.n_hidden, *self._map_sizes())

    def _map_sizes(self) -> list[int]:
        """Outputs of each convolution per row."""
        return [n * (self.height >> k) * (self.width >> k) for k, n in enumerate(self.channels)]

    @property
    def _n_features(self) -> int:
        n_halvings = len(self.channels)
        return self.channels[-1] * (self.height >> n_halvings) * (self.width >> n_halvings)

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        infos = {}
        for layer, (n_in, n_out) in enumerate(pairwise((1, *self.channels))):
            infos[f"kernel_{layer}"] = ParameterInfo((n_out, n_in, self.kernel, self.kernel), True)
            infos[f"shift_{layer}"] = ParameterInfo((n_out,), False)
        for layer, (n_in, n_out) in enumerate(pairwise((self._n_features, self.n_hidden, self.n_outputs))):
            infos[f"weight_{layer}"] = ParameterInfo((n_in, n_out), True)
            infos[f"bias_{layer}"] = ParameterInfo((1, n_out), False)
        return infos

    def _initial(self, name: str, info: ParameterInfo, generator: torch.Generator) -> Tensor:
        """Draw weights from He normal; the rest is 0."""
        if not info.is_weight:
            return torch.zeros(info.shape)
        n_in = math.prod(info.shape[1:]) if name.startswith("kernel") else info.shape[0]
        return torch.empty(info.shape).normal_(0.0, math.sqrt(2.0 / n_in), generator=generator)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Inputs, dropout: PackedDropout | None) -> Tensor:
        """Pixels (members, batch, height x width) -> (members, batch, outputs)."""
        pixels = inputs.as_dense()
        n_members, batch, _ = pixels.shape
        layers = [(parameters[f"kernel_{k}"], parameters[f"shift_{k}"]) for k in range(len(self.channels))]
        if pixels.device.type == "cpu":  # one member at a time: as fast as a grouped convolution, faster for one member
            images = pixels.reshape(n_members, batch, 1, self.height, self.width)
            unbound = [list(zip(kernel.unbind(), shift.unbind(), strict=True)) for kernel, shift in layers]
            x = torch.stack([_maps(one, [layer[m] for layer in unbound]).flatten(1) for m, one in enumerate(images)])
        else:
            images = pixels.transpose(0, 1).reshape(batch, n_members, self.height, self.width)
            grouped = _maps(images, [(k.flatten(0, 1), s.flatten()) for k, s in layers], n_groups=n_members)
            x = grouped.reshape(batch, n_members, self._n_features).transpose(0, 1)
        x = torch.relu(affine(x, parameters["weight_0"], parameters["bias_0"]))
        x = x if dropout is None else dropout(x, 0)
        return affine(x, parameters["weight_1"], parameters["bias_1"])


def _maps(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]], n_groups: int = 1) -> Tensor:
    """x (batch, groups, height, width) -> feature maps of the last layer (batch, groups x channels, height, width)."""
    for kernel, shift in layers:
        x = functional.conv2d(x, kernel, shift, padding=kernel.shape[-1] // 2, groups=n_groups)
        x = torch.relu(functional.max_pool2d(x, 2))  # pooling first: the same result from a quarter of the numbers
    return x
