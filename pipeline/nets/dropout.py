"""Inverted dropout for a pack: each member's own rate and, on the CPU, each member's own stream of masks.

Knows tensors' shapes; knows nothing of what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEVELS = 1 << 16  # a mask is drawn from 16 random bits: rates are met to 1/65536


class PackedDropout:
    """Masks for one epoch. On the CPU a member's masks do not depend on its company; elsewhere they are the pack's."""

    def __init__(
        self,
        rates: Sequence[float],
        seeds: Sequence[int],
        device: torch.device,
        n_rows: Sequence[int] | None = None,
        widths: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """What others may have more of: each member's rows in its largest batch, and its units by hidden layer.

        A mask drops no more than these, and is drawn for no more.
        """
        self.rates, self.device, self.n_rows, self.widths = rates, device, n_rows, widths
        if device.type != "cpu":
            self._generator = torch.Generator(device)
            self._keep = torch.tensor([1.0 - rate for rate in rates], device=device)[:, None, None]
        self.restart(seeds)

    def restart(self, seeds: Sequence[int]) -> None:
        """Begin the streams of another epoch."""
        if self.device.type == "cpu":
            self._streams = [np.random.SFC64(seed) for seed in seeds]
        else:
            self._generator.manual_seed(seeds[0])

    def register(self, graph: torch.cuda.CUDAGraph) -> None:
        """Let a captured graph go on with the stream at every replay."""
        graph.register_generator_state(self._generator)

    def fill(self, mask: Tensor, layer: int) -> Tensor:
        """Fill mask (members, batch, units) of a hidden layer: 0 where a unit is dropped, else 1 / (1 - rate)."""
        if self.device.type != "cpu":
            drawn = torch.rand(mask.shape, generator=self._generator, device=self.device)
            return mask.copy_((drawn < self._keep) / self._keep)
        (_, batch, width), masks = mask.shape, mask.numpy()
        for member, (rate, stream) in enumerate(zip(self.rates, self._streams, strict=True)):
            n_units = width if self.widths is None else self.widths[member][layer]
            n_drawn = batch if self.n_rows is None else self.n_rows[member]
            n_rows = min(n_drawn, batch)
            bits = stream.random_raw(-(-n_drawn * n_units // 4)).view(np.uint16)[: n_rows * n_units]
            is_kept = (bits >= np.uint16(round(rate * LEVELS))).reshape(n_rows, n_units)
            np.multiply(is_kept, np.float32(1.0 / (1.0 - rate)), out=masks[member, :n_rows, :n_units])
            masks[member, n_rows:] = 1.0
            masks[member, :, n_units:] = 1.0
        return mask

    def __call__(self, x: Tensor, layer: int) -> Tensor:
        """x (members, batch, units), a hidden layer's, with units dropped."""
        return x * self.fill(torch.empty_like(x, requires_grad=False), layer)
