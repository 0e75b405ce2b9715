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

    def __init__(self, rates: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self.rates, self.device = rates, device
        if device.type == "cpu":
            self._streams = [np.random.SFC64(seed) for seed in seeds]
        else:
            self._generator = torch.Generator(device).manual_seed(seeds[0])
            self._keep = torch.tensor([1.0 - rate for rate in rates], device=device)[:, None, None]

    def fill(self, mask: Tensor) -> Tensor:
        """Fill mask (members, batch, units): 0 where a unit is dropped, else 1 / (1 - rate)."""
        if self.device.type != "cpu":
            drawn = torch.rand(mask.shape, generator=self._generator, device=self.device)
            return mask.copy_((drawn < self._keep) / self._keep)
        n_units = mask.shape[1] * mask.shape[2]
        rows = mask.view(len(mask), n_units).numpy()
        for member, (rate, stream) in enumerate(zip(self.rates, self._streams, strict=True)):
            bits = stream.random_raw(-(-n_units // 4)).view(np.uint16)[:n_units]
            is_kept = bits >= np.uint16(round(rate * LEVELS))
            np.multiply(is_kept, np.float32(1.0 / (1.0 - rate)), out=rows[member])
        return mask

    def __call__(self, x: Tensor) -> Tensor:
        """x (members, batch, units) with units dropped."""
        return x * self.fill(torch.empty_like(x, requires_grad=False))
