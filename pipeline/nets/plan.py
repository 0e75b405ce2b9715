"""What a training is given: members, the tables they read, and what they share. Knows no steps and no state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import Loss
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import ScheduleName, Update, UpdateNumbers

Rows = NDArray[np.int64]
Precision = Literal["float32", "tf32", "bf16"]  # of products, where the device has it; parameters and sums stay float32
# what torch calls them
PRECISIONS: dict[Precision, str] = {"float32": "highest", "tf32": "high", "bf16": "medium"}


@dataclass(frozen=True)
class Member:
    """One network of a pack: its seed, its rows, and the numbers of its own."""

    seed: int
    view: int  # index of the encoded table it reads: its fold's
    train_rows: Rows
    valid_rows: Rows
    lr: float
    weight_decay: float = 0.0
    dropout: float = 0.0
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    label_smoothing: float = 0.0
    schedule: ScheduleName = "constant"
    network: Network | None = None  # its own, where it starts otherwise than the pack's

    @property
    def update_numbers(self) -> UpdateNumbers:
        """Its numbers of the update."""
        return UpdateNumbers(self.weight_decay, self.momentum, self.betas)


@dataclass(frozen=True)
class PackData:
    """What all members read, on the device."""

    x: Inputs  # (views, rows, ...)
    y: Tensor  # (views, rows, outputs) float32, or (views, rows) int64 class codes
    weight: Tensor | None = None  # (views, rows) float32, of rows in the loss


@dataclass(frozen=True)
class Plan:
    """What all members of a pack share."""

    loss: Loss
    epochs: int
    batch_size: int
    update: Update = field(default_factory=Update)
    precision: Precision = "float32"
    patience: int | None = None  # evaluations without a better valid score before a member stops; None never stops
    evaluate_every: int = 1  # epochs
    greater_is_better: bool = False
    stops_at_failure: bool = False  # the pack gives up with the first member that fails
