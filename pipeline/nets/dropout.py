"""Inverted dropout for a pack: each member's own rate and, on the CPU, each member's own stream of masks.

Knows tensors' shapes; knows nothing of what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

LEVELS = 1 << 16  # a mask is drawn from 16 random bits: rates are met to 1/65536
PER_DRAW = 4  # of these come with one call for 64
DRAWN_AHEAD = 1 << 14  # of a member's small masks: several batches' in one call


class PackedDropout:
    """Masks for one epoch. On the CPU a member's masks do not depend on its company; elsewhere they are the pack's."""

    def __init__(
        self,
        rates: Sequence[float],
        seeds: Sequence[int],
        device: torch.device,
        n_rows: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        """Take each member's rows in its largest batch, and the units of each hidden layer."""
        self.rates, self.device, self._widths = rates, device, widths
        if device.type != "cpu":
            self._generator = torch.Generator(device)
            self._keep = torch.tensor([1.0 - rate for rate in rates], device=device)[:, None, None]
        else:
            self._alike: list[tuple[slice, int]] = []  # members in a row, and their rows
            for n, same in groupby(n_rows):
                start = self._alike[-1][0].stop if self._alike else 0
                self._alike.append((slice(start, start + len(list(same))), n))
            self._lengths = [sum(_length(n, width) for width in widths) for n in n_rows]
            self._n_ahead = max(1, DRAWN_AHEAD // max(1, *self._lengths))
            self._bits = np.empty((len(rates), self._n_ahead, max(self._lengths)), np.uint16)
            self._least = np.array([round(rate * LEVELS) for rate in rates], np.uint16)[:, None, None]
            self._factors = np.array([1.0 / (1.0 - rate) for rate in rates], np.float32)[:, None, None]
        self.restart(seeds)

    def restart(self, seeds: Sequence[int]) -> None:
        """Begin the streams of another epoch."""
        if self.device.type == "cpu":
            self._streams = [np.random.SFC64(seed) for seed in seeds]
            self._batch = -1
        else:
            self._generator.manual_seed(seeds[0])

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let a captured graph go on with the stream at every replay."""
        graph.register_generator_state(self._generator)

    def fill(self, mask: Tensor, layer: int) -> Tensor:
        """Fill mask (members, batch, units) of a hidden layer: 0 where a unit is dropped, else 1 / (1 - rate).

        Layer 0 begins another batch.
        """
        if self.device.type != "cpu":
            drawn = torch.rand(mask.shape, generator=self._generator, device=self.device)
            return mask.copy_((drawn < self._keep) / self._keep)
        if layer == 0:
            self._batch += 1
            if self._batch % self._n_ahead == 0:
                self._draw()
        (_, batch, width), masks = mask.shape, mask.numpy()
        for members, n_drawn in self._alike:
            n_rows = min(n_drawn, batch)
            start = sum(_length(n_drawn, before) for before in self._widths[:layer])
            bits = self._bits[members, self._batch % self._n_ahead, start : start + n_rows * width]
            is_kept = bits.reshape(-1, n_rows, width) >= self._least[members]
            np.multiply(is_kept, self._factors[members], out=masks[members, :n_rows])
            if n_rows < batch:
                masks[members, n_rows:] = 1.0
        return mask

    def _draw(self) -> None:
        """The bits of the next batches."""
        for bits, stream, length in zip(self._bits, self._streams, self._lengths, strict=True):
            drawn = stream.random_raw(self._n_ahead * length // PER_DRAW).view(np.uint16)
            bits[:, :length] = drawn.reshape(self._n_ahead, length)

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        """x (members, batch, units), a hidden layer's, with units dropped."""
        return x * self.fill(torch.empty_like(x, requires_grad=False), layer)


def _length(n_rows: int, width: int) -> int:
    """Bits drawn for a layer's mask, in their sixteens."""
    return -(-n_rows * width // PER_DRAW) * PER_DRAW
