"""Pretrained models as models: a context is chosen from each split's train rows, and its valid rows are predicted.

Knows problems and splits; must not know how a library reads a context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base import files, weights
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.table import Table, bounded
from pipeline.models.base import FitContext, out_of_fold
from pipeline.models.in_context.engine import Engine, Limits, find_weights, limits_of
from pipeline.models.in_context.fitted import FittedInContext, StoredInContext
from pipeline.models.in_context.passes import Member, Stage
from pipeline.models.in_context.sampling import sample_context
from pipeline.models.split_encoders import SplitEncoders


class InContextParams(Table):
    """Parameters of a pretrained model."""

    weights: str = Field(
        default="",
        description="file with the pretrained weights, or a folder with it; `huggingface` downloads it; default: the "
        "file of its published name below the folders of `PIPELINE_WEIGHTS`",
    )
    context_rows: int = bounded(
        10_000,
        ge=10,
        le=1_000_000,
        usual="1,000 on a CPU to 50,000 on a GPU",
        description="most train rows that are read for a prediction; larger tables are sampled, by class or evenly "
        "through the target",
    )
    estimators: int = bounded(
        8, ge=1, le=64, usual="1 to 32", description="readings of the context, with columns in other orders; averaged"
    )


@dataclass(frozen=True)
class InContextModel:
    """A pretrained model with its parameters."""

    engine: Engine
    params: InContextParams

    def with_epochs(self, n_epochs: int) -> InContextModel:  # noqa: ARG002
        """The same model: it has no epochs."""
        return self

    def fit(
        self, problem: Problem, splits: Sequence[Split], *, seed: int, n_seeds: int, context: FitContext
    ) -> FittedInContext:
        """Choose the contexts and predict the valid rows; predictions in the checkpoints are taken from there.

        Raises SpecError for missing weights, and for a table beyond their limits; TrainingError if memory is short.
        """
        is_regression = problem.task == "regression"
        path = find_weights(self.engine, self.params.weights, is_regression=is_regression)
        limits = limits_of(self.engine, path, is_regression=is_regression)
        self._check_classes(problem, limits)
        encoders = SplitEncoders.fit(problem, splits, view="ordinal", seed=seed)
        self._check_columns(encoders, limits)
        stored = StoredInContext(
            params=self.params.model_dump(mode="json"),
            encoders=encoders.encoders,
            scalers=encoders.scalers,
            task=problem.task,
            n_classes=problem.n_classes,
            target_transform=problem.target_transform,
            n_seeds=n_seeds,
            is_flat=problem.target.ndim == 1,
            n_epochs=None,
            wants_median=problem.metric.loss == "mae",
            seed=seed,
            weights=str(path.resolve()),
            weights_sha256=str(weights.sha256_of(path)),
        )
        stage = Stage(context.device, context.n_workers, context.stop)
        fitted = FittedInContext(self.engine, stored, stage=stage)
        valid = self._contexts(fitted, encoders, limits)
        held = self._held(fitted, valid, len(problem.test), context)
        fitted.oof_prediction = out_of_fold(
            problem, splits, lambda split: stored.prediction(fitted.of_split(split, held))
        )
        return fitted

    def _contexts(self, fitted: FittedInContext, encoders: SplitEncoders, limits: Limits) -> list[NDArray[np.float32]]:
        """Give the fitted model its contexts; return each split's encoded valid rows."""
        problem, n_most = encoders.problem, min(self.params.context_rows, limits.rows or self.params.context_rows)
        valid, is_weighted, n_largest = [], False, 0
        for number, split in enumerate(encoders.splits):
            encoded = encoders.encoders[number].transform(problem.train)
            encoders.correct_fit_rows(number, encoded.dense, encoded.dense_names)
            valid.append(encoded.rows(split.valid_rows))
            rows, weight = split.train_rows, problem.weights_of(split)
            if weight is not None:
                rows = rows[weight[rows] > 0]
                is_weighted |= bool(np.ptp(weight[rows]) > 0)
            y = encoders.scalers[number].scaled(encoders.target[rows])
            n_largest = max(n_largest, len(rows))
            for seed in range(fitted.stored.n_seeds):
                drawn = derive_seed(fitted.stored.seed, "context", number, seed)
                chosen = sample_context(y[:, 0], n_most, drawn, is_regression=problem.task == "regression")
                fitted.x[number, seed], fitted.y[number, seed] = encoded.rows(rows[chosen]), y[chosen]
        name = self.engine.model
        if n_largest > n_most:
            say(f"{name}: {n_most} of up to {n_largest} train rows are read, a sample (context_rows)")
        if is_weighted:
            say(f"{name}: the weights of rows are not used, except that rows of weight 0 are left out")
        return valid

    def _held(
        self, fitted: FittedInContext, valid: Sequence[NDArray[np.float32]], n_test: int, context: FitContext
    ) -> dict[Member, FloatArray]:
        """The predictions of the splits' valid rows by every member; what is done counts the test rows to come, too."""
        members, held = fitted.members(range(len(valid))), dict[Member, FloatArray]()
        mine = [member for number, member in enumerate(members) if context.share.has(number)]
        costs = {member: len(fitted.y[member[:2]]) + len(valid[member[0]]) for member in mine}
        whole = sum(costs.values()) + sum(len(fitted.y[member[:2]]) + n_test for member in mine)

        def work(member: Member, at_once: int) -> None:
            path = None if context.checkpoints is None else context.checkpoints / _file(member)
            known = files.read_checkpoint(files.read_npy, path)
            held[member] = fitted.of_member(member, valid[member[0]], at_once) if known is None else known
            if path is not None and known is None:
                files.write_npy(path, held[member])
            if context.on_progress is not None:
                context.on_progress(sum(costs[one] for one in tuple(held)) / whole, [])

        assert fitted.stage is not None
        fitted.stage.each(mine, work, fitted.context_shape)
        context.share.end()
        return held

    def _check_classes(self, problem: Problem, limits: Limits) -> None:
        if limits.classes is not None and problem.n_classes > limits.classes:
            what = f"the target has {problem.n_classes} classes, the weights know {limits.classes}"
            raise SpecError(what, where=f"the model {self.engine.model!r}", hint="Train another model, or tabicl.")

    def _check_columns(self, encoders: SplitEncoders, limits: Limits) -> None:
        most = max(len(encoder.column_names()) for encoder in encoders.encoders)
        if limits.columns is not None and most > limits.columns:
            what = f"the table has {most} columns after encoding, the weights take {limits.columns}"
            hint = "Drop columns in the spec ([columns] drop), or train another model."
            raise SpecError(what, where=f"the model {self.engine.model!r}", hint=hint)
        if most == 0:
            raise SpecError("the table has no columns to read", where=f"the model {self.engine.model!r}")


def _file(member: Member) -> Path:
    split, seed, output = member
    return Path(f"held-{split}-{seed}-{output}.npy")
