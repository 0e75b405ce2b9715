"""How batches become updates: fused kernels per group of members on a CPU; vectors in captured graphs on CUDA.

Knows the parameters and the plan of a pack; must not know scores or which members leave.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from pipeline.nets import fused
from pipeline.nets.dropout import FusedDropout, PackedDropout
from pipeline.nets.inputs import Gather
from pipeline.nets.mlp_step import MLPStep
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import SCHEDULES, Group, Optimizer, PackedOptimizer, ScheduleName, VectorOptimizer
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.plan import Member, PackData, Plan

WARM_UPS = 3  # runs before a graph is captured, as torch.cuda.graphs recommends


Batches = Iterable[tuple[Tensor, Tensor | None]]  # rows (members, batch) of the flat table; row weights, None for equal


class Steps(ABC):
    """The steps of the members in a pack; rebuilt when members leave."""

    optimizer: Optimizer

    def __init__(
        self,
        network: Network,
        plan: Plan,
        data: PackData,
        members: Sequence[Member],
        parameters: ParameterPack,
        n_steps: Sequence[int],
        moments: Sequence[Tensor] | None,
    ) -> None:
        """Continue after `n_steps` with `moments` in the blocks of `parameters`; None starts."""
        self.plan, self.members, self.parameters = plan, members, parameters
        self.hidden_sizes, self.n_heads = network.hidden_sizes, network.n_heads
        self.y, self.device = data.y.flatten(0, 1), data.y.device
        self.loss = plan.loss.of_members([member.label_smoothing for member in members], self.device)
        self.n_batches = [-(-len(member.train_rows) // plan.batch_size) for member in members]
        largest = min(plan.batch_size, max((len(member.train_rows) for member in members), default=0))
        self.gradients = MLPStep(network, parameters, len(members), largest)
        self.gather = Gather(data.x, len(members) * largest, self.device)
        self.dropout: PackedDropout | None = None
        self._start(n_steps, moments)

    @abstractmethod
    def _start(self, n_steps: Sequence[int], moments: Sequence[Tensor] | None) -> None:
        """Make the optimizer."""

    @abstractmethod
    def _step(self, epoch: int, batch: int, rows: Tensor, weight: Tensor | None) -> None:
        """Update the members that have a batch of this number."""

    def train_epoch(self, epoch: int, batches: Batches, dropout_seeds: Sequence[int]) -> None:
        """Train on the batches; epochs count from 0."""
        if self.dropout is not None:
            self.dropout.restart(dropout_seeds)
        elif any(member.dropout > 0 for member in self.members):
            rates = [member.dropout for member in self.members]
            if fused.is_available(self.device):
                self.dropout = FusedDropout(rates, dropout_seeds, self.device)
            else:
                largest = [min(self.plan.batch_size, len(m.train_rows)) * self.n_heads for m in self.members]
                self.dropout = PackedDropout(rates, dropout_seeds, self.device, largest, self.hidden_sizes)
        for batch, (rows, weight) in enumerate(batches):
            self._step(epoch, batch, rows, weight)

    def differentiate(self, rows: Tensor, weight: Tensor | None) -> None:
        """Fill the gradient of the pack from the batch of `rows` (members, batch)."""
        y = self.y.index_select(0, rows.reshape(-1)).view(*rows.shape, *self.y.shape[1:])
        self.gradients.differentiate(self.gather(rows), y, weight, self.loss, self.dropout)

    def lr(self, member: int, epoch: int, batch: int) -> float:
        """Return a member's learning rate in a step."""
        own, n = self.members[member], self.n_batches[member]
        return own.lr * factor_of_lr(own.schedule, epoch, batch, n, self.plan.epochs)


def factor_of_lr(schedule: ScheduleName, epoch: int, batch: int, n_batches: int, epochs: int) -> float:
    """Return the factor of the learning rate in a step of a member with `n_batches` an epoch."""
    return SCHEDULES[schedule]((epoch * n_batches + batch) / (epochs * n_batches))


class FusedSteps(Steps):
    """torch's fused kernels, one call for adjacent members with equal hyperparameters."""

    optimizer: PackedOptimizer

    def _start(self, n_steps: Sequence[int], moments: Sequence[Tensor] | None) -> None:
        groups: list[Group] = []
        pairs = zip(self.members, self.n_batches, n_steps, strict=True)
        keys = [(member.hyperparameters, member.lr, member.schedule, n, steps) for member, n, steps in pairs]
        for (hyperparameters, *_, steps), same in groupby(keys):
            start = groups[-1].stop if groups else 0
            groups.append(Group(start, start + len(list(same)), hyperparameters, steps))
        self.optimizer = PackedOptimizer(self.plan.update, self.parameters, groups, moments)

    def _step(self, epoch: int, batch: int, rows: Tensor, weight: Tensor | None) -> None:
        self.differentiate(rows, weight)
        for number, group in enumerate(self.optimizer.groups):
            if batch < self.n_batches[group.start]:
                self.optimizer.step(number, self.lr(group.start, epoch, batch))


class VectorSteps(Steps):
    """Hyperparameters as vectors with one value per member; on CUDA a step is one graph, captured once."""

    optimizer: VectorOptimizer

    def _start(self, n_steps: Sequence[int], moments: Sequence[Tensor] | None) -> None:
        hyperparameters = [member.hyperparameters for member in self.members]
        self.optimizer = VectorOptimizer(self.plan.update, self.parameters, hyperparameters, n_steps, moments)

    @cached_property
    def _graphs(self) -> dict[tuple[int, bool], Callable[[Tensor, Tensor | None, Tensor], None]]:
        return {}

    def train_epoch(self, epoch: int, batches: Batches, dropout_seeds: Sequence[int]) -> None:
        """Copy the learning rates of the epoch to the device, then train."""
        schedules = [(m.schedule, n) for m, n in zip(self.members, self.n_batches, strict=True)]
        numbers = range(max(self.n_batches))
        factors = {
            (name, n): [factor_of_lr(name, epoch, min(batch, n - 1), n, self.plan.epochs) for batch in numbers]
            for name, n in set(schedules)
        }
        rates = np.array([factors[one] for one in schedules]).T * [member.lr for member in self.members]
        is_active = np.array(numbers)[:, None] < np.array(self.n_batches)
        # (batches, 2, members): learning rates, and whether a member steps
        self._rates = torch.from_numpy(np.stack([rates, is_active], axis=1).astype(np.float32)).to(self.device)
        super().train_epoch(epoch, batches, dropout_seeds)

    def _step(self, epoch: int, batch: int, rows: Tensor, weight: Tensor | None) -> None:  # noqa: ARG002
        rates = self._rates[batch]
        if self.device.type != "cuda" or self.gather.table.device != self.device:
            self._update(rows, weight, rates)
            return
        key = (rows.shape[1], weight is not None)
        if key not in self._graphs:
            self._graphs[key] = self._captured(rows, weight, rates)
        self._graphs[key](rows, weight, rates)

    def _update(self, rows: Tensor, weight: Tensor | None, rates: Tensor) -> None:
        self.differentiate(rows, weight)
        self.optimizer.step(rates[0], rates[1])

    def _captured(
        self, rows: Tensor, weight: Tensor | None, rates: Tensor
    ) -> Callable[[Tensor, Tensor | None, Tensor], None]:
        """Capture a step of these shapes as a graph; undo what the warm-up changes."""
        rows, weight, rates = rows.clone(), None if weight is None else weight.clone(), rates.clone()
        changed = [self.parameters.buffer, self.parameters.gradient, *self.optimizer.state()]
        before = [tensor.clone() for tensor in changed]
        go_back = self.dropout.mark() if self.dropout is not None else lambda: None
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._update(rows, weight, rates)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if self.dropout is not None:
            self.dropout.register(graph)
        with torch.cuda.graph(graph):
            self._update(rows, weight, rates)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        go_back()

        def replay(*values: Tensor | None) -> None:
            for place, value in zip((rows, weight, rates), values, strict=True):
                if place is not None and value is not None:
                    place.copy_(value)
            graph.replay()

        return replay


def steps_class(device: torch.device) -> type[Steps]:
    """Return the faster kind of steps on the device."""
    return FusedSteps if device.type == "cpu" else VectorSteps
