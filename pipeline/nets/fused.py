"""Element-wise work of a pack on CUDA in one pass over memory each: Adam's update, and dropout.

The products of a pack are small; as tensor operations these two took three quarters of a step. torch's wheels for CUDA
on Linux bring Triton; elsewhere `is_available` is False and tensor operations do the same. Knows tensors; must not know
parameters by name or which members there are.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

BLOCK = 1024  # numbers of one program


def is_available(device: torch.device) -> bool:
    """Whether the kernels run on the device."""
    return device.type == "cuda" and find_spec("triton") is not None


def adam_step(
    p: Tensor,
    g: Tensor,
    moments: tuple[Tensor, Tensor],
    *,
    rate: Tensor,
    is_active: Tensor,
    keep: Tensor,
    decay: Tensor,
    rests: tuple[Tensor, Tensor],
    inverse_root: Tensor,
    eps: float,
) -> None:
    """Update p (members, numbers) and its moments in place from the gradient g; members with `is_active` 0 stay.

    The other tensors are (members,): `rate` is lr / (1 - beta1^steps), `keep` the factor of AdamW's weight decay,
    `decay` what Adam's adds to the gradient, `rests` are 1 - beta, `inverse_root` is (1 - beta2^steps)^-1/2.
    """
    from pipeline.nets.triton_kernels import adam_kernel

    n_members, n = p.shape
    numbers = (rate, is_active, keep, decay, *rests, inverse_root)
    adam_kernel[(-(-n // BLOCK), n_members)](p, g, *moments, *numbers, n, eps, BLOCK)


def drop(x: Tensor, out: Tensor, rates: Tensor, seeds: Tensor, batch: Tensor, layer: int) -> None:
    """Write x (members, batch, units) to `out`, which may be x: a share `rates` of it 0, the rest times 1 / (1 - rate).

    rates and seeds (members,), the latter int64; `batch` is a number on the device. What is dropped of a member depends
    on its seed, batch, layer and position in the member alone (Philox: Salmon et al. 2011).
    """
    from pipeline.nets.triton_kernels import drop_kernel

    n_members = x.shape[0]
    n = x.numel() // n_members
    drop_kernel[(-(-n // BLOCK), n_members)](x, out, rates, seeds, batch, layer, n, BLOCK)
