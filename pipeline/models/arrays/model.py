"""Learners as models: an encoder and a member for every split (x seeds x targets), prediction, storage.

Knows frames and splits; knows nothing of what a learner does with its arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.spec import TargetTransform
from pipeline.config.table import Table
from pipeline.encoders import Encode, Encoded, TableEncoder, correct_fit_rows, fit_encoder
from pipeline.encoders.target import TargetScaler, class_indicators, inverse_transform, transform_target
from pipeline.metrics import Task
from pipeline.models.arrays.learners import Arrays, FitRows, Job, Learner
from pipeline.models.base import EpochScores, FitContext

WAIT_S = 0.2  # between looks at whether the fit shall stop


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
        """Fit the members; those that a killed fit left in `context.checkpoints` are taken from there.

        A learner without randomness has one member a split, whatever `n_seeds` is. Raises SpecError.
        """
        learner = self.learner_class(self.params)
        prepared = _Prepared.of(problem, splits, learner)
        fitted = FittedArrayModel(
            learner_class=self.learner_class,
            params=self.params,
            encoders=prepared.encoders,
            scalers=prepared.scalers,
            task=problem.task,
            n_classes=problem.n_classes,
            target_transform=problem.target_transform,
            n_seeds=n_seeds if learner.is_seeded else 1,
            is_flat=problem.target.ndim == 1,
        )
        fitted.members = self._members(prepared, fitted, seed, context)
        rounds = [int(member["n_rounds"]) for member in fitted.members if "n_rounds" in member]
        fitted.n_epochs = max(1, round(float(np.mean(rounds)))) if rounds else None
        return fitted

    def _members(self, prepared: _Prepared, fitted: FittedArrayModel, seed: int, context: FitContext) -> list[Arrays]:
        from sklearn.exceptions import ConvergenceWarning

        n_members = fitted.n_seeds * len(prepared.splits) * prepared.n_outputs
        is_alone = context.device.type == "cuda"
        n_parallel = 1 if is_alone else max(1, min(context.n_workers, n_members))
        n_threads = max(1, context.n_workers // n_parallel)

        def fit(number: int) -> Arrays:
            path = None if context.checkpoints is None else context.checkpoints / f"member-{number}.npz"
            if path is not None and path.exists():
                return files.read_arrays(path)
            split, member_seed, output = fitted.position(number)
            job_seed = derive_seed(seed, "split", split, "seed", member_seed, "target", output)
            with threadpool_limits(n_threads, user_api="openmp"):  # OpenMP keeps its limit by thread
                rows = prepared.rows(split, output, seed)
                job = Job(job_seed % 2**31, n_threads, context.device, context.stop, self.n_rounds)
                member = self.learner_class(self.params).fit(rows, job)
            if path is not None:
                files.write_arrays(path, member)
            return member

        with (
            warnings.catch_warnings(),
            threadpool_limits(n_threads, user_api="blas"),
            ThreadPoolExecutor(n_parallel) as pool,
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a path's loosest end, which is not chosen
            futures = [pool.submit(fit, number) for number in range(n_members)]
            try:
                _watch(futures, context)
            except BaseException:
                context.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]


def _watch(futures: list[Future[Arrays]], context: FitContext) -> None:
    """Wait for all; report progress; raise what a fit raises, or Stopped when asked to stop."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        if done and context.on_progress is not None:
            context.on_progress(1.0 - len(pending) / len(futures), [])
        if context.stop.is_set() and pending:
            raise Stopped


@dataclass(frozen=True)
class _Prepared:
    """A problem with an encoder and a scaler fitted on every split; rows are encoded when a fit asks for them."""

    problem: Problem
    splits: Sequence[Split]
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    supervised: FloatArray  # (rows, outputs) what target means are taken of
    target: FloatArray  # (rows, outputs) transformed numbers, or class codes
    n_outputs: int

    @classmethod
    def of(cls, problem: Problem, splits: Sequence[Split], learner: Learner) -> _Prepared:
        y = problem.target if problem.target.ndim == 2 else problem.target[:, None]
        is_regression = problem.task == "regression"
        z = transform_target(problem.target_transform, y) if is_regression else y
        supervised = z if is_regression else class_indicators(problem.target.astype(np.int64), problem.n_classes)
        # trees read amounts as they are: a missing one is not the mean
        raw = {"scaling": "none", "log1p_skewed": None} if learner.view == "ordinal" else {}
        steps = problem.features.model_copy(update=raw)
        encoders, scalers = [], []
        for split in splits:
            fit_frame = problem.train.iloc[split.train_rows]
            is_wide = problem.scope == "train+test"
            seen = pd.concat([problem.train, problem.test], ignore_index=True) if is_wide else fit_frame
            encoders.append(
                fit_encoder(
                    learner.view,
                    steps,
                    problem.roles,
                    problem.ordered,
                    seen,
                    target_frame=fit_frame,
                    target=supervised[split.train_rows],
                    is_wide=is_wide,
                )
            )
            scalers.append(TargetScaler.fit(z[split.train_rows], is_scaled=is_regression))
        return cls(problem, splits, encoders, scalers, supervised, z, z.shape[1])

    def rows(self, split: int, output: int, seed: int) -> FitRows:
        """The fit rows of a split, encoded."""
        rows = self.splits[split].train_rows
        frame = self.problem.train.iloc[rows]
        encoded = self.encoders[split].transform(frame)
        part_seed = derive_seed(seed, "encoder", split)
        correct_fit_rows(self.encoders[split], encoded, frame, np.arange(len(rows)), self.supervised[rows], part_seed)
        weight = self.problem.weights_of(self.splits[split])
        return FitRows(
            x=encoded.values,
            y=self.scalers[split].scaled(self.target[rows])[:, output],
            weight=None if weight is None else weight[rows] / weight[rows].mean(),
            cardinality=_cardinality(encoded),
            n_classes=self.problem.n_classes,
            metric=self.problem.metric,
        )


def _cardinality(encoded: Encoded) -> dict[int, int]:
    return {encoded.names.index(name): number for name, number in encoded.cardinality.items()}


@dataclass
class FittedArrayModel:
    """Encoders and members of splits x seeds x targets; see `position` for which member is whose."""

    learner_class: type[Learner]
    params: Table
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    n_classes: int
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool  # one regression target: predictions are (rows,)
    members: list[Arrays] = field(default_factory=list)
    n_epochs: int | None = None
    history: list[EpochScores] = field(default_factory=list)

    @property
    def n_outputs(self) -> int:
        """Regression targets; 1 for classes."""
        return len(self.scalers[0].centre)

    def position(self, number: int) -> tuple[int, int, int]:
        """(split, seed, target) of a member."""
        rest, output = divmod(number, self.n_outputs)
        seed, split = divmod(rest, len(self.encoders))
        return split, seed, output

    def predict(
        self, frame: pd.DataFrame, splits: Sequence[int], *, encode: Encode = TableEncoder.transform
    ) -> FloatArray:
        """The mean over the seeds of `splits`, on the transformed scale for regression."""
        learner = self.learner_class(self.params)
        is_regression = self.task == "regression"
        total = np.zeros((len(frame), self.n_outputs if is_regression else self.n_classes))
        for split in splits:
            x = encode(self.encoders[split], frame).values
            outputs = np.zeros_like(total)
            for number, member in enumerate(self.members):
                its_split, _, output = self.position(number)
                if its_split == split and is_regression:
                    outputs[:, output] += learner.predict(member, x)
                elif its_split == split:
                    outputs += learner.predict(member, x)
            total += self.scalers[split].unscaled(outputs / self.n_seeds) if is_regression else outputs / self.n_seeds
        averaged = total / len(splits)
        if not is_regression:
            return averaged
        values = inverse_transform(self.target_transform, averaged)
        return values[:, 0] if self.is_flat else values

    def feature_importance(self) -> dict[str, float]:
        """Share of each encoded column, largest first; the mean over members. {} where the model has none."""
        learner = self.learner_class(self.params)
        shares: dict[str, float] = {}
        for number, member in enumerate(self.members):
            values = learner.importance(member)
            if values is None:
                return {}
            names = self.encoders[self.position(number)[0]].column_names()
            total = float(values.sum())
            for name, value in zip(names, values, strict=True):
                shares[name] = shares.get(name, 0.0) + float(value) / (total or 1.0) / len(self.members)
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def save(self, folder: Path) -> None:
        """Write `members.npz`, then `model.json`."""
        arrays = {f"{number}/{name}": a for number, member in enumerate(self.members) for name, a in member.items()}
        files.write_arrays(folder / "members.npz", arrays)
        state = {
            "params": self.params.model_dump(mode="json"),
            "encoders": [encoder.model_dump(mode="json") for encoder in self.encoders],
            "scalers": [scaler.model_dump(mode="json") for scaler in self.scalers],
            "task": self.task,
            "n_classes": self.n_classes,
            "target_transform": self.target_transform,
            "n_seeds": self.n_seeds,
            "is_flat": self.is_flat,
            "n_epochs": self.n_epochs,
        }
        files.write_json(folder / "model.json", state)

    @classmethod
    def load(cls, folder: Path, *, learner_class: type[Learner], params_class: type[Table]) -> FittedArrayModel:
        """Read what `save` wrote. Raises ArtifactError."""
        state: dict[str, Any] = files.read_json(folder / "model.json")
        members: dict[int, Arrays] = {}
        for key, array in files.read_arrays(folder / "members.npz").items():
            number, name = key.split("/", 1)
            members.setdefault(int(number), {})[name] = array
        return cls(
            learner_class=learner_class,
            params=params_class.model_validate(state.pop("params")),
            encoders=[TableEncoder.model_validate(encoder) for encoder in state.pop("encoders")],
            scalers=[TargetScaler.model_validate(scaler) for scaler in state.pop("scalers")],
            members=[members[number] for number in sorted(members)],
            **state,
        )
