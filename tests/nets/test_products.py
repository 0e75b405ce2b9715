"""Law: products of any shape are products, and a member's do not depend on its company."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipeline.nets.products import LARGE, NARROW, _has_onednn, affine, has_bf16, input_gradient, weight_gradient

SIZES = [(1, 7, 5), (3, 7, 5), (1, 300, 150), (3, 300, 150)]  # members, batch, inputs


@pytest.mark.parametrize("n_units", [1, 2, NARROW - 1, NARROW, NARROW + 1, 50])
@pytest.mark.parametrize(("members", "batch", "n_inputs"), SIZES)
def test_products_of_any_shape_are_products(members: int, batch: int, n_inputs: int, n_units: int) -> None:
    x, weights = torch.randn(members, batch, n_inputs), torch.randn(members, n_inputs, n_units)
    bias, d = torch.randn(members, 1, n_units), torch.randn(members, batch, n_units)
    close = {"rtol": 1e-4, "atol": 1e-4}
    expected = x @ weights + bias
    torch.testing.assert_close(affine(x, weights, bias), expected, **close)  # with gradients on: another kernel
    with torch.no_grad():
        torch.testing.assert_close(affine(x, weights, bias), expected, **close)
        torch.testing.assert_close(affine(x, weights, bias, out=torch.empty_like(d)), expected, **close)
        gradient = torch.empty_like(weights)
        weight_gradient(x, d, gradient)
        torch.testing.assert_close(gradient, x.transpose(1, 2) @ d, **close)
        torch.testing.assert_close(input_gradient(d, weights, torch.empty_like(x)), d @ weights.mT, **close)


def test_without_torchs_private_function_large_products_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights, bias, d = (torch.randn(3, *shape) for shape in ((300, 150), (150, 50), (1, 50), (300, 50)))

    def made() -> list[torch.Tensor]:
        with torch.no_grad():
            gradient = torch.empty_like(weights)
            weight_gradient(x, d, gradient)
            return [affine(x, weights, bias), gradient, input_gradient(d, weights, torch.empty_like(x))]

    expected = made()
    _has_onednn.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda x, weights: x @ weights.T)  # other arguments
    assert not _has_onednn()
    torch.testing.assert_close(made(), expected, rtol=1e-4, atol=1e-4)
    monkeypatch.undo()
    _has_onednn.cache_clear()


def test_a_large_product_has_the_same_bits_in_any_company() -> None:
    x, weights, bias = torch.randn(3, 300, 150), torch.randn(3, 150, 50), torch.randn(3, 1, 50)
    assert x[0].numel() * 50 >= LARGE
    d, gradient, alone = torch.randn(3, 300, 50), torch.empty(3, 150, 50), torch.empty(1, 150, 50)
    with torch.no_grad():
        together = affine(x, weights, bias)
        weight_gradient(x, d, gradient)
        for member in range(3):
            own = slice(member, member + 1)
            assert torch.equal(together[own], affine(x[own], weights[own], bias[own]))
            weight_gradient(x[own], d[own], alone)
            assert torch.equal(gradient[own], alone)


@pytest.fixture
def bf16() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("n_units", [50, 100])
@pytest.mark.usefixtures("bf16")
def test_rounded_products_are_near_and_are_float32(n_units: int) -> None:
    x, weights, bias = torch.randn(2, 300, 150), torch.randn(2, 150, n_units), torch.randn(2, 1, n_units)
    d, gradient = torch.randn(2, 300, n_units), torch.empty(2, 150, n_units)
    with torch.no_grad():
        weight_gradient(x, d, gradient)
        made = [affine(x, weights, bias), gradient, input_gradient(d, weights, torch.empty_like(x))]
    for found, expected in zip(made, [x @ weights + bias, x.mT @ d, d @ weights.mT], strict=True):
        assert found.dtype == torch.float32
        error = (found.double() - expected).abs().mean() / expected.abs().mean()
        assert (1e-4 if has_bf16() else 0.0) <= error < 1e-2
