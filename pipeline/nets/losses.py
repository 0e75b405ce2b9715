"""What the optimiser minimises: one number per member, so that no member feels another's rows.

`output` is (members, batch, outputs); `target` (members, batch, outputs), or (members, batch) class codes; `weight`
(members, batch) weighs rows, 0 for padding. None weighs all rows alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

SMALLEST_PREDICTION = 1.0  # the clamp of the log_rmse metric


def _mean_over_rows(by_row: Tensor, weight: Tensor | None) -> Tensor:
    """(members, batch) -> (members,) weighted mean; 0 for a member whose rows all weigh nothing."""
    if weight is None:
        return by_row.mean(dim=1)
    return (by_row * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)


def mse(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean squared error."""
    return _mean_over_rows((output - target).square().mean(dim=2), weight)


def mae(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean absolute error."""
    return _mean_over_rows((output - target).abs().mean(dim=2), weight)


def huber(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Huber's loss with delta 1: squared near zero, linear beyond one unit of the (scaled) target."""
    return _mean_over_rows(functional.huber_loss(output, target, reduction="none").mean(dim=2), weight)


def log_rmse(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Root mean squared difference of logs of raw values, outputs clamped to >= 1.

    The clamp is straight-through: below 1 the value is clamped and the gradient is that at 1, so that a network
    that starts near 0 still learns.
    """
    clamped = output + (output.clamp_min(SMALLEST_PREDICTION) - output).detach()
    by_row = (clamped.log() - target.log()).square().mean(dim=2)
    return _mean_over_rows(by_row, weight).clamp_min(1e-24).sqrt()


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy on logits, by log-sum-exp, with an even share `label_smoothing` given to all classes."""

    def loss(output: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        log_probability = functional.log_softmax(output, dim=2)
        by_row = -log_probability.gather(2, target.unsqueeze(2)).squeeze(2)
        if label_smoothing > 0.0:
            by_row = (1.0 - label_smoothing) * by_row - label_smoothing * log_probability.mean(dim=2)
        return _mean_over_rows(by_row, weight)

    return loss


REGRESSION_LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae, "huber": huber, "log_rmse": log_rmse}
