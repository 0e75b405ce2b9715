"""Inverted dropout for a pack: each member has its own rate and its own stream of masks.

Knows the shapes of tensors; must not know what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.nets import fused

LEVELS = 1 << 16  # masks come from 16-bit integers, so rates are exact to 1/65536
PER_DRAW = 4  # such integers in one 64-bit draw
DRAWN_AHEAD = 1 << 14  # integers per member and call: small masks are drawn for several batches at once


class PackedDropout:
    """Masks of one epoch, drawn into buffers. On a GPU without Triton, the members of a pack share a stream."""

    def __init__(
        self,
        rates: Sequence[float],
        seeds: Sequence[int],
        device: torch.device,
        n_rows: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        """Take the rows of each member's largest batch, and the units of each hidden layer."""
        self.device, self._widths = device, widths
        if device.type != "cpu":
            self._generator = torch.Generator(device)
            self._keep = torch.tensor([1.0 - rate for rate in rates], device=device)[:, None, None]
        else:
            self._runs: list[tuple[slice, int]] = []  # adjacent members with equally many rows, and that number
            for n, same in groupby(n_rows):
                start = self._runs[-1][0].stop if self._runs else 0
                self._runs.append((slice(start, start + len(list(same))), n))
            self._lengths = [sum(_length(n, width) for width in widths) for n in n_rows]
            self._n_ahead = max(1, DRAWN_AHEAD // max(1, *self._lengths))
            self._bits = np.empty((len(rates), self._n_ahead, max(self._lengths)), np.uint16)
            self._thresholds = np.array([round(rate * LEVELS) for rate in rates], np.uint16)[:, None, None]
            self._factors = np.array([1.0 / (1.0 - rate) for rate in rates], np.float32)[:, None, None]
        self.restart(seeds)

    def restart(self, seeds: Sequence[int]) -> None:
        """Start the streams of another epoch."""
        if self.device.type == "cpu":
            self._streams = [np.random.SFC64(seed) for seed in seeds]
            self._batch = -1
        else:
            self._generator.manual_seed(seeds[0])

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let every replay of a captured graph advance the stream."""
        graph.register_generator_state(self._generator)

    def mark(self) -> Callable[[], object]:
        """Return the function that goes back to the present place in the stream of a GPU."""
        offset = self._generator.get_offset() if self.device.type == "cuda" else 0
        return lambda: self._generator.set_offset(offset) if self.device.type == "cuda" else None

    def drop(self, x: Tensor, layer: int, mask: Tensor, out: Tensor) -> Tensor:
        """Write to `out` what is left of x (members, batch, units), the output of a hidden layer; fill `mask`."""
        return torch.mul(x, self.fill(mask, layer), out=out)

    def drop_gradient(self, d: Tensor, layer: int, mask: Tensor) -> None:  # noqa: ARG002
        """Turn the gradient of what `drop` returned into that of x."""
        d.mul_(mask)

    def fill(self, mask: Tensor, layer: int) -> Tensor:
        """Fill mask (members, batch, units): 0 for a dropped unit, else 1 / (1 - rate). Layer 0 starts a new batch."""
        if self.device.type != "cpu":
            drawn = torch.rand(mask.shape, generator=self._generator, device=self.device)
            return mask.copy_((drawn < self._keep) / self._keep)
        if layer == 0:
            self._batch += 1
            if self._batch % self._n_ahead == 0:
                self._draw()
        (_, batch, width), masks = mask.shape, mask.numpy()
        for members, n_drawn in self._runs:
            n_rows = min(n_drawn, batch)
            start = sum(_length(n_drawn, before) for before in self._widths[:layer])
            bits = self._bits[members, self._batch % self._n_ahead, start : start + n_rows * width]
            is_kept = bits.reshape(-1, n_rows, width) >= self._thresholds[members]
            np.multiply(is_kept, self._factors[members], out=masks[members, :n_rows])
            if n_rows < batch:
                masks[members, n_rows:] = 1.0
        return mask

    def _draw(self) -> None:
        """Draw the bits of the next batches."""
        for bits, stream, length in zip(self._bits, self._streams, self._lengths, strict=True):
            drawn = stream.random_raw(self._n_ahead * length // PER_DRAW).view(np.uint16)
            bits[:, :length] = drawn.reshape(self._n_ahead, length)

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        """Drop units of x (members, batch, units), differentiably."""
        return x * self.fill(torch.empty_like(x, requires_grad=False), layer)


class FusedDropout(PackedDropout):
    """Nothing is stored: the same draw drops units and their gradients. A member's does not depend on the pack."""

    def __init__(self, rates: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self._rates = torch.tensor(rates, dtype=torch.float32, device=device)
        self._seeds = torch.tensor(seeds, dtype=torch.int64, device=device)
        self._number = torch.tensor(-1, dtype=torch.int64, device=device)

    def restart(self, seeds: Sequence[int]) -> None:
        self._seeds.copy_(torch.tensor(seeds, dtype=torch.int64))
        self._number.fill_(-1)

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Do nothing: a replay advances the batch, which lies on the device."""

    def mark(self) -> Callable[[], object]:
        batch = self._number.clone()
        return lambda: self._number.copy_(batch)

    def drop(self, x: Tensor, layer: int, mask: Tensor, out: Tensor) -> Tensor:  # noqa: ARG002
        if layer == 0:
            self._number += 1
        return self._dropped(x, layer, out)

    def drop_gradient(self, d: Tensor, layer: int, mask: Tensor) -> None:  # noqa: ARG002
        self._dropped(d, layer, d)

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        if layer == 0:
            self._number += 1
        dropped: Tensor = _Drop.apply(x, self, layer)  # type: ignore[no-untyped-call]
        return dropped

    def _dropped(self, x: Tensor, layer: int, out: Tensor) -> Tensor:
        fused.drop(x, out, self._rates, self._seeds, self._number, layer)
        return out


class _Drop(torch.autograd.Function):
    """`FusedDropout` with its gradient, before the next batch begins."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: FusedDropout, layer: int) -> Tensor:
        ctx.dropout, ctx.layer = dropout, layer
        x = x.contiguous()
        return dropout._dropped(x, layer, torch.empty_like(x))

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None]:
        d = d.contiguous()
        return ctx.dropout._dropped(d, ctx.layer, torch.empty_like(d)), None, None


def _length(n_rows: int, width: int) -> int:
    """16-bit integers drawn for the mask of a layer: a multiple of those in one draw."""
    return -(-n_rows * width // PER_DRAW) * PER_DRAW
