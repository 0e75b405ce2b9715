"""Training losses: one number per member, so that members do not affect each other. Must not know networks.

`output` is (members, batch, outputs); `target` likewise, or (members, batch) class codes; `weight`
(members, batch) holds row weights, 0 for padding, or is None for equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LossFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]

SMALLEST_PREDICTION = 1.0  # the clamp of the log_rmse metric


@dataclass(frozen=True)
class Loss:
    """A loss per member, and its derivative with respect to the output: by hand where that is short, else autograd."""

    function: LossFunction
    derivative: LossFunction | None = None
    smoothed: Callable[[Tensor], Loss] | None = None  # for classes: label smoothing (members,) -> the loss with it

    def of_members(self, label_smoothing: Sequence[float], device: torch.device) -> Loss:
        """Return the loss with each member's label smoothing, which regression losses ignore."""
        if self.smoothed is None or not any(label_smoothing):
            return self
        return self.smoothed(torch.tensor(label_smoothing, device=device))

    def __call__(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the loss of each member (members,)."""
        return self.function(output, target, weight)

    @torch.no_grad()
    def gradient(self, output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the derivative of the sum of the members' losses (members, batch, outputs)."""
        if self.derivative is not None:
            return self.derivative(output, target, weight)
        with torch.enable_grad():
            leaf = output.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.function(leaf, target, weight).sum(), [leaf])
        return gradient.contiguous()


def _mean_over_rows(by_row: Tensor, weight: Tensor | None) -> Tensor:
    """(members, batch) -> (members,) weighted mean; 0 for a member whose weights are all 0."""
    if weight is None:
        return by_row.mean(dim=1)
    return (by_row * weight).sum(dim=1) / _total(weight)[:, 0]


def _total(weight: Tensor) -> Tensor:
    return weight.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def _share_of_mean(by_row: Tensor, weight: Tensor | None) -> Tensor:
    """Multiply by_row (members, batch, outputs) by the derivative of `_mean_over_rows`, in place."""
    if weight is None:
        return by_row.mul_(1.0 / by_row.shape[1])
    return by_row.mul_((weight / _total(weight))[:, :, None])


def _squared_error(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean_over_rows((output - target).square().mean(dim=2), weight)


def _squared_error_derivative(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _share_of_mean((output - target).mul_(2.0 / output.shape[2]), weight)


def _absolute_error(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean_over_rows((output - target).abs().mean(dim=2), weight)


def _huber(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    return _mean_over_rows(functional.huber_loss(output, target, reduction="none").mean(dim=2), weight)


def _log_rmse(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Root mean squared difference of logs, with outputs clamped to >= 1.

    The clamp is straight-through: below 1 the gradient is that at 1, so that a network that starts near 0 still learns.
    """
    clamped = output + (output.clamp_min(SMALLEST_PREDICTION) - output).detach()
    by_row = (clamped.log() - target.log()).square().mean(dim=2)
    return _mean_over_rows(by_row, weight).clamp_min(1e-24).sqrt()


def cross_entropy(label_smoothing: float | Tensor = 0.0) -> Loss:
    """Cross-entropy of logits. `label_smoothing` is one number or (members,)."""
    by_row_share = label_smoothing[:, None] if isinstance(label_smoothing, Tensor) else label_smoothing
    share = by_row_share[:, :, None] if isinstance(by_row_share, Tensor) else by_row_share
    is_smoothed = isinstance(label_smoothing, Tensor) or label_smoothing > 0.0

    def function(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        log_probability = functional.log_softmax(output, dim=2)
        by_row = -log_probability.gather(2, target.unsqueeze(2)).squeeze(2)
        if is_smoothed:
            by_row = (1.0 - by_row_share) * by_row - by_row_share * log_probability.mean(dim=2)
        return _mean_over_rows(by_row, weight)

    def derivative(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        gradient = functional.softmax(output, dim=2).sub_(share / output.shape[2])
        of_target = torch.zeros_like(gradient[:, :, :1]).add_(share - 1.0)
        return _share_of_mean(gradient.scatter_add_(2, target.unsqueeze(2), of_target), weight)

    return Loss(function, derivative, cross_entropy)


def binary_cross_entropy(label_smoothing: float | Tensor = 0.0) -> Loss:
    """Mean over the outputs of each one's cross-entropy: logits of the second of two classes, targets 0 or 1."""
    share = label_smoothing[:, None, None] if isinstance(label_smoothing, Tensor) else label_smoothing

    def smoothed(target: Tensor) -> Tensor:
        return target * (1.0 - share) + 0.5 * share

    def function(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        by_output = functional.binary_cross_entropy_with_logits(output, smoothed(target), reduction="none")
        return _mean_over_rows(by_output.mean(dim=2), weight)

    def derivative(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        return _share_of_mean((output.sigmoid() - smoothed(target)).mul_(1.0 / output.shape[2]), weight)

    return Loss(function, derivative, binary_cross_entropy)


mse = Loss(_squared_error, _squared_error_derivative)
mae = Loss(_absolute_error)
huber = Loss(_huber)  # delta 1: linear beyond one unit of the scaled target
log_rmse = Loss(_log_rmse)

REGRESSION_LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae, "huber": huber, "log_rmse": log_rmse}
