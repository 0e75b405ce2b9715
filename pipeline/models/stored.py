"""`model.json`: all of a fitted model but its weights. Must not know how a model is fitted."""

from __future__ import annotations

from typing import ClassVar

from pipeline.config.artifact import Artifact
from pipeline.config.spec import TargetTransform
from pipeline.encoders.table import TableEncoder
from pipeline.encoders.target import TargetScaler
from pipeline.metrics import Task


class StoredModel(Artifact):
    """What every fitted model stores, written last; a subclass adds its own and the format."""

    WHAT: ClassVar[str] = "a fitted model"
    REMEDY: ClassVar[str] = "Delete the run's folder and train it again; the model lies in {folder}."

    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool  # one regression target: predictions are (rows,)
    n_epochs: int | None
