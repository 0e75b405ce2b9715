"""What training takes: members, the tables they read, and what they share. Must not know steps or their state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import Loss
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import Hyperparameters, ScheduleName, Update

Rows = NDArray[np.int64]
HistoryRow = tuple[int, int, float, float]  # epoch from 1, member, train score, valid score
Scored = tuple[int, Rows, NDArray[np.float32]]  # member, rows, its raw outputs on them (rows, outputs)
Score = Callable[[Sequence[Scored]], list[float]]  # called once per evaluation, because a call may cross processes
Prune = Callable[[int, list[HistoryRow]], Collection[int]]  # epoch, new history rows -> members to remove
Precision = Literal["float32", "tf32", "bf16"]  # of products, if the device has it; parameters and sums stay float32
PRECISIONS: dict[Precision, str] = {"float32": "highest", "tf32": "high", "bf16": "medium"}  # torch's names


@dataclass(frozen=True)
class Member:
    """One network of a pack: its seed, its rows and its hyperparameters."""

    seed: int
    view: int  # index of the encoded table it reads: that of its fold
    train_rows: Rows
    valid_rows: Rows
    lr: float
    weight_decay: float = 0.0
    dropout: float = 0.0
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    label_smoothing: float = 0.0
    schedule: ScheduleName = "constant"
    network: Network | None = None  # initialises it, if not as the pack's network does

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Those of the update rule."""
        return Hyperparameters(self.weight_decay, self.momentum, self.betas)


@dataclass(frozen=True)
class PackData:
    """The tables of all members, on the device."""

    x: Inputs  # (views, rows, ...)
    y: Tensor  # (views, rows, outputs) float32, or (views, rows) int64 class codes
    weight: Tensor | None = None  # (views, rows) float32 row weights of the loss


@dataclass(frozen=True)
class Plan:
    """What all members of a pack share."""

    loss: Loss
    epochs: int
    batch_size: int
    update: Update = field(default_factory=Update)
    precision: Precision = "float32"
    patience: int | None = None  # evaluations without a better valid score before a member stops; None: never
    evaluate_every: int = 1  # epochs
    greater_is_better: bool = False
    stops_at_failure: bool = False  # of any member


@dataclass(frozen=True)
class PackJob:
    """One pack to train."""

    name: str  # of its checkpoint
    network: Network
    plan: Plan
    data: PackData
    members: Sequence[Member]
    labels: Sequence[str]  # of the members, for messages
    score: Score
    prune: Prune | None = None
    may_prune: bool = True  # else `prune` takes note of scores, and never names a member

    @property
    def n_visits(self) -> int:
        """Rows times epochs of all members."""
        return self.plan.epochs * sum(len(member.train_rows) for member in self.members)
