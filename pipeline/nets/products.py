"""Batched matrix products of a pack, by the fastest kernel for their shape and device.

Knows matrices (members, rows, columns); must not know what they mean.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# On a CPU torch's batched product is slow with few columns: a narrow result is computed transposed, a single column as
# a matrix-vector product. With 10 units of 784 inputs that is two and four times as fast.
NARROW = 16  # units below which a product is narrow: measured with 2 to 64
# torch computes large products with MKL. oneDNN, called once per member, was 1.5 to 4 times as fast on an AMD processor
# with AVX-512 (256 x 784 x 256), and no faster below about a million multiplications.
LARGE = 3 << 19
WIDE = 64  # units from which transposing the batch is cheaper than transposing the gradient


def affine(x: Tensor, weights: Tensor, bias: Tensor, out: Tensor | None = None) -> Tensor:
    """x (members, batch, inputs) @ weights (members, inputs, units) + bias (members, 1, units).

    May use `out` for the result; differentiable without it.
    """
    n_units = weights.shape[2]
    if _is_large(x, x.shape[1] * weights.shape[1] * n_units):
        return _each([_linear(*one) for one in zip(x, weights.transpose(1, 2), bias[:, 0], strict=True)], out)
    if n_units == 1 and out is not None:
        torch.baddbmm(bias.transpose(1, 2), weights.transpose(1, 2), x.transpose(1, 2), out=out.transpose(1, 2))
        return out
    if 1 < n_units < NARROW and x.device.type == "cpu":
        weights = weights.transpose(1, 2).contiguous().transpose(1, 2)
    return torch.baddbmm(bias, x, weights, out=out)


def weight_gradient(x: Tensor, d: Tensor, out: Tensor) -> None:
    """Write x^T @ d into `out` (members, inputs, units)."""
    n_units = d.shape[2]
    if _is_large(x, x.shape[1] * x.shape[2] * n_units):
        for inputs, upstream, gradient in zip(x, d, out, strict=True):
            if _is_bf16():
                gradient.copy_(torch.mm(inputs.bfloat16().t(), upstream.bfloat16()))
            elif n_units >= WIDE:
                gradient.copy_(_linear(inputs.t(), upstream.t(), None))
            else:
                gradient.copy_(_linear(upstream.t(), inputs.t(), None).t())
    elif n_units == 1:
        torch.bmm(d.transpose(1, 2), x, out=out.transpose(1, 2))
    elif n_units < NARROW and x.device.type == "cpu":
        out.copy_(torch.bmm(d.transpose(1, 2), x).transpose(1, 2))
    else:
        torch.bmm(x.transpose(1, 2), d, out=out)


def input_gradient(d: Tensor, weights: Tensor, out: Tensor) -> Tensor:
    """d @ weights^T (members, batch, inputs). May use `out` for the result."""
    if _is_large(d, d.shape[1] * weights.shape[1] * weights.shape[2]):
        return _each([_linear(*one, None) for one in zip(d, weights, strict=True)], out)
    by_input = weights.transpose(1, 2)
    return torch.bmm(d, by_input, out=out) if d.shape[2] > 1 else torch.mul(d, by_input, out=out)


def _is_large(x: Tensor, n_multiplications: int) -> bool:
    """Whether a member's product goes to oneDNN, whose function has no gradient."""
    if n_multiplications < LARGE or torch.is_grad_enabled():
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and _has_onednn()


@cache
def _has_onednn() -> bool:
    """Whether torch's private oneDNN function exists, has the expected arguments, and is faster on this CPU."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        one = torch.ones(1, 1)
        return bool(torch.ops.mkldnn._linear_pointwise(one, one, one[0], "none", [], "") == 2.0)
    except (AttributeError, RuntimeError, TypeError):
        return False


def has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32."""
    if not _has_onednn() or not hasattr(torch.cpu, "get_capabilities"):  # new in torch 2.12
        return False
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _is_bf16() -> bool:
    """Whether the run asks for products in bfloat16 (sums stay float32) and the CPU has them."""
    return torch.get_float32_matmul_precision() == "medium" and has_bf16()


def _linear(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """x (rows, inputs) @ weights (units, inputs)^T + bias (units,)."""
    if _is_bf16():
        x, weights, bias = x.bfloat16(), weights.bfloat16(), None if bias is None else bias.bfloat16()
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weights, bias, "none", [], "")
    return product.float()


def _each(products: list[Tensor], out: Tensor | None) -> Tensor:
    """Stack the products of the members."""
    if len(products) == 1:
        return products[0][None]
    return torch.stack(products) if out is None else torch.stack(products, out=out)
