"""Learners as models: encoders and members of splits x seeds x targets, prediction, storage.

Knows frames and splits; must not know what a learner does with its arrays, or where members are fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.table import Table, validated
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.models.arrays.learners import CUT, Arrays, Learner
from pipeline.models.arrays.members import CONSTANT, Work, fit_members
from pipeline.models.arrays.split_tables import SplitTables
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.split_encoders import SplitEncoders
from pipeline.models.stored import StoredModel


@dataclass(frozen=True)
class ArrayModel:
    """A learner with its parameters, fitted on splits x seeds x targets by a pool of threads."""

    learner_class: type[Learner]
    params: Table
    n_rounds: int | None = None

    def with_epochs(self, n_epochs: int) -> ArrayModel:
        """The same model with a fixed number of boosting rounds."""
        return ArrayModel(self.learner_class, self.params, n_epochs)

    def fit(
        self, problem: Problem, splits: Sequence[Split], *, seed: int, n_seeds: int, context: FitContext
    ) -> FittedArrayModel:
        """Fit the members; members in `context.checkpoints` are taken from there. Raises SpecError.

        A deterministic learner has one member per split, whatever `n_seeds`.
        """
        learner = self.learner_class(self.params)
        encoders = SplitEncoders.fit(problem, splits, view=learner.view, seed=seed)
        stored = StoredArrayModel(
            params=self.params.model_dump(mode="json"),
            encoders=encoders.encoders,
            scalers=encoders.scalers,
            task=problem.task,
            n_classes=problem.n_classes,
            target_transform=problem.target_transform,
            n_seeds=n_seeds if learner.is_seeded else 1,
            is_flat=problem.target.ndim == 1,
            n_epochs=None,
        )
        fitted = FittedArrayModel(learner, stored)
        tables = SplitTables(encoders, stored.n_seeds * fitted.n_outputs)
        positions = [fitted.position(number) for number in range(len(splits) * tables.n_members_each)]
        work = Work(self.learner_class, self.params, self.n_rounds, seed)
        fitted.members = fit_members(work, tables, positions, context)
        fitted.oof_prediction = out_of_fold(
            problem, splits, lambda split: fitted.predict_arrays([(split, tables.valid_rows(split))])
        )
        rounds = [int(member["n_rounds"]) for member in fitted.members if "n_rounds" in member]
        n_epochs = max(1, round(float(np.mean(rounds)))) if rounds else None
        return replace(fitted, stored=stored.updated(n_epochs=n_epochs))


class StoredArrayModel(StoredModel):
    """`model.json` beside `members.npz`."""

    format: Literal[1] = 1
    params: dict[str, Any]
    n_classes: int


@dataclass
class FittedArrayModel:
    """Encoders and members of splits x seeds x targets; `position` says which member is which."""

    learner: Learner
    stored: StoredArrayModel
    members: list[Arrays] = field(default_factory=list)
    history: list[EpochScores] = field(default_factory=list)
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def n_epochs(self) -> int | None:
        """Mean number of boosting rounds of the members."""
        return self.stored.n_epochs

    @property
    def is_cut(self) -> bool:
        """Whether a member had to end before it had all its rounds or trees."""
        return any(CUT in member for member in self.members)

    @property
    def n_outputs(self) -> int:
        """Number of targets."""
        return len(self.stored.scalers[0].centre)

    def position(self, number: int) -> tuple[int, int, int]:
        """(split, seed, target) of a member."""
        rest, output = divmod(number, self.n_outputs)
        seed, split = divmod(rest, len(self.stored.encoders))
        return split, seed, output

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """Average the members of `splits`, on the transformed scale for regression."""
        encoders = self.stored.encoders
        if encode is TableEncoder.transform:
            return self.predict_arrays((split, encoders[split].values_of(frame)) for split in splits)
        return self.predict_arrays((split, encode(encoders[split], frame).values) for split in splits)

    def predict_arrays(self, tables: Iterable[tuple[int, NDArray[np.float32]]]) -> FloatArray:
        """`predict` for encoded rows: pairs of split and x (rows, columns)."""
        with threadpool_limits(1, user_api="blas"):
            return self._predict_arrays(tables)

    def _predict_arrays(self, tables: Iterable[tuple[int, NDArray[np.float32]]]) -> FloatArray:
        stored, is_regression, is_by_target = self.stored, self.stored.task == "regression", self.stored.is_by_target
        total, n_splits = np.zeros(()), 0
        for split, x in tables:
            outputs = np.zeros((len(x), self.n_outputs if is_by_target else stored.n_classes))
            for number, member in enumerate(self.members):
                its_split, _, output = self.position(number)
                if its_split != split:
                    continue
                predicted = member[CONSTANT] if CONSTANT in member else self.learner.predict(member, x)
                if is_by_target:
                    outputs[:, output] += predicted if is_regression else predicted[..., 1]
                else:
                    outputs += predicted
            outputs /= stored.n_seeds
            total = total + (stored.scalers[split].unscaled(outputs) if is_regression else outputs)
            n_splits += 1
        return stored.prediction(total / n_splits)

    def contributions(self, frame: pd.DataFrame, split: int) -> pd.DataFrame | None:
        """What each encoded column adds to the prediction of each row by a split's members; the last one is the rest.

        On the scale that the model learns (the log odds of the second of two classes). None for models that cannot
        tell, more than two classes or several targets.
        """
        of_member = getattr(self.learner, "contributions", None)
        if of_member is None or self.n_outputs > 1:
            return None
        encoder, scaler = self.stored.encoders[split], self.stored.scalers[split]
        encoded = encoder.transform(frame)
        mine = [member for number, member in enumerate(self.members) if self.position(number)[0] == split]
        added = [None if CONSTANT in member else of_member(member, encoded.values) for member in mine]
        known = [one for one in added if one is not None]
        if not known or len(known) < len(mine):
            return None
        mean = np.mean(known, axis=0)
        if self.stored.task == "regression":
            mean = mean * scaler.scale[0]
            mean[:, -1] += scaler.centre[0]
        return pd.DataFrame(mean, columns=[*encoded.names, ""])

    def feature_importance(self) -> dict[str, float]:
        """Share of each encoded column, averaged over members, largest first; {} for models without importances."""
        shares: dict[str, float] = {}
        for number, member in enumerate(self.members):
            names = self.stored.encoders[self.position(number)[0]].column_names()
            values = np.zeros(len(names)) if CONSTANT in member else self.learner.importance(member)
            if values is None:
                return {}
            total = float(values.sum())
            for name, value in zip(names, values, strict=True):
                shares[name] = shares.get(name, 0.0) + float(value) / (total or 1.0) / len(self.members)
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def save(self, folder: Path) -> None:
        """Write `members.npz`, then `model.json`."""
        arrays = {f"{number}/{name}": a for number, member in enumerate(self.members) for name, a in member.items()}
        files.write_arrays(folder / "members.npz", arrays)
        self.stored.write(folder / "model.json")

    @classmethod
    def load(cls, folder: Path, *, learner_class: type[Learner], params_class: type[Table]) -> FittedArrayModel:
        """Read what `save` wrote. Raises ArtifactError, SpecError for parameters of another version."""
        stored = StoredArrayModel.read(folder / "model.json")
        members: dict[int, Arrays] = {}
        for key, array in files.read_arrays(folder / "members.npz").items():
            number, name = key.split("/", 1)
            members.setdefault(int(number), {})[name] = array
        params = validated(params_class, stored.params, where=str(folder / "model.json"))
        return cls(learner_class(params), stored, [members[number] for number in sorted(members)])
