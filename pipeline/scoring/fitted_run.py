"""A finished run's models in memory: their predictions of new rows, blended and adjusted as the run does it.

Knows fitted models and how they are combined; must not know competitions, stages or what lies in a run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.config.artifact import Artifact, Record
from pipeline.config.run import RunConfig
from pipeline.config.run_report import Adjustment, Clipping, LogOdds
from pipeline.encoders.table import Encode
from pipeline.metrics import metric_to_blend
from pipeline.models.base import FittedModel
from pipeline.models.registry import entry_of
from pipeline.scoring.adjustment import apply_adjustment
from pipeline.scoring.blending import combine

FILE = "fitted_run.json"
FeaturesOf = Callable[[RunConfig], pd.DataFrame]  # typed rows, with the features that the configuration asks for


class SavedPart(Record):
    """A part of a saved run that is one configuration."""

    config: RunConfig
    n_splits: int


class SavedRun(Artifact):
    """`fitted_run.json`: how the models beside it make one prediction."""

    WHAT: ClassVar[str] = "a fitted run"
    REMEDY: ClassVar[str] = "Save the estimator again."

    format: Literal[1] = 1
    parts: list[SavedPart | None]  # None: a run of its own
    weights: list[float]
    metric: str
    rule: LogOdds | Clipping | None = None
    adjustment: Adjustment | None


@dataclass(frozen=True)
class FittedPart:
    """One configuration, fitted on `n_splits` splits."""

    config: RunConfig
    fitted: FittedModel
    n_splits: int

    def predict(self, features_of: FeaturesOf, encode: Encode, splits: Sequence[int] | None = None) -> FloatArray:
        """The mean of the models of all splits, or of those that are named."""
        of_splits = range(self.n_splits) if splits is None else splits
        return self.fitted.predict(features_of(self.config), of_splits, encode=encode)


@dataclass(frozen=True)
class FittedRun:
    """Parts, or runs, and how they are combined."""

    parts: list[FittedPart | FittedRun]
    weights: list[float]
    metric: str
    rule: LogOdds | Clipping | None
    adjustment: Adjustment | None

    def predict(self, features_of: FeaturesOf, encode: Encode, splits: Sequence[int] | None = None) -> FloatArray:
        """(rows,) or (rows, targets) values, or (rows, classes) probabilities; `splits` as for a part."""
        predictions = [part.predict(features_of, encode, splits) for part in self.parts]
        combined = combine(predictions, self.weights, metric_to_blend(self.metric), self.rule)
        return apply_adjustment(self.adjustment, combined)

    def save(self, folder: Path) -> None:
        """Write every part into a folder of its own, then `fitted_run.json`."""
        parts: list[SavedPart | None] = []
        for number, part in enumerate(self.parts):
            if isinstance(part, FittedRun):
                part.save(folder / str(number))
                parts.append(None)
            else:
                part.fitted.save(folder / str(number))
                parts.append(SavedPart(config=part.config, n_splits=part.n_splits))
        saved = SavedRun(
            parts=parts,
            weights=self.weights,
            metric=self.metric,
            rule=self.rule,
            adjustment=self.adjustment,
        )
        saved.write(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> FittedRun:
        """Read what `save` wrote. Raises ArtifactError."""
        saved = SavedRun.read(folder / FILE)
        parts: list[FittedPart | FittedRun] = []
        for number, part in enumerate(saved.parts):
            inside = folder / str(number)
            if part is None:
                parts.append(cls.load(inside))
            else:
                parts.append(FittedPart(part.config, entry_of(part.config.model).load(inside), part.n_splits))
        return cls(parts, saved.weights, saved.metric, saved.rule, saved.adjustment)
