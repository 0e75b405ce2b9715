"""Trained networks as a model: encoders, scalers and weights of splits x seeds; prediction, storage.

Knows frames and tensors; knows nothing of how the networks were trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import artifacts
from pipeline.config import TargetTransform
from pipeline.features import Encoded, TableEncoder
from pipeline.metrics import Task
from pipeline.models.base import EpochScores, FloatArray
from pipeline.nets.networks import MLP
from pipeline.nets.training import predict
from pipeline.targets import TargetScaler, inverse_transform, softmax


@dataclass
class FittedNeural:
    """Encoders and weights of splits x seeds; member = seed * splits + split."""

    network: MLP
    columns: list[str]
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool  # one regression target: predictions are (rows,)
    weights: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    n_epochs: int | None = None
    history: list[EpochScores] = field(default_factory=list)

    def on_average_scale(self, output: NDArray[np.float32], split: int) -> FloatArray:
        """A member's raw outputs -> what members are averaged as: transformed values, or probabilities."""
        values = output.astype(np.float64)
        return self.scalers[split].unscaled(values) if self.task == "regression" else softmax(values)

    def finish(self, averaged: FloatArray) -> FloatArray:
        """Averages -> predictions in the target's unit; (rows,) for one regression target."""
        if self.task != "regression":
            return averaged
        values = inverse_transform(self.target_transform, averaged)
        return values[:, 0] if self.is_flat else values

    def predict(self, frame: pd.DataFrame, splits: Sequence[int]) -> FloatArray:
        """The mean over the seeds of `splits`, on the transformed scale for regression."""
        tables = {split: on_columns(self.encoders[split].transform(frame), self.columns) for split in splits}
        return self.predict_encoded(tables)

    def predict_encoded(self, tables: Mapping[int, torch.Tensor]) -> FloatArray:
        """As `predict`, of rows that are encoded already: split -> (rows, columns) float32."""
        n_splits = len(self.encoders)
        n_rows = max(len(table) for table in tables.values())
        total = np.zeros((n_rows, self.network.n_outputs))
        for split, table in tables.items():
            weights = self.weights[split::n_splits].to(table.device)
            for output in predict(self.network, weights, table[None], [0] * self.n_seeds):
                total += self.on_average_scale(output, split)
        return self.finish(total / (len(tables) * self.n_seeds))

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`, then `model.json`."""
        artifacts.write_tensors(folder / "weights.safetensors", {"weights": self.weights.numpy()})
        state = {
            "network": self.network.__dict__,
            "columns": self.columns,
            "encoders": [encoder.model_dump(mode="json") for encoder in self.encoders],
            "scalers": [scaler.model_dump(mode="json") for scaler in self.scalers],
            "task": self.task,
            "target_transform": self.target_transform,
            "n_seeds": self.n_seeds,
            "is_flat": self.is_flat,
            "n_epochs": self.n_epochs,
        }
        artifacts.write_json(folder / "model.json", state)

    @classmethod
    def load(cls, folder: Path) -> FittedNeural:
        """Read what `save` wrote. Raises ArtifactError."""
        state: dict[str, Any] = artifacts.read_json(folder / "model.json")
        network = state.pop("network")
        return cls(
            network=MLP(**{**network, "hidden_sizes": tuple(network["hidden_sizes"])}),
            encoders=[TableEncoder.model_validate(encoder) for encoder in state.pop("encoders")],
            scalers=[TargetScaler.model_validate(scaler) for scaler in state.pop("scalers")],
            weights=torch.from_numpy(artifacts.read_tensors(folder / "weights.safetensors")["weights"]),
            **state,
        )


def on_columns(encoded: Encoded, columns: Sequence[str]) -> torch.Tensor:
    """(rows, columns) float32, with zeros where this encoding has no such column."""
    position = {name: i for i, name in enumerate(columns)}
    values = np.zeros((len(encoded.values), len(columns)), dtype=np.float32)
    values[:, [position[name] for name in encoded.names]] = encoded.values
    return torch.from_numpy(values)
