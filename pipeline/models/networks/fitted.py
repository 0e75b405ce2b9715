"""Trained networks as a model: encoders, scalers and weights of splits x seeds; prediction, storage.

Knows frames and tensors; knows nothing of how the networks were trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.config.spec import TargetTransform
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.encoders.target import TargetScaler, inverse_transform, softmax
from pipeline.metrics import Task
from pipeline.models.base import EpochScores
from pipeline.models.networks.columns import Columns
from pipeline.models.stored import StoredModel
from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import MLP, Network
from pipeline.nets.parameters import views_of
from pipeline.nets.prediction import predict

NetworkT = TypeVar("NetworkT")


class StoredNetworks(StoredModel, Generic[NetworkT]):
    """`model.json` beside `weights.safetensors`: networks of one architecture, a dataclass of JSON values."""

    format: Literal[1] = 1
    network: NetworkT
    columns: Columns


@dataclass
class FittedNeural:
    """Encoders and weights of splits x seeds; member = seed * splits + split."""

    network: Network
    columns: Columns
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool  # one regression target: predictions are (rows,)
    weights: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    n_epochs: int | None = None
    history: list[EpochScores] = field(default_factory=list)
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

    def on_average_scale(self, output: NDArray[np.float32], split: int) -> FloatArray:
        """A member's raw outputs, the mean of its heads -> what members are averaged as: transformed values, or
        probabilities."""
        heads = self.network.n_heads
        values = output.astype(np.float64).reshape(len(output) * heads, -1)
        values = self.scalers[split].unscaled(values) if self.task == "regression" else softmax(values)
        averaged: FloatArray = values.reshape(len(output), heads, -1).mean(axis=1)
        return averaged

    def finish(self, averaged: FloatArray) -> FloatArray:
        """Averages -> predictions in the target's unit; (rows,) for one regression target."""
        if self.task != "regression":
            return averaged
        values = inverse_transform(self.target_transform, averaged)
        return values[:, 0] if self.is_flat else values

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """The mean over the seeds of `splits`, on the transformed scale for regression."""
        return self.predict_inputs(
            (split, self.columns.inputs_of(encode(self.encoders[split], frame))) for split in splits
        )

    def predict_inputs(self, tables: Iterable[tuple[int, Inputs]]) -> FloatArray:
        """As `predict`, of rows that are encoded already: (split, inputs (rows, ...)) each."""
        total, n_members = np.zeros(()), 0
        for split, table in tables:
            weights = views_of(self.network.parameter_infos(), self.weights[split :: len(self.encoders)])
            for output in predict(self.network, weights, table[None], [0] * self.n_seeds):
                total = total + self.on_average_scale(output, split)
                n_members += 1
        return self.finish(total / n_members)

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`, then `model.json`."""
        files.write_tensors(folder / "weights.safetensors", {"weights": self.weights.numpy()})
        stored = StoredNetworks[Any](
            network=self.network,
            columns=self.columns,
            encoders=self.encoders,
            scalers=self.scalers,
            task=self.task,
            target_transform=self.target_transform,
            n_seeds=self.n_seeds,
            is_flat=self.is_flat,
            n_epochs=self.n_epochs,
        )
        stored.write(folder / "model.json")

    @classmethod
    def load(cls, folder: Path, *, stored_class: type[StoredNetworks[Any]] = StoredNetworks[MLP]) -> FittedNeural:
        """Read what `save` wrote. Raises ArtifactError."""
        stored = stored_class.read(folder / "model.json")
        return cls(
            network=stored.network,
            columns=stored.columns,
            encoders=stored.encoders,
            scalers=stored.scalers,
            task=stored.task,
            target_transform=stored.target_transform,
            n_seeds=stored.n_seeds,
            is_flat=stored.is_flat,
            n_epochs=stored.n_epochs,
            weights=torch.from_numpy(files.read_tensors(folder / "weights.safetensors")["weights"]),
        )
