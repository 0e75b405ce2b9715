"""A pretrained model with the contexts of splits x seeds: prediction, storage.

Knows frames and arrays; must not know how contexts are chosen, or a library's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import files, weights
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import ArtifactError
from pipeline.base.seeds import derive_seed
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.models.arrays.learners import all_classes
from pipeline.models.base import EpochScores
from pipeline.models.in_context.engine import Context, Engine, Predict, Reading, told_errors
from pipeline.models.in_context.passes import Member, Stage
from pipeline.models.stored import StoredModel
from pipeline.nets.devices import choose_device


class StoredInContext(StoredModel):
    """`model.json` beside `contexts.npz`; the weights stay where they are."""

    format: Literal[1] = 1
    params: dict[str, Any]
    n_classes: int
    wants_median: bool
    seed: int
    weights: str  # path of the file
    weights_sha256: str


@dataclass
class FittedInContext:
    """Contexts of splits x seeds, and how predictions are made from them."""

    engine: Engine
    stored: StoredInContext
    x: dict[tuple[int, int], NDArray[np.float32]] = field(default_factory=dict)  # (split, seed) -> (rows, columns)
    y: dict[tuple[int, int], FloatArray] = field(default_factory=dict)  # (rows, targets)
    stage: Stage | None = None
    history: list[EpochScores] = field(default_factory=list)
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def n_epochs(self) -> int | None:
        """None: nothing is trained."""
        return None

    @property
    def is_cut(self) -> bool:
        """False: nothing is trained."""
        return False

    @property
    def n_outputs(self) -> int:
        """Number of targets."""
        return len(self.stored.scalers[0].centre)

    def members(self, splits: Iterable[int]) -> list[Member]:
        """All members of the splits."""
        seeds, outputs = range(self.stored.n_seeds), range(self.n_outputs)
        return [(split, seed, output) for split in splits for seed in seeds for output in outputs]

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """Average the members of `splits`, on the transformed scale for regression."""
        tables = {split: encode(self.stored.encoders[split], frame).values for split in splits}
        predicted: dict[Member, FloatArray] = {}

        def work(member: Member, at_once: int) -> None:
            predicted[member] = self.of_member(member, tables[member[0]], at_once)

        self._stage.each(self.members(splits), work, self.context_shape)
        total = np.zeros(())
        for split in splits:
            total = total + self.of_split(split, predicted)
        return self.stored.prediction(total / len(splits))

    @property
    def context_shape(self) -> tuple[int, int]:
        """Rows and columns of the largest context."""
        shapes = [x.shape for x in self.x.values()]
        return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)

    def of_member(self, member: Member, x: NDArray[np.float32], at_once: int) -> FloatArray:
        """(rows,) scaled values or (rows, classes) probabilities of encoded rows, `at_once` of them in a pass."""
        stored, (split, seed, output) = self.stored, member
        context_x, y = self.x[split, seed], self.y[split, seed][:, output]
        present = np.unique(y)
        if not len(x):
            return np.empty((0, stored.n_classes) if stored.n_classes else 0)
        if len(present) == 1:
            return np.full(len(x), y[0]) if not stored.n_classes else np.eye(stored.n_classes)[[int(y[0])] * len(x)]
        categories = tuple(stored.encoders[split].category_positions())
        context = Context(context_x, y.astype(np.int64) if stored.n_classes else y, categories)
        with told_errors(self.engine):
            predict = self.engine.reader(context, self._reading(member), self._stage.check_stop)
            found = self._in_parts(predict, x, at_once)
        return all_classes(found, present, stored.n_classes) if stored.n_classes else found

    def of_split(self, split: int, predicted: Mapping[Member, FloatArray]) -> FloatArray:
        """The mean over seeds: (rows, targets) transformed values or (rows, targets or classes) probabilities."""
        stored, seeds = self.stored, range(self.stored.n_seeds)
        if not stored.is_by_target:
            averaged: FloatArray = np.mean([predicted[split, seed, 0] for seed in seeds], axis=0)
            return averaged
        by_target = [np.mean([predicted[split, seed, j] for seed in seeds], axis=0) for j in range(self.n_outputs)]
        if stored.task == "regression":
            return stored.scalers[split].unscaled(np.column_stack(by_target))
        return np.column_stack([probability[:, 1] for probability in by_target])

    def feature_importance(self) -> dict[str, float]:
        """{}: it has none."""
        return {}

    def save(self, folder: Path) -> None:
        """Write `contexts.npz`, then `model.json`."""
        arrays: dict[str, NDArray[Any]] = {f"{split}-{seed}/x": x for (split, seed), x in self.x.items()}
        arrays |= {f"{split}-{seed}/y": y for (split, seed), y in self.y.items()}
        files.write_arrays(folder / "contexts.npz", arrays)
        self.stored.write(folder / "model.json")

    @classmethod
    def load(cls, folder: Path, *, engine: Engine) -> FittedInContext:
        """Read what `save` wrote; the weights are looked for when it predicts. Raises ArtifactError."""
        fitted = cls(engine, StoredInContext.read(folder / "model.json"))
        for key, array in files.read_arrays(folder / "contexts.npz").items():
            place, name = key.split("/")
            split, seed = place.split("-")
            (fitted.x if name == "x" else fitted.y)[int(split), int(seed)] = array
        return fitted

    def _in_parts(self, predict: Predict, x: NDArray[np.float32], at_once: int) -> FloatArray:
        parts = []
        for start in range(0, len(x), at_once):
            self._stage.check_stop()
            parts.append(predict(x[start : start + at_once]))
        return np.concatenate(parts)

    def _reading(self, member: Member) -> Reading:
        split, seed, output = member
        stored = self.stored
        derived = derive_seed(stored.seed, "split", split, "seed", seed, "target", output)
        return Reading(
            weights=self._weights,
            is_regression=stored.task == "regression",
            wants_median=stored.wants_median,
            estimators=stored.params["estimators"],
            seed=derived % 2**31,
            device=self._stage.device,
        )

    @cached_property
    def _stage(self) -> Stage:
        """That of the fit; for a loaded model a GPU if there is one."""
        if self.stage is not None:
            return self.stage
        from joblib import cpu_count

        return Stage(choose_device("auto"), cpu_count())

    @cached_property
    def _weights(self) -> Path:
        """The file that the model was fitted with, wherever it is now. Raises ArtifactError."""
        stored = self.stored
        path = weights.located(stored.weights)
        if path is None or weights.sha256_of(path) != stored.weights_sha256:
            what = "is not there" if path is None else f"is not the file that the run was made with ({path})"
            hint = f"Put it back (sha256 {stored.weights_sha256[:12]}), or name its folder in {weights.VARIABLE}."
            raise ArtifactError(f"the file of weights {what}", where=stored.weights, hint=hint)
        return path
