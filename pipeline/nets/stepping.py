"""How batches become updates: fused kernels, group by group of members, on a CPU; vectors in captured graphs on CUDA.

Knows a pack's parameters and plan; knows nothing of scores or of who leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.base.interruption import Stopped
from pipeline.nets.dropout import PackedDropout
from pipeline.nets.inputs import Gather
from pipeline.nets.mlp_step import MLPStep
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import SCHEDULES, Group, PackedOptimizer, VectorOptimizer
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.plan import Member, PackData, Plan

WARM_UPS = 3  # runs before a graph is captured, as torch.cuda.graphs asks for


@dataclass(frozen=True)
class Epoch:
    """What one pass is made of."""

    number: int  # from 0
    rows: Tensor  # (members, batches x batch size) of the flat table
    weight: Tensor | None  # of the same shape; None where nothing is padded
    is_padded: NDArray[np.bool_]  # (batches,)
    dropout_seeds: Sequence[int] | None  # of the members' masks; None when nobody drops
    should_stop: Callable[[], bool] = lambda: False  # asked before every batch; the epoch is lost then

    def batch_weight(self, batch: int, columns: slice) -> Tensor | None:
        """The weights of a batch that needs them."""
        return self.weight[:, columns] if self.weight is not None and self.is_padded[batch] else None


class Steps(Protocol):
    """The steps of those who are in a pack; made anew when members leave."""

    def train_epoch(self, epoch: Epoch) -> None:
        """One pass of every member over its own rows."""
        ...

    def n_steps(self) -> list[int]:
        """Steps taken by each member."""
        ...

    def moment_rows(self) -> list[Tensor]:
        """Each of the optimiser's moments as (members, numbers)."""
        ...


def make_steps(
    network: Network,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    parameters: ParameterPack,
    n_steps: Sequence[int],
    moments: Sequence[Tensor] | None,
) -> Steps:
    """The fit way for the device. `n_steps` and `moments` (as blocks) were taken before."""
    kind = FusedSteps if parameters.buffer.device.type == "cpu" else VectorSteps
    return kind(network, plan, data, members, parameters, n_steps, moments)


class _Batches:
    """Gradients batch by batch, from buffers that are made once."""

    def __init__(
        self, network: Network, plan: Plan, data: PackData, members: Sequence[Member], parameters: ParameterPack
    ) -> None:
        self.plan, self.members, self.y = plan, members, data.y.flatten(0, 1)
        self.loss = plan.loss.of_members([member.label_smoothing for member in members], data.y.device)
        self.hidden_sizes = network.hidden_sizes
        self.n_heads = network.n_heads
        self.n_batches = [-(-len(member.train_rows) // plan.batch_size) for member in members]
        widest = min(plan.batch_size, max((len(member.train_rows) for member in members), default=0))
        self.step = MLPStep(network, parameters, len(members), widest)
        self.gather = Gather(data.x, len(members) * widest, data.y.device)

    def differentiate(self, rows: Tensor, weight: Tensor | None, dropout: PackedDropout | None) -> None:
        """Fill the pack's gradient from the batch of `rows` (members, batch)."""
        y = self.y.index_select(0, rows.reshape(-1)).view(*rows.shape, *self.y.shape[1:])
        self.step.differentiate(self.gather(rows), y, weight, self.loss, dropout)

    def dropout(self, seeds: Sequence[int]) -> PackedDropout:
        """The masks of an epoch."""
        rates = [member.dropout for member in self.members]
        largest = [min(self.plan.batch_size, len(m.train_rows)) * self.n_heads for m in self.members]
        return PackedDropout(rates, seeds, self.y.device, largest, self.hidden_sizes)

    def columns(self, batch: int) -> slice:
        """Of an epoch's rows, those of one batch."""
        return slice(batch * self.plan.batch_size, (batch + 1) * self.plan.batch_size)

    def lr(self, member: int, epoch: int, batch: int) -> float:
        """A member's learning rate in a step."""
        own, n = self.members[member], self.n_batches[member]
        return own.lr * SCHEDULES[own.schedule]((epoch * n + batch) / (self.plan.epochs * n))


class FusedSteps(_Batches):
    """torch's fused kernels, one call for members with the same numbers."""

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
        super().__init__(network, plan, data, members, parameters)
        groups: list[Group] = []
        keys = [
            (m.update_numbers, m.lr, m.schedule, n, t) for m, n, t in zip(members, self.n_batches, n_steps, strict=True)
        ]
        for (numbers, *_, steps), same in groupby(keys):
            start = groups[-1].stop if groups else 0
            groups.append(Group(start, start + len(list(same)), numbers, steps))
        self.optimizer = PackedOptimizer(plan.update, parameters, groups, moments)
        self.n_steps, self.moment_rows = self.optimizer.n_steps, self.optimizer.moment_rows

    def train_epoch(self, epoch: Epoch) -> None:
        """See `Steps`."""
        dropout = None if epoch.dropout_seeds is None else self.dropout(epoch.dropout_seeds)
        for batch in range(max(self.n_batches)):
            if epoch.should_stop():
                raise Stopped
            columns = self.columns(batch)
            self.differentiate(epoch.rows[:, columns], epoch.batch_weight(batch, columns), dropout)
            for number, group in enumerate(self.optimizer.groups):
                if batch < self.n_batches[group.start]:
                    self.optimizer.step(number, self.lr(group.start, epoch.number, batch))


class VectorSteps(_Batches):
    """Every number of the update as a vector with one value a member; on CUDA a step is one graph, captured once."""

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
        super().__init__(network, plan, data, members, parameters)
        self.parameters, self.device = parameters, data.y.device
        numbers = [member.update_numbers for member in members]
        self.optimizer = VectorOptimizer(plan.update, parameters, numbers, n_steps, moments)
        self.n_steps, self.moment_rows = self.optimizer.n_steps, self.optimizer.moment_rows
        self.masks: PackedDropout | None = None
        self._graphs: dict[tuple[int, bool], Callable[[Tensor, Tensor | None, Tensor], None]] = {}

    def train_epoch(self, epoch: Epoch) -> None:
        """See `Steps`."""
        if epoch.dropout_seeds is not None:
            if self.masks is None:
                self.masks = self.dropout(epoch.dropout_seeds)
            self.masks.restart(epoch.dropout_seeds)
        n_batches, numbers = max(self.n_batches), range(len(self.members))
        rates = [
            [self.lr(m, epoch.number, min(batch, self.n_batches[m] - 1)) for m in numbers] for batch in range(n_batches)
        ]
        is_active = [[float(batch < self.n_batches[m]) for m in numbers] for batch in range(n_batches)]
        rates_and_active = torch.tensor([rates, is_active]).transpose(0, 1).contiguous().to(self.device)
        for batch in range(n_batches):
            if epoch.should_stop():
                raise Stopped
            columns = self.columns(batch)
            self._step(epoch.rows[:, columns], epoch.batch_weight(batch, columns), rates_and_active[batch])

    def _step(self, rows: Tensor, weight: Tensor | None, rates: Tensor) -> None:
        if self.device.type != "cuda" or self.gather.table.device != self.device:
            self._update(rows, weight, rates)
            return
        key = (rows.shape[1], weight is not None)
        if key not in self._graphs:
            self._graphs[key] = self._captured(rows, weight, rates)
        self._graphs[key](rows, weight, rates)

    def _update(self, rows: Tensor, weight: Tensor | None, rates: Tensor) -> None:
        self.differentiate(rows, weight, self.masks)
        self.optimizer.step(rates[0], rates[1])

    def _captured(
        self, rows: Tensor, weight: Tensor | None, rates: Tensor
    ) -> Callable[[Tensor, Tensor | None, Tensor], None]:
        """A step of these shapes as one graph; what the warm-up changed is put back."""
        inputs = [rows.clone(), None if weight is None else weight.clone(), rates.clone()]
        assert inputs[0] is not None
        assert inputs[2] is not None
        changed = [self.parameters.buffer, self.parameters.gradient, *self.optimizer.state()]
        before = [tensor.clone() for tensor in changed]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._update(inputs[0], inputs[1], inputs[2])
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if self.masks is not None:
            self.masks.register(graph)
        with torch.cuda.graph(graph):
            self._update(inputs[0], inputs[1], inputs[2])
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)

        def replay(*values: Tensor | None) -> None:
            for place, value in zip(inputs, values, strict=True):
                if place is not None and value is not None:
                    place.copy_(value)
            graph.replay()

        return replay
