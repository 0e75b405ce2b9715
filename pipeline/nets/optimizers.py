"""Packed optimisers and schedules: torch's update formulas, with hyperparameters of each member's own.

Knows the blocks and the gradient of a `ParameterPack`; must not know networks or losses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from pipeline.nets import fused
from pipeline.nets.parameters import ParameterPack, blocks_of

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "cosine_log"]

WARM_UP_SHARE = 0.3  # of all steps; this and the two factors are the defaults of torch's OneCycleLR
START_FACTOR = 1 / 25
END_FACTOR = START_FACTOR / 1e4
LOG_CYCLES = 4  # of "cosine_log", as in "Better by Default" (NeurIPS 2024)
EPS = 1e-8


@dataclass(frozen=True)
class Update:
    """The update rule of a pack: SGD, Adam (weight decay in the gradient) or AdamW (decoupled)."""

    name: OptimizerName = "adamw"
    has_momentum: bool = False  # of sgd
    decays_biases: bool = False  # else only weights decay

    @property
    def n_moments(self) -> int:
        """Buffers of the size of the parameters."""
        return 2 if self.name != "sgd" else int(self.has_momentum)


@dataclass(frozen=True)
class Hyperparameters:
    """A member's own, apart from its learning rate, which changes at every step."""

    weight_decay: float = 0.0
    momentum: float = 0.0  # of sgd, if the rule has it
    betas: tuple[float, float] = (0.9, 0.999)  # of adam and adamw


@dataclass(frozen=True)
class Group:
    """Adjacent members start..stop-1 that have equal hyperparameters and always step together."""

    start: int
    stop: int
    hyperparameters: Hyperparameters
    n_steps: int = 0  # taken before


class Optimizer(ABC):
    """The state of a pack's updates."""

    def __init__(self, update: Update, parameters: ParameterPack, moments: Sequence[Tensor] | None) -> None:
        """Continue from `moments` in the blocks of `parameters`, or start from 0."""
        self.update, self.parameters = update, parameters
        self.n_members = len(next(iter(parameters.views.values())))
        if moments is None:
            moments = [torch.zeros_like(parameters.buffer) for _ in range(update.n_moments)]
        self.moments = moments
        self._blocks = [blocks_of(parameters.infos, moment, self.n_members) for moment in self.moments]

    @abstractmethod
    def n_steps(self) -> list[int]:
        """Count the steps of each member."""

    def moment_rows(self) -> list[Tensor]:
        """Copy each moment as (members, numbers)."""
        return [torch.cat([block.flatten(1) for block in blocks.values()], dim=1) for blocks in self._blocks]


class PackedOptimizer(Optimizer):
    """Steps group by group with torch's fused kernels. A group that is not stepped stays unchanged."""

    def __init__(
        self,
        update: Update,
        parameters: ParameterPack,
        groups: Sequence[Group],
        moments: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(update, parameters, moments)
        self.groups = groups
        self._steps = [torch.tensor(float(group.n_steps), device=parameters.buffer.device) for group in groups]
        self._parts = [self._parts_of(group) for group in groups]

    def n_steps(self) -> list[int]:
        """Count the steps of each member."""
        return [int(step) for g, step in zip(self.groups, self._steps, strict=True) for _ in range(g.start, g.stop)]

    @torch.no_grad()
    def step(self, number: int, lr: float) -> None:
        """Update the members of group `number` from the gradient."""
        steps, own = self._steps[number], self.groups[number].hyperparameters
        steps += 1
        for weight_decay, parameters, gradients, moments in self._parts[number]:
            if self.update.name == "sgd":
                momentum = own.momentum if moments else 0.0
                buffers = [*moments[0]] if momentum > 0 else [None] * len(parameters)
                _sgd(parameters, gradients, buffers, lr=lr, momentum=momentum, weight_decay=weight_decay)
                continue
            if self.update.name == "adam" and weight_decay > 0:
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    gradient.add_(parameter, alpha=weight_decay)
            decay = weight_decay if self.update.name == "adamw" else 0.0
            beta1, beta2 = own.betas
            _adamw()(parameters, gradients, moments, steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay)

    def _parts_of(self, group: Group) -> list[tuple[float, list[Tensor], list[Tensor], list[list[Tensor]]]]:
        """(weight decay, parameters, gradients, moments) of the group's decayed and other blocks."""
        infos, members = self.parameters.infos, slice(group.start, group.stop)
        weight_decay = group.hyperparameters.weight_decay
        decayed = [name for name, info in infos.items() if info.is_weight or self.update.decays_biases]
        others = [name for name in infos if name not in decayed]
        if weight_decay == 0.0:
            decayed, others = [*infos], []
        return [
            (
                decay,
                [self.parameters.views[name][members].detach() for name in names],
                [self.parameters.gradients[name][members] for name in names],
                [[blocks[name][members] for name in names] for blocks in self._blocks],
            )
            for decay, names in ((weight_decay, decayed), (0.0, others))
            if names
        ]


Tensors = list[Tensor]
_sgd: Callable[..., None] = partial(sgd, dampening=0.0, nesterov=False, maximize=False, fused=True)


def _fused_adamw(p: Tensors, g: Tensors, m: Sequence[Tensors], steps: Tensor, **numbers: Any) -> None:
    """Step AdamW by torch's private kernel; `steps` includes this step."""
    torch._fused_adamw_(p, g, m[0], m[1], [], [steps] * len(p), **numbers, eps=EPS, amsgrad=False, maximize=False)


def _plain_adamw(p: Tensors, g: Tensors, m: Sequence[Tensors], steps: Tensor, **numbers: Any) -> None:
    """Step AdamW by torch's public function, which takes 11 microseconds more per group."""
    counts = [steps - 1 for _ in p]  # it increments them
    adamw(p, g, m[0], m[1], [], counts, foreach=False, **numbers, eps=EPS, amsgrad=False, maximize=False)


@cache
def _adamw() -> Callable[..., None]:
    """Return the fused step if this torch has the kernel with the expected arguments and result, else the plain one."""
    one, zeros, numbers = torch.ones(1), torch.zeros(2, 1), {"lr": 0.5, "beta1": 0.9, "beta2": 0.999}
    try:
        _fused_adamw([one], [torch.ones(1)], [[zeros[0]], [zeros[1]]], torch.ones(()), **numbers, weight_decay=0.0)
    except (AttributeError, RuntimeError, TypeError):
        return _plain_adamw
    return _fused_adamw if abs(one.item() - 0.5) < 1e-5 else _plain_adamw


class VectorOptimizer(Optimizer):
    """Steps all members at once by tensor operations, with every hyperparameter a vector (members,).

    An idle member stays unchanged. Nothing synchronises with the device, so a step can be captured in a graph.
    """

    def __init__(
        self,
        update: Update,
        parameters: ParameterPack,
        hyperparameters: Sequence[Hyperparameters],
        n_steps: Sequence[int],
        moments: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(update, parameters, moments)
        device = parameters.buffer.device

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]  # (members, 1)

        self._weight_decay = column([own.weight_decay for own in hyperparameters])
        # 1 - beta is computed in double precision: float32 keeps too few digits of 1 - 0.999
        self._momentum_rest = column([1.0 - own.momentum for own in hyperparameters])
        self._beta_rests = [column([1.0 - own.betas[i] for own in hyperparameters]) for i in (0, 1)]
        self._log_betas = [column([math.log(own.betas[i]) for own in hyperparameters]) for i in (0, 1)]
        self._steps = torch.tensor(n_steps, dtype=torch.float32, device=device)

    def n_steps(self) -> list[int]:
        """Count the steps of each member."""
        return [int(step) for step in self._steps.tolist()]

    def state(self) -> list[Tensor]:
        """Return what a step changes apart from the parameters."""
        return [*self.moments, self._steps]

    @torch.no_grad()
    def step(self, lr: Tensor, is_active: Tensor) -> None:
        """Update from the gradient; lr (members,), is_active (members,) 1.0 or, for idle members, 0.0."""
        self._steps += is_active
        if self.update.name != "sgd" and fused.is_available(lr.device):
            self._fused_step(lr, is_active)
            return
        for name, info in self.parameters.infos.items():
            decays = info.is_weight or self.update.decays_biases
            self._step_block(
                self.parameters.views[name].detach().flatten(1),
                self.parameters.gradients[name].flatten(1),
                [blocks[name].flatten(1) for blocks in self._blocks],
                (lr * is_active)[:, None],
                is_active[:, None],
                self._weight_decay if decays else None,
            )

    def _fused_step(self, lr: Tensor, is_active: Tensor) -> None:
        """Step Adam or AdamW by one kernel per block."""
        steps = self._steps.clamp_min(1.0)
        bias1, bias2 = (-torch.expm1(steps * log_beta[:, 0]) for log_beta in self._log_betas)  # 1 - beta^steps
        rate, inverse_root, zero = lr / bias1, bias2.rsqrt(), torch.zeros_like(lr)
        decay, keep = self._weight_decay[:, 0], torch.ones_like(lr)
        if self.update.name == "adamw":
            decay, keep = zero, 1.0 - lr * decay
        first, second = self._beta_rests
        for name, info in self.parameters.infos.items():
            decays = info.is_weight or self.update.decays_biases
            moments = [blocks[name].flatten(1) for blocks in self._blocks]
            fused.adam_step(
                self.parameters.views[name].detach().flatten(1),
                self.parameters.gradients[name].flatten(1),
                (moments[0], moments[1]),
                rate=rate,
                is_active=is_active,
                keep=keep if decays else 1.0 + zero,
                decay=decay if decays else zero,
                rests=(first[:, 0], second[:, 0]),
                inverse_root=inverse_root,
                eps=EPS,
            )

    def _step_block(
        self, p: Tensor, g: Tensor, moments: Sequence[Tensor], lr: Tensor, is_active: Tensor, decay: Tensor | None
    ) -> None:
        """p, g and moments (members, numbers); lr, is_active and decay (members, 1)."""
        g = torch.where(is_active > 0, g, 0.0)  # the gradient of an idle member is undefined
        if decay is not None and self.update.name != "adamw":
            g = torch.addcmul(g, p, decay)
        if self.update.name == "sgd":
            if moments:  # torch's first step uses the plain gradient: the moment starts at 0
                moments[0].add_((g - moments[0] * self._momentum_rest) * is_active)
                g = moments[0]
            p.sub_(g * lr)
            return
        if decay is not None and self.update.name == "adamw":
            p.mul_(1.0 - lr * decay)
        first, second = moments
        first.add_((g - first) * (self._beta_rests[0] * is_active))
        second.add_((g * g - second) * (self._beta_rests[1] * is_active))
        steps = self._steps.clamp_min(1.0)[:, None]
        bias1, bias2 = (-torch.expm1(steps * log_beta) for log_beta in self._log_betas)  # 1 - beta^steps
        p.sub_(first * (lr / bias1) / ((second / bias2).sqrt() + EPS))


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _one_cycle(progress: float) -> float:
    if progress < WARM_UP_SHARE:
        return START_FACTOR + (1.0 - START_FACTOR) * _cosine(1.0 - progress / WARM_UP_SHARE)
    return END_FACTOR + (1.0 - END_FACTOR) * _cosine((progress - WARM_UP_SHARE) / (1.0 - WARM_UP_SHARE))


def _cosine_log(progress: float) -> float:
    """Cycles of growing length, each from 0 to 1 and back."""
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + (2.0**LOG_CYCLES - 1.0) * progress)))


# share of the steps done, in [0, 1) -> factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "cosine_log": _cosine_log,
}
