"""Learners as models: encoders and members of splits x seeds x targets, prediction, storage.

Knows frames and splits; must not know what a learner does with its arrays.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_limits

from pipeline.base import files, mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.fit_workers import n_waiting
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.table import Table, validated
from pipeline.encoders.table import Encode, TableEncoder
from pipeline.models.arrays.boosting import imported
from pipeline.models.arrays.learners import CUT, Arrays, FitRows, Job, Learner
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.split_encoders import SplitEncoders
from pipeline.models.stored import StoredModel

CONSTANT = "constant_prediction"  # the array of a member that is not fitted: (1,) value or (classes,) probabilities
WAIT_S = 0.2  # between two checks for a stop


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
        tables = _SplitTables(encoders, stored.n_seeds * fitted.n_outputs)
        fitted.members = self._members(tables, fitted, seed, context)
        fitted.oof_prediction = out_of_fold(
            problem, splits, lambda split: fitted.predict_arrays([(split, tables.valid_rows(split))])
        )
        rounds = [int(member["n_rounds"]) for member in fitted.members if "n_rounds" in member]
        n_epochs = max(1, round(float(np.mean(rounds)))) if rounds else None
        return replace(fitted, stored=stored.updated(n_epochs=n_epochs))

    def _members(self, tables: _SplitTables, fitted: FittedArrayModel, seed: int, context: FitContext) -> list[Arrays]:
        from sklearn.exceptions import ConvergenceWarning

        n_members = len(fitted.stored.encoders) * tables.n_members_each
        mine = filter(context.share.has, range(n_members))
        by_split = sorted(mine, key=lambda number: fitted.position(number)[0])
        n_cores, workers = context.n_cores, context.workers
        is_alone = context.device.type == "cuda"
        if not workers.is_elsewhere and mapped.is_large(*tables.encoders.problem.train.shape):
            is_alone = True  # its arrays are as large
        n_parallel = 1 if is_alone else max(1, min(n_cores, len(by_split)))
        threads = dict(zip(by_split, threads_of_each(len(by_split), n_parallel, n_cores), strict=True))

        to_come = count(len(by_split), -1)  # one for each fit that is still to begin

        def fit(number: int) -> Arrays:
            n_threads = threads[number]
            path = None if context.checkpoints is None else context.checkpoints / f"member-{number}.npz"
            split, member_seed, output = fitted.position(number)
            n_to_come = next(to_come)
            known = files.read_checkpoint(files.read_arrays, path)
            if known is not None and (CUT not in known or math.isfinite(context.ends_at)):
                tables.done(split)
                return known
            job_seed = derive_seed(seed, "split", split, "seed", member_seed, "target", output)
            rows = tables.fit_rows(split, output)
            seconds = (context.ends_at - time.monotonic()) / math.ceil(n_to_come / n_parallel)
            n_threads = min(n_threads, workers.most_threads or n_threads)
            job = _Job(job_seed % 2**31, n_threads, context.device, self.n_rounds, seconds)
            member = constant_of(rows) or workers.run(
                _fit, [rows.x], replace(rows, x=rows.x[:0]), self.learner_class, self.params, job, stop=context.stop
            )
            tables.done(split)
            if path is not None:
                files.write_arrays(path, member)
            return member

        if not workers.is_elsewhere:
            _thread_pools(self.learner_class)
        with (
            warnings.catch_warnings(),
            threadpool_limits(1, user_api="blas"),  # sums of more threads end in other bits
            ThreadPoolExecutor(n_waiting(n_parallel, workers)) as pool,
        ):
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # at the weakest penalties of a path, which are not chosen
            futures = {number: pool.submit(fit, number) for number in by_split}
            try:
                _watch(futures.values(), context)
            except BaseException:
                context.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        context.share.end()
        return [futures[number].result() for number in range(n_members)]


def threads_of_each(n_fits: int, n_parallel: int, n_workers: int) -> list[int]:
    """Threads of each fit, in the order in which they begin: the last ones share the workers that would be idle."""
    n_last = n_fits % n_parallel
    even = [max(1, n_workers // n_parallel)] * (n_fits - n_last)
    return even + [max(1, n_workers // max(1, n_last))] * n_last


@dataclass(frozen=True)
class _Job:
    """A `Job` that can be sent."""

    seed: int
    n_threads: int
    device: torch.device
    n_rounds: int | None
    seconds: float  # that it may take; clocks differ


def _fit(
    x: NDArray[np.float32],
    rows: FitRows,
    learner_class: type[Learner],
    params: Table,
    job: _Job,
    *,
    stop: threading.Event,
) -> Arrays:
    """Fit a member on `rows`, whose table is `x`, where this is called."""
    pools = _thread_pools(learner_class)
    pools.limit(limits=1, user_api="blas")  # for good: of a worker's threads, each would restore it for the others
    with pools.limit(limits=job.n_threads, user_api="openmp"):  # OpenMP keeps its limit by thread
        whole = Job(job.seed, job.n_threads, job.device, stop, job.n_rounds, time.monotonic() + job.seconds)
        return learner_class(params).fit(replace(rows, x=x), whole)


@cache
def _thread_pools(learner_class: type[Learner]) -> ThreadpoolController:
    """The libraries with threads, those of the learner among them; the first call belongs before threads that fit.

    A thread that looks for libraries waits for ever for one that loads a library: each has the lock the other needs,
    the linker's or Python's.
    """
    if library := getattr(learner_class, "library", ""):
        imported(library)
    return ThreadpoolController()


def constant_of(rows: FitRows) -> Arrays | None:
    """A member that always predicts the target of these rows, if it is the same in all of them; else None."""
    if (rows.y != rows.y[0]).any():
        return None
    return {CONSTANT: rows.y[:1] if rows.is_regression else (np.arange(rows.n_classes) == rows.y[0]).astype(np.float64)}


def _watch(futures: Collection[Future[Arrays]], context: FitContext) -> None:
    """Wait for all fits and report progress. Raises what a fit raises, and Stopped."""
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
    """The encoded train table of each split, shared by its members; its valid rows are kept for prediction."""

    def __init__(self, encoders: SplitEncoders, n_members_each: int) -> None:
        self.encoders, self.n_members_each = encoders, n_members_each
        self._locks = [threading.Lock() for _ in encoders.splits]
        self._n_done = [0] * len(encoders.splits)
        self._fit_rows: dict[int, FitRows] = {}  # of splits in progress; `y` holds all outputs
        self._valid_rows: dict[int, NDArray[np.float32]] = {}

    def fit_rows(self, split: int, output: int) -> FitRows:
        """The fit rows of a split for one output."""
        with self._locks[split]:
            if split not in self._fit_rows:
                self._encode(split)
            rows = self._fit_rows[split]
        return replace(rows, y=rows.y[:, output])

    def done(self, split: int) -> None:
        """Count a fitted member of the split; its fit rows are dropped after the last one."""
        with self._locks[split]:
            self._n_done[split] += 1
            if self._n_done[split] == self.n_members_each:
                self._fit_rows.pop(split, None)

    def valid_rows(self, split: int) -> NDArray[np.float32]:
        """The valid rows of a split."""
        if split in self._valid_rows:
            return self._valid_rows.pop(split)
        rows = self.encoders.splits[split].valid_rows  # of a large table, or all its members came from checkpoints
        return self.encoders.encoders[split].values_of(self.encoders.problem.train, rows)

    def _encode(self, number: int) -> None:
        fit = self.encoders
        split, problem = fit.splits[number], fit.problem
        weight, rows = problem.weights_of(split), split.train_rows
        rows = rows if weight is None else rows[weight[rows] > 0]
        encoder, is_large = fit.encoders[number], mapped.is_large(*problem.train.shape)
        if is_large and not encoder.corrects_fit_rows:
            encoded = encoder.transform(problem.train.head(0))  # the names of its columns
            x = encoder.values_of(problem.train, rows)
        else:
            encoded = encoder.transform(problem.train)
            fit.correct_fit_rows(number, encoded.dense, encoded.dense_names)
            self._valid_rows[number] = encoded.rows(split.valid_rows)
            x = encoded.rows(rows)
        self._fit_rows[number] = FitRows(
            x=x,
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
