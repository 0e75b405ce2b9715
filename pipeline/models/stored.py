"""`model.json`: all of a fitted model except its weights. Must not know how a model is fitted."""

from __future__ import annotations

from typing import ClassVar

from pipeline.base.arrays import FloatArray
from pipeline.base.target_transforms import TargetTransform, inverse_transform
from pipeline.config.artifact import Artifact
from pipeline.encoders.table import TableEncoder
from pipeline.encoders.target import TargetScaler
from pipeline.metrics import Task


class StoredModel(Artifact):
    """What all fitted models store. A subclass adds its own fields and the format."""

    WHAT: ClassVar[str] = "a fitted model"
    REMEDY: ClassVar[str] = "Delete the run's folder and train it again; the model is in {folder}."

    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool  # one target
    n_epochs: int | None

    @property
    def is_by_target(self) -> bool:
        """Whether predictions have a column for each target: values, or probabilities of the second of two classes."""
        return self.task == "regression" or not self.is_flat

    def prediction(self, averaged: FloatArray) -> FloatArray:
        """Averages over members -> predictions in the target's unit."""
        if self.task != "regression":
            return averaged
        values = inverse_transform(self.target_transform, averaged)
        return values[:, 0] if self.is_flat else values
