"""Packed optimisers and schedules: torch.optim's updates with one learning rate and weight decay per member.

Knows a `ParameterPack`'s matrix and gradient; knows nothing of networks or losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pipeline.nets.networks import ParameterPack

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "one_cycle"]

WARM_UP_SHARE = 0.3  # of all steps; with the two factors below, torch's OneCycleLR defaults
START_FACTOR = 1 / 25
END_FACTOR = START_FACTOR / 1e4


class PackedOptimizer:
    """SGD with momentum, Adam (weight decay in the gradient) or AdamW (decoupled), for all members at once.

    `weight_decay` is (members,). It touches weights only unless `decays_biases`. Members that are not `active` in a
    step are left as they were: parameters, moments and step count.
    """

    def __init__(
        self,
        name: OptimizerName,
        parameters: ParameterPack,
        weight_decay: Tensor,
        *,
        momentum: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decays_biases: bool = False,
    ) -> None:
        self.name, self.momentum, self.betas, self.eps = name, momentum, betas, eps
        self.parameters, self.weight_decay = parameters, weight_decay
        self.decayed = torch.ones_like(parameters.matrix[0]) if decays_biases else parameters.is_weight().float()
        self.n_steps = torch.zeros(len(weight_decay), device=weight_decay.device)
        n_moments = 2 if name != "sgd" else int(momentum > 0)
        self.moments = [torch.zeros_like(parameters.matrix) for _ in range(n_moments)]
        self._buffer = torch.empty_like(parameters.matrix)
        self._weight_decay_matrix = self._decay_matrix()

    def keep(self, parameters: ParameterPack, positions: Tensor) -> None:
        """Follow the pack after members have left it."""
        self.parameters = parameters
        self.weight_decay = self.weight_decay.index_select(0, positions)
        self.n_steps = self.n_steps.index_select(0, positions)
        self.moments = [moment.index_select(0, positions) for moment in self.moments]
        self._buffer = torch.empty_like(parameters.matrix)
        self._weight_decay_matrix = self._decay_matrix()

    def _decay_matrix(self) -> Tensor | None:
        """(members, numbers) decay of every number; None when nothing decays."""
        return self.weight_decay[:, None] * self.decayed if bool((self.weight_decay > 0).any()) else None

    @torch.no_grad()
    def step(self, lr: Tensor, active: Tensor | None = None) -> None:
        """One update from `parameters.gradient`. lr (members,); active (members,) bool, None when all are."""
        if active is None:
            self._update(lr)
            return
        kept = [self.parameters.matrix, self.n_steps, *self.moments]
        before = [tensor.clone() for tensor in kept]
        self._update(lr)
        idle = ~active
        for tensor, old in zip(kept, before, strict=True):
            tensor[idle] = old[idle]

    def _update(self, lr: Tensor) -> None:
        matrix, gradient, decay = self.parameters.matrix, self.parameters.gradient, self._weight_decay_matrix
        self.n_steps += 1
        column = lr[:, None]
        if decay is not None and self.name == "adamw":
            matrix.sub_(torch.mul(matrix, decay, out=self._buffer).mul_(column))
        elif decay is not None:
            gradient.addcmul_(matrix, decay)
        if self.name == "sgd":
            if self.moments:
                gradient = self.moments[0].mul_(self.momentum).add_(gradient)
            matrix.sub_(torch.mul(gradient, column, out=self._buffer))
            return
        first, second = self.moments
        beta1, beta2 = self.betas
        first.lerp_(gradient, 1.0 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        correction1 = -torch.expm1(self.n_steps * math.log(beta1))  # 1 - beta1**n; float32 would lose 4 digits of
        correction2 = (-torch.expm1(self.n_steps * math.log(beta2))).sqrt()  # 1 - 0.999**1 by subtraction
        denominator = torch.sqrt(second, out=self._buffer).div_(correction2[:, None]).add_(self.eps)
        matrix.sub_(torch.div(first, denominator, out=self._buffer).mul_((lr / correction1)[:, None]))


def _constant(progress: Tensor) -> Tensor:
    return torch.ones_like(progress)


def _cosine(progress: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.cos(math.pi * progress))


def _one_cycle(progress: Tensor) -> Tensor:
    rise = START_FACTOR + (1.0 - START_FACTOR) * _cosine(1.0 - progress / WARM_UP_SHARE)
    fall = END_FACTOR + (1.0 - END_FACTOR) * _cosine((progress - WARM_UP_SHARE) / (1.0 - WARM_UP_SHARE))
    return torch.where(progress < WARM_UP_SHARE, rise, fall)


# share of the steps done, in [0, 1) -> factor of the learning rate
SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
