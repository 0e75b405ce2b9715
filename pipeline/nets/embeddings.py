"""Learned embeddings of a network's inputs: periodic features of numbers, lookup tables of categories.

Knows the batches and parameters of a pack; must not know the layers that follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.nets.inputs import Inputs, onehot_product
from pipeline.nets.parameters import ParameterInfo

# plr: relu(linear([sin, cos])), "On Embeddings for Numerical Features" (NeurIPS 2022); pbld: [x, linear(cos)], "Better
# by Default" (NeurIPS 2024). In both, every column has its own frequencies and its own linear map.
NumberEmbeddingName = Literal["none", "plr", "pbld"]


@dataclass(frozen=True)
class NumberEmbedding:
    """Periodic features of each of the first `n_numbers` columns, mapped to `size` outputs per column."""

    kind: NumberEmbeddingName = "none"
    n_numbers: int = 0
    n_frequencies: int = 16
    frequency_scale: float = 0.1  # standard deviation of the initial frequencies
    size: int = 4

    @property
    def is_on(self) -> bool:
        """Whether anything is embedded."""
        return self.kind != "none" and self.n_numbers > 0

    def width(self, n_columns: int) -> int:
        """Columns after the embedding of `n_columns`."""
        return n_columns + self.n_numbers * (self.size - 1) if self.is_on else n_columns

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters."""
        if not self.is_on:
            return {}
        n, k = self.n_numbers, self.n_frequencies
        n_features, n_learned = (2 * k, self.size) if self.kind == "plr" else (k, self.size - 1)
        infos = {"number_frequency": ParameterInfo((n, k), False)}
        if self.kind == "pbld":
            infos["number_phase"] = ParameterInfo((n, k), False)
        infos["number_weight"] = ParameterInfo((n, n_features, n_learned), True)
        infos["number_bias"] = ParameterInfo((n, 1, n_learned), False)
        return infos

    def initial(self, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw a parameter: frequencies from a normal, phases from the whole circle, the rest as torch's Linear."""
        if name == "number_frequency":
            return torch.empty(shape).normal_(0.0, self.frequency_scale, generator=generator)
        n_features = 2 * self.n_frequencies if self.kind == "plr" else self.n_frequencies
        bound = math.pi if name == "number_phase" else 1.0 / math.sqrt(n_features)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    def __call__(self, parameters: Mapping[str, Tensor], dense: Tensor) -> Tensor:
        """dense (members, batch, columns) -> the embedded numbers, then the other columns unchanged."""
        if not self.is_on:
            return dense
        numbers, others = dense[..., : self.n_numbers], dense[..., self.n_numbers :]
        members, batch, n = numbers.shape
        # each column is a row along the batch: products with few outputs are faster transposed, see `products`
        by_column = numbers.transpose(1, 2).reshape(members * n, 1, batch)
        frequency = parameters["number_frequency"].reshape(members * n, -1, 1)
        if self.kind == "plr":
            phases = [torch.full_like(frequency, -math.pi / 2.0), torch.zeros_like(frequency)]  # sin, cos
            periodic = torch.cat([_wave(by_column, frequency, phase) for phase in phases], dim=1)
        else:
            periodic = _wave(by_column, frequency, parameters["number_phase"].reshape(members * n, -1, 1))
        weight, bias = parameters["number_weight"].flatten(0, 1), parameters["number_bias"].flatten(0, 1)
        learned = torch.baddbmm(bias.transpose(1, 2), weight.transpose(1, 2), periodic)
        learned = learned.relu() if self.kind == "plr" else torch.cat([by_column, learned], dim=1)
        embedded = learned.view(members, n * self.size, batch).transpose(1, 2)
        return torch.cat([embedded, others], dim=2)


class _Wave(torch.autograd.Function):
    """cos(2 pi frequency x + phase), in fewer passes over memory than autograd needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
        angle = torch.addcmul(phase, 2.0 * math.pi * frequency, x)
        ctx.save_for_backward(x, angle)
        return angle.cos() if any(ctx.needs_input_grad) else angle.cos_()

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[None, Tensor, Tensor]:
        x, angle = ctx.saved_tensors
        d = angle.sin().mul_(d)
        return None, torch.bmm(d, x.transpose(1, 2)).mul_(-2.0 * math.pi), d.sum(dim=2, keepdim=True).neg_()


def _wave(x: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """x (columns, 1, batch), frequency and phase (columns, waves, 1) -> (columns, waves, batch). x has no gradient."""
    wave: Tensor = _Wave.apply(x, frequency, phase)  # type: ignore[no-untyped-call]
    return wave


@dataclass(frozen=True)
class CategoryEmbedding:
    """A learned vector of `size` for each category in place of one-hot columns; 0 keeps the columns."""

    n_slots: int = 0
    n_onehot: int = 0
    size: int = 0

    @property
    def is_on(self) -> bool:
        """Whether anything is embedded."""
        return self.size > 0 and self.n_slots > 0

    def width(self, n_columns: int) -> int:
        """Columns after the embedding of `n_columns`."""
        return n_columns - self.n_onehot + self.n_slots * self.size if self.is_on else n_columns

    def parameter_infos(self) -> dict[str, ParameterInfo]:
        """Name -> shape of one member's parameters."""
        return {"category_table": ParameterInfo((self.n_onehot, self.size), False)} if self.is_on else {}

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Inputs) -> Inputs:
        """Replace the codes by dense columns at the end."""
        if not self.is_on:
            return inputs
        assert inputs.codes is not None, "a table without codes cannot be embedded"
        members, batch, slots = inputs.codes.shape
        codes = inputs.codes.reshape(members, batch * slots, 1)
        known = None if inputs.known is None else inputs.known.reshape(codes.shape)
        each = Inputs(inputs.dense.new_empty(members, batch * slots, 0), codes, known, inputs.n_onehot)
        looked_up = onehot_product(parameters["category_table"], each).view(members, batch, slots * self.size)
        return Inputs(torch.cat([inputs.dense, looked_up], dim=2))
