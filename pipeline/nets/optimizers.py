"""Packed optimisers and schedules: torch's update formulas with every number a member's own.

Knows a `ParameterPack`'s blocks and gradient; knows nothing of networks or losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from pipeline.nets.parameters import ParameterPack, blocks_of

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "cosine_log"]

WARM_UP_SHARE = 0.3  # of all steps; with the two factors below, torch's OneCycleLR defaults
START_FACTOR = 1 / 25
END_FACTOR = START_FACTOR / 1e4
LOG_CYCLES = 4  # of "cosine_log", as in "Better by Default" (NeurIPS 2024)
EPS = 1e-8


@dataclass(frozen=True)
class Update:
    """The formula that all members share."""

    name: OptimizerName = "adamw"
    has_momentum: bool = False  # of sgd
    decays_biases: bool = False

    @property
    def n_moments(self) -> int:
        """Buffers as large as the parameters that the update keeps."""
        return 2 if self.name != "sgd" else int(self.has_momentum)


@dataclass(frozen=True)
class UpdateNumbers:
    """A member's own numbers in it, beside its learning rate, which changes step by step."""

    weight_decay: float = 0.0
    momentum: float = 0.0  # of sgd, where the update has it
    betas: tuple[float, float] = (0.9, 0.999)  # of adam and adamw


@dataclass(frozen=True)
class Group:
    """Members start..stop-1 of a pack, which have the same numbers and always step together."""

    start: int
    stop: int
    numbers: UpdateNumbers
    n_steps: int = 0  # taken before


class PackedOptimizer:
    """SGD with momentum, Adam (weight decay in the gradient) or AdamW (decoupled), group by group of members.

    Weight decay touches weights only, unless `decays_biases`. A group that is not stepped stays as it was.
    """

    def __init__(
        self,
        update: Update,
        parameters: ParameterPack,
        groups: Sequence[Group],
        moments: Sequence[Tensor] | None = None,
    ) -> None:
        self.update, self.parameters, self.groups = update, parameters, groups
        self.moments = _moments(update, parameters, moments)
        self._steps = [torch.tensor(float(group.n_steps), device=parameters.buffer.device) for group in groups]
        self._parts = [self._parts_of(group) for group in groups]

    def n_steps(self) -> list[int]:
        """Steps taken by each member."""
        return [int(step) for g, step in zip(self.groups, self._steps, strict=True) for _ in range(g.start, g.stop)]

    def moment_rows(self) -> list[Tensor]:
        """Each moment as (members, numbers)."""
        return _moment_rows(self.parameters, self.moments)

    @torch.no_grad()
    def step(self, number: int, lr: float) -> None:
        """One update of the members of group `number` from the gradient."""
        steps, numbers = self._steps[number], self.groups[number].numbers
        steps += 1
        for weight_decay, parameters, gradients, moments in self._parts[number]:
            if self.update.name == "sgd":
                momentum = numbers.momentum if moments else 0.0
                sgd(
                    parameters,
                    gradients,
                    [*moments[0]] if momentum > 0 else [None] * len(parameters),
                    fused=True,
                    weight_decay=weight_decay,
                    momentum=momentum,
                    lr=lr,
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                )
                continue
            if self.update.name == "adam" and weight_decay > 0:
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    gradient.add_(parameter, alpha=weight_decay)
            decoupled = weight_decay if self.update.name == "adamw" else 0.0
            _adamw()(parameters, gradients, moments, steps, lr, numbers.betas, decoupled)

    def _parts_of(self, group: Group) -> list[tuple[float, list[Tensor], list[Tensor], list[list[Tensor]]]]:
        """(weight decay, parameters, gradients, moments) of the group's decayed and undecayed blocks."""
        infos, members = self.parameters.infos, slice(group.start, group.stop)
        n_members = self.parameters.buffer.numel() // sum(math.prod(info.shape) for info in infos.values())
        moments = [blocks_of(infos, moment, n_members) for moment in self.moments]
        decayed = [name for name, info in infos.items() if info.is_weight or self.update.decays_biases]
        undecayed = [name for name in infos if name not in decayed]
        if group.numbers.weight_decay == 0.0:
            decayed, undecayed = [*infos], []
        return [
            (
                weight_decay,
                [self.parameters.views[name][members].detach() for name in names],
                [self.parameters.gradients[name][members] for name in names],
                [[moment[name][members] for name in names] for moment in moments],
            )
            for weight_decay, names in ((group.numbers.weight_decay, decayed), (0.0, undecayed))
            if names
        ]


def _fused_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    moments: Sequence[list[Tensor]],
    steps: Tensor,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of AdamW by torch's private kernel; `steps` counts this one."""
    torch._fused_adamw_(
        parameters,
        gradients,
        moments[0],
        moments[1],
        [],
        [steps] * len(parameters),
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=EPS,
        amsgrad=False,
        maximize=False,
    )


def _plain_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    moments: Sequence[list[Tensor]],
    steps: Tensor,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """The same by torch's public function, which takes 11 microseconds longer for each group of members."""
    adamw(
        parameters,
        gradients,
        moments[0],
        moments[1],
        [],
        [steps - 1 for _ in parameters],  # each is counted up
        foreach=False,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=weight_decay,
        eps=EPS,
        maximize=False,
    )


@cache
def _adamw() -> Callable[..., None]:
    """The fused kernel where this torch has it and it works as it is called here, else the public function."""
    one, zero = torch.ones(1), torch.zeros(1)
    try:
        _fused_adamw([one], [torch.ones(1)], [[zero], [zero.clone()]], torch.ones(()), 0.5, (0.9, 0.999), 0.0)
    except (AttributeError, RuntimeError, TypeError):
        return _plain_adamw
    return _fused_adamw if abs(one.item() - 0.5) < 1e-5 else _plain_adamw


class VectorOptimizer:
    """The same updates with every number a vector (members,): one step for all, of plain tensor operations.

    An idle member stays as it was. Nothing waits for the device: a step can be captured in a graph.
    """

    def __init__(
        self,
        update: Update,
        parameters: ParameterPack,
        numbers: Sequence[UpdateNumbers],
        n_steps: Sequence[int],
        moments: Sequence[Tensor] | None = None,
    ) -> None:
        self.update, self.parameters = update, parameters
        device = parameters.buffer.device

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]  # (members, 1)

        self.weight_decay = column([own.weight_decay for own in numbers])
        # what is left of a beta is taken in double precision: of 0.999 itself float32 keeps too few digits of 0.001
        self._momentum_rest = column([1.0 - own.momentum for own in numbers])
        self._beta_rests = [column([1.0 - own.betas[i] for own in numbers]) for i in (0, 1)]
        self._log_betas = [column([math.log(own.betas[i]) for own in numbers]) for i in (0, 1)]
        self._steps = torch.tensor(n_steps, dtype=torch.float32, device=device)
        self.moments = _moments(update, parameters, moments)

    def n_steps(self) -> list[int]:
        """Steps taken by each member."""
        return [int(step) for step in self._steps.tolist()]

    def moment_rows(self) -> list[Tensor]:
        """Each moment as (members, numbers)."""
        return _moment_rows(self.parameters, self.moments)

    def state(self) -> list[Tensor]:
        """What a step changes beside the parameters."""
        return [*self.moments, self._steps]

    @torch.no_grad()
    def step(self, lr: Tensor, is_active: Tensor) -> None:
        """One update from the gradient; lr (members,), is_active (members,) of 0.0, for the idle, and 1.0."""
        infos, n_members = self.parameters.infos, len(lr)
        self._steps += is_active
        blocks = [blocks_of(infos, moment, n_members) for moment in self.moments]
        for name, info in infos.items():
            decays = info.is_weight or self.update.decays_biases
            self._step_block(
                self.parameters.views[name].detach().flatten(1),
                self.parameters.gradients[name].flatten(1),
                [block[name].flatten(1) for block in blocks],
                (lr * is_active)[:, None],
                is_active[:, None],
                self.weight_decay if decays else None,
            )

    def _step_block(
        self,
        p: Tensor,
        g: Tensor,
        moments: Sequence[Tensor],
        lr: Tensor,
        is_active: Tensor,
        decay: Tensor | None,
    ) -> None:
        """p, g and moments (members, numbers); lr, is_active and decay (members, 1)."""
        g = torch.where(is_active > 0, g, 0.0)  # an idle member's may be anything
        if decay is not None and self.update.name != "adamw":
            g = torch.addcmul(g, p, decay)
        if self.update.name == "sgd":
            if moments:  # torch's first step takes the gradient as it is: the moment starts at 0
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


def _moments(update: Update, parameters: ParameterPack, moments: Sequence[Tensor] | None) -> list[Tensor]:
    if moments is not None:
        return list(moments)
    return [torch.zeros_like(parameters.buffer) for _ in range(update.n_moments)]


def _moment_rows(parameters: ParameterPack, moments: Sequence[Tensor]) -> list[Tensor]:
    n_members = len(next(iter(parameters.views.values())))
    blocks = [blocks_of(parameters.infos, moment, n_members) for moment in moments]
    return [torch.cat([block.flatten(1) for block in one.values()], dim=1) for one in blocks]


def _constant(_: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _one_cycle(progress: float) -> float:
    if progress < WARM_UP_SHARE:
        return START_FACTOR + (1.0 - START_FACTOR) * _cosine(1.0 - progress / WARM_UP_SHARE)
    return END_FACTOR + (1.0 - END_FACTOR) * _cosine((progress - WARM_UP_SHARE) / (1.0 - WARM_UP_SHARE))


def _cosine_log(progress: float) -> float:
    """Cycles from 0 up and back that get longer."""
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + (2.0**LOG_CYCLES - 1.0) * progress)))


# share of the steps done, in [0, 1) -> factor of the learning rate
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "cosine_log": _cosine_log,
}
