"""Laws of the packed losses: torch's numbers for each member, weights as a weighted mean, finite gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.metrics import METRICS
from pipeline.nets.losses import REGRESSION_LOSSES, Loss, binary_cross_entropy, cross_entropy

TORCH = {"mse": functional.mse_loss, "mae": functional.l1_loss, "huber": functional.huber_loss}
MEMBERS, ROWS, OUTPUTS = 3, 6, 2


def numbers(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def codes(n_classes: int) -> Tensor:
    return torch.randint(n_classes, (MEMBERS, ROWS), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", TORCH)
def test_a_members_loss_is_torchs(name: str) -> None:
    output, target = numbers(MEMBERS, ROWS, OUTPUTS), numbers(MEMBERS, ROWS, OUTPUTS, seed=1)
    loss = REGRESSION_LOSSES[name](output, target, None)
    expected = torch.stack([TORCH[name](output[m], target[m]) for m in range(MEMBERS)])
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    logits, target = numbers(MEMBERS, ROWS, 4), codes(4)
    loss = cross_entropy(smoothing)(logits, target, None)
    expected = [functional.cross_entropy(logits[m], target[m], label_smoothing=smoothing) for m in range(MEMBERS)]
    torch.testing.assert_close(loss, torch.stack(expected))


def test_every_member_has_its_own_label_smoothing() -> None:
    logits, target = numbers(MEMBERS, ROWS, 4), codes(4)
    smoothings = [0.0, 0.125, 0.5]
    own = cross_entropy().of_members(smoothings, logits.device)
    for member, smoothing in enumerate(smoothings):
        one = slice(member, member + 1)
        alone = cross_entropy(smoothing)
        torch.testing.assert_close(own(logits, target, None)[one], alone(logits[one], target[one], None))
        gradient = alone.gradient(logits[one], target[one], None)
        torch.testing.assert_close(own.gradient(logits, target, None)[one], gradient)


@pytest.mark.parametrize("name", [*REGRESSION_LOSSES])
def test_a_loss_of_numbers_ignores_label_smoothing(name: str) -> None:
    loss = REGRESSION_LOSSES[name]
    assert loss.of_members([0.1, 0.2], torch.device("cpu")) is loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cross_entropy_of_several_targets_is_the_mean_of_torchs(smoothing: float) -> None:
    logits, target = numbers(MEMBERS, ROWS, OUTPUTS), (numbers(MEMBERS, ROWS, OUTPUTS, seed=1) > 0).double()
    loss = binary_cross_entropy(torch.full((MEMBERS,), smoothing, dtype=torch.float64))(logits, target, None)
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1).flatten(1, 2)
    expected = [
        functional.cross_entropy(pairs[m], target[m].flatten().long(), label_smoothing=smoothing)
        for m in range(MEMBERS)
    ]
    torch.testing.assert_close(loss, torch.stack(expected))


ALL_LOSSES: dict[str, Loss] = {
    **REGRESSION_LOSSES,
    "cross_entropy": cross_entropy(0.1),
    "binary_cross_entropy": binary_cross_entropy(0.1),
}


def arguments(name: str) -> tuple[Tensor, Tensor]:
    if name == "cross_entropy":
        return numbers(MEMBERS, ROWS, 4), codes(4)
    if name == "binary_cross_entropy":
        return numbers(MEMBERS, ROWS, OUTPUTS), (numbers(MEMBERS, ROWS, OUTPUTS, seed=1) > 0).double()
    shift = 9.0 if name == "log_rmse" else 0.0  # prices
    return numbers(MEMBERS, ROWS, OUTPUTS) + shift, numbers(MEMBERS, ROWS, OUTPUTS, seed=1).abs() + shift


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_weights_make_a_weighted_mean(name: str) -> None:
    """Weights 0, 1, 2 are the rows left out, once, and twice."""
    output, target = arguments(name)
    weight = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 1.0], dtype=torch.float64).expand(MEMBERS, -1)
    repeated = [1, 2, 2, 3, 5]
    loss = ALL_LOSSES[name]
    torch.testing.assert_close(loss(output, target, weight), loss(output[:, repeated], target[:, repeated], None))
    torch.testing.assert_close(loss(output, target, 7.0 * weight), loss(output, target, weight))
    torch.testing.assert_close(loss(output, target, torch.ones_like(weight)), loss(output, target, None))


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_a_member_without_rows_has_no_loss_and_no_gradient(name: str) -> None:
    output, target = arguments(name)
    output.requires_grad_()
    weight = torch.ones(MEMBERS, ROWS, dtype=torch.float64)
    weight[1] = 0.0
    loss = ALL_LOSSES[name](output, target, weight)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert loss[1].item() == pytest.approx(0.0, abs=1e-9)
    assert (gradient[1] == 0).all()
    assert gradient.isfinite().all()
    alone = ALL_LOSSES[name](output[[0, 2]], target[[0, 2]], None)
    torch.testing.assert_close(loss[[0, 2]], alone)


@pytest.mark.parametrize("name", ALL_LOSSES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_gradient_is_that_of_the_loss(name: str, is_weighted: bool) -> None:
    output, target = arguments(name)
    weight = numbers(MEMBERS, ROWS, seed=4).abs() if is_weighted else None
    output.requires_grad_()
    torch.autograd.gradcheck(lambda output: ALL_LOSSES[name](output, target, weight), (output,))


def test_log_rmse_is_the_metric() -> None:
    output = torch.tensor([[[-5.0], [0.5], [1.0], [3.0]], [[2.0], [9.0], [1e6], [0.0]]], dtype=torch.float64)
    target = torch.tensor([[[2.0], [1.0], [4.0], [3.0]], [[2.0], [8.0], [2e5], [1.5]]], dtype=torch.float64)
    loss = REGRESSION_LOSSES["log_rmse"](output, target, None)
    for member in range(2):
        metric = METRICS["log_rmse"](target[member, :, 0].numpy(), output[member, :, 0].numpy())
        assert loss[member].item() == pytest.approx(metric, rel=1e-12)


def test_log_rmse_pulls_up_what_is_below_the_clamp() -> None:
    """A network starts near 0, and prices are far above 1: without a gradient there it would stay."""
    output = torch.tensor([[[-300.0]], [[0.0]], [[0.999]]], requires_grad=True)
    loss = REGRESSION_LOSSES["log_rmse"](output, torch.full((3, 1, 1), 1e5), None)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    torch.testing.assert_close(gradient, torch.full((3, 1, 1), -1.0))  # d log(x) at x = 1


def test_log_rmse_of_a_perfect_prediction_has_a_finite_gradient() -> None:
    output = torch.full((1, 4, 1), 100.0, requires_grad=True)
    loss = REGRESSION_LOSSES["log_rmse"](output, torch.full((1, 4, 1), 100.0), None)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_cross_entropy_is_stable_for_wild_logits(size: float, smoothing: float) -> None:
    logits = torch.tensor([[[size, 0.0, 0.0]]], requires_grad=True)
    loss = cross_entropy(smoothing)(logits, torch.tensor([[0]]), None)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    if smoothing == 0.0:
        assert loss.item() == pytest.approx(0.0 if size > 0 else -size + np.log(2.0), rel=1e-6)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(
    "loss",
    [*REGRESSION_LOSSES.values(), cross_entropy(), cross_entropy(0.1), cross_entropy(torch.tensor([0.1, 0.0, 0.5]))],
    ids=[*REGRESSION_LOSSES, "ce", "smooth", "own smooth"],
)
def test_the_gradient_is_autograds(loss: Loss, is_weighted: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    output = torch.randn(3, 7, 4, generator=generator)
    is_classes = loss not in REGRESSION_LOSSES.values()
    target = (
        torch.randint(4, (3, 7), generator=generator) if is_classes else torch.rand(3, 7, 4, generator=generator) + 1
    )
    weight = torch.rand(3, 7, generator=generator).round(decimals=1) if is_weighted else None
    if weight is not None:
        weight[1] = 0.0  # a member without rows in this batch
    leaf = output.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf, target, weight).sum(), [leaf])
    torch.testing.assert_close(loss.gradient(output, target, weight), expected)
