"""Trained networks as a model: encoders, scalers and weights of splits x seeds; prediction, storage.

Knows frames and tensors; must not know how the networks were trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.encoders.target import sigmoid, softmax
from pipeline.models.base import EpochScores
from pipeline.models.networks.columns import Columns
from pipeline.models.stored import StoredModel
from pipeline.nets.convolutional import ConvNet
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

    def averageable(self, output: NDArray[np.float32], split: int) -> FloatArray:
        """A member's raw outputs -> transformed values or probabilities, the mean of its heads."""
        heads = cast(Network, self.network).n_heads
        values = output.astype(np.float64).reshape(len(output) * heads, -1)
        if self.task == "regression":
            values = self.scalers[split].unscaled(values)
        else:
            values = sigmoid(values) if self.is_by_target else softmax(values)
        averaged: FloatArray = values.reshape(len(output), heads, -1).mean(axis=1)
        return averaged


class StoredMLPs(StoredNetworks[MLP]):
    """`model.json` of fully connected networks."""  # named classes: pickle does not find a parametrised generic


class StoredConvNets(StoredNetworks[ConvNet]):
    """`model.json` of convolutional networks."""


STORED: dict[type, type[StoredNetworks[Any]]] = {MLP: StoredMLPs, ConvNet: StoredConvNets}


@dataclass
class FittedNeural:
    """Networks of splits x seeds; member = seed * splits + split."""

    stored: StoredNetworks[Any]
    weights: torch.Tensor  # (members, numbers)
    history: list[EpochScores] = field(default_factory=list)
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def n_epochs(self) -> int | None:
        """Mean number of epochs of the members."""
        return self.stored.n_epochs

    @property
    def is_cut(self) -> bool:
        """False: networks train all their epochs."""
        return False

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """Average the members of `splits`, on the transformed scale for regression."""
        encoders, columns = self.stored.encoders, self.stored.columns
        return self.predict_inputs((split, columns.inputs_of(encode(encoders[split], frame))) for split in splits)

    def predict_inputs(self, tables: Iterable[tuple[int, Inputs]]) -> FloatArray:
        """`predict` for encoded rows: pairs of split and inputs (rows, ...)."""
        stored, total, n_members = self.stored, np.zeros(()), 0
        for split, table in tables:
            weights = views_of(stored.network.parameter_infos(), self.weights[split :: len(stored.encoders)])
            for output in predict(stored.network, weights, table[None], [0] * stored.n_seeds):
                total = total + stored.averageable(output, split)
                n_members += 1
        return stored.prediction(total / n_members)

    def feature_importance(self) -> dict[str, float]:
        """{}: networks have none."""
        return {}

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`, then `model.json`."""
        files.write_tensors(folder / "weights.safetensors", {"weights": self.weights.numpy()})
        self.stored.write(folder / "model.json")

    @classmethod
    def load(cls, folder: Path, *, stored_class: type[StoredNetworks[Any]] = StoredMLPs) -> FittedNeural:
        """Read what `save` wrote. Raises ArtifactError."""
        stored = stored_class.read(folder / "model.json")
        return cls(stored, torch.from_numpy(files.read_tensors(folder / "weights.safetensors")["weights"]))
