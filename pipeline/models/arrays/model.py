"""Learners as models: an encoder and a member for every split (x seeds x targets), prediction, storage.

Knows frames and splits; knows nothing of what a learner does with its arrays.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.spec import TargetTransform
from pipeline.config.table import Table, validated
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.encoders.target import TargetScaler, inverse_transform
from pipeline.metrics import Task
from pipeline.models.arrays.learners import Arrays, FitRows, Job, Learner
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.split_encoders import SplitEncoders
from pipeline.models.stored import StoredModel

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
        encoders = SplitEncoders.fit(problem, splits, view=learner.view, seed=seed)
        fitted = FittedArrayModel(
            learner_class=self.learner_class,
            params=self.params,
            encoders=encoders.encoders,
            scalers=encoders.scalers,
            task=problem.task,
            n_classes=problem.n_classes,
            target_transform=problem.target_transform,
            n_seeds=n_seeds if learner.is_seeded else 1,
            is_flat=problem.target.ndim == 1,
        )
        tables = _SplitTables(encoders, fitted.n_seeds * fitted.n_outputs)
        fitted.members = self._members(tables, fitted, seed, context)
        fitted.oof_prediction = out_of_fold(
            problem, splits, lambda split: fitted.predict_arrays([(split, tables.valid_rows(split))])
        )
        rounds = [int(member["n_rounds"]) for member in fitted.members if "n_rounds" in member]
        fitted.n_epochs = max(1, round(float(np.mean(rounds)))) if rounds else None
        return fitted

    def _members(self, tables: _SplitTables, fitted: FittedArrayModel, seed: int, context: FitContext) -> list[Arrays]:
        from sklearn.exceptions import ConvergenceWarning

        n_members = len(fitted.encoders) * tables.n_members_each
        by_split = sorted(range(n_members), key=lambda number: fitted.position(number)[0])
        is_alone = context.device.type == "cuda"
        n_parallel = 1 if is_alone else max(1, min(context.n_workers, n_members))
        n_threads = max(1, context.n_workers // n_parallel)

        def fit(number: int) -> Arrays:
            path = None if context.checkpoints is None else context.checkpoints / f"member-{number}.npz"
            split, member_seed, output = fitted.position(number)
            if path is not None and path.exists():
                tables.done(split)
                return files.read_arrays(path)
            job_seed = derive_seed(seed, "split", split, "seed", member_seed, "target", output)
            with threadpool_limits(n_threads, user_api="openmp"):  # OpenMP keeps its limit by thread
                rows = tables.fit_rows(split, output)
                job = Job(job_seed % 2**31, n_threads, context.device, context.stop, self.n_rounds)
                member = self.learner_class(self.params).fit(rows, job)
            tables.done(split)
            if path is not None:
                files.write_arrays(path, member)
            return member

        with (
            warnings.catch_warnings(),
            threadpool_limits(n_threads, user_api="blas"),
            ThreadPoolExecutor(n_parallel) as pool,
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a path's loosest end, which is not chosen
            futures = {number: pool.submit(fit, number) for number in by_split}
            try:
                _watch(futures.values(), context)
            except BaseException:
                context.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        return [futures[number].result() for number in range(n_members)]


def _watch(futures: Collection[Future[Arrays]], context: FitContext) -> None:
    """Wait for all; report progress; raise what a fit raises, or KeyboardInterrupt when asked to stop."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        if done and context.on_progress is not None:
            context.on_progress(1.0 - len(pending) / len(futures), [])
        if context.stop.is_set() and pending:
            raise Stopped


class _SplitTables:
    """The encoded train table of every split, made once for its members; its valid rows stay for their prediction."""

    def __init__(self, encoders: SplitEncoders, n_members_each: int) -> None:
        self.encoders, self.n_members_each = encoders, n_members_each
        self._locks = [threading.Lock() for _ in encoders.splits]
        self._n_done = [0] * len(encoders.splits)
        self._fit_rows: dict[int, FitRows] = {}  # of the splits that are at work; `y` holds every output
        self._valid_rows: dict[int, NDArray[np.float32]] = {}

    def fit_rows(self, split: int, output: int) -> FitRows:
        """The fit rows of a split for one output."""
        with self._locks[split]:
            if split not in self._fit_rows:
                self._encode(split)
            rows = self._fit_rows[split]
        return replace(rows, y=rows.y[:, output])

    def done(self, split: int) -> None:
        """Count a member of the split that is fitted; after the last one its fit rows are dropped."""
        with self._locks[split]:
            self._n_done[split] += 1
            if self._n_done[split] == self.n_members_each:
                self._fit_rows.pop(split, None)

    def valid_rows(self, split: int) -> NDArray[np.float32]:
        """The valid rows of a split."""
        if split in self._valid_rows:
            return self._valid_rows.pop(split)
        rows = self.encoders.splits[split].valid_rows  # an earlier call fitted its members
        return self.encoders.encoders[split].transform(self.encoders.problem.train.iloc[rows]).values

    def _encode(self, number: int) -> None:
        fit = self.encoders
        split, problem = fit.splits[number], fit.problem
        encoded = fit.encoders[number].transform(problem.train)
        fit.correct_fit_rows(number, encoded.dense, encoded.dense_names)
        weight, rows = problem.weights_of(split), split.train_rows
        self._valid_rows[number] = encoded.rows(split.valid_rows)
        self._fit_rows[number] = FitRows(
            x=encoded.rows(rows),
            y=fit.scalers[number].scaled(fit.target[rows]),
            weight=None if weight is None else weight[rows] / weight[rows].mean(),
            cardinality={encoded.names.index(name): n_codes for name, n_codes in encoded.cardinality.items()},
            n_classes=problem.n_classes,
            metric=problem.metric,
        )


class StoredArrayModel(StoredModel):
    """`model.json` beside `members.npz`."""

    format: Literal[1] = 1
    params: dict[str, Any]
    n_classes: int


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
    oof_prediction: FloatArray = field(default_factory=lambda: np.empty(0))

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
        return self.predict_arrays((split, encode(self.encoders[split], frame).values) for split in splits)

    def predict_arrays(self, tables: Iterable[tuple[int, NDArray[np.float32]]]) -> FloatArray:
        """As `predict`, of rows that are encoded already: (split, x (rows, columns)) each."""
        learner, is_regression = self.learner_class(self.params), self.task == "regression"
        total, n_splits = np.zeros(()), 0
        for split, x in tables:
            outputs = np.zeros((len(x), self.n_outputs if is_regression else self.n_classes))
            for number, member in enumerate(self.members):
                its_split, _, output = self.position(number)
                if its_split == split and is_regression:
                    outputs[:, output] += learner.predict(member, x)
                elif its_split == split:
                    outputs += learner.predict(member, x)
            outputs /= self.n_seeds
            total = total + (self.scalers[split].unscaled(outputs) if is_regression else outputs)
            n_splits += 1
        averaged = total / n_splits
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
        stored = StoredArrayModel(
            params=self.params.model_dump(mode="json"),
            n_classes=self.n_classes,
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
    def load(cls, folder: Path, *, learner_class: type[Learner], params_class: type[Table]) -> FittedArrayModel:
        """Read what `save` wrote. Raises ArtifactError, SpecError for parameters of another version."""
        stored = StoredArrayModel.read(folder / "model.json")
        members: dict[int, Arrays] = {}
        for key, array in files.read_arrays(folder / "members.npz").items():
            number, name = key.split("/", 1)
            members.setdefault(int(number), {})[name] = array
        return cls(
            learner_class=learner_class,
            params=validated(params_class, stored.params, where=str(folder / "model.json")),
            encoders=stored.encoders,
            scalers=stored.scalers,
            task=stored.task,
            n_classes=stored.n_classes,
            target_transform=stored.target_transform,
            n_seeds=stored.n_seeds,
            is_flat=stored.is_flat,
            n_epochs=stored.n_epochs,
            members=[members[number] for number in sorted(members)],
        )
