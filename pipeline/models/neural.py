"""Packed networks as models: the splits x seeds of one configuration are the members of packs.

Turns frames into tensors, and outputs into predictions. Knows nothing of stages or of other configurations.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from pipeline import artifacts
from pipeline.config import Table, TargetTransform
from pipeline.errors import SpecError, TrainingError
from pipeline.features import Encoded, TableEncoder, cross_fitted, fit_encoder
from pipeline.folds import Split
from pipeline.metrics import Task
from pipeline.models.base import EpochScores, FitContext, FloatArray, Problem
from pipeline.nets.losses import REGRESSION_LOSSES, Loss, cross_entropy
from pipeline.nets.networks import MLP, Activation, Initialisation
from pipeline.nets.optimizers import OptimizerName, ScheduleName
from pipeline.nets.training import History, Member, PackData, PackResult, Plan, Score, predict, train_pack
from pipeline.seeds import derive_seed
from pipeline.targets import TargetScaler, class_indicators, inverse_transform, softmax, transform_target

MIN_PACK = 4  # with fewer members a worker's steps are so short that workers wait for each other
MAX_PACK = 32  # members trained in one program on a CPU; beyond that the matrices no longer fit the cache


class NeuralParams(Table):
    """Parameters of `linear` and `mlp`; the registry holds their defaults."""

    hidden_sizes: tuple[int, ...] = ()
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    initialisation: Initialisation = "torch"
    input_scale: bool = Field(default=False, description="a learned factor per input column")
    loss: Literal["auto", "mse", "mae", "huber", "log_rmse", "cross_entropy"] = "auto"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    scale_target: bool = Field(default=True, description="centre and scale the target on the fit rows")
    optimizer: OptimizerName = "adamw"
    lr: float = Field(default=1e-3, gt=0.0)
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="of sgd")
    beta2: float = Field(default=0.999, gt=0.0, lt=1.0, description="of adam and adamw")
    weight_decay: float = Field(default=0.0, ge=0.0)
    decay_biases: bool = False
    schedule: ScheduleName = "constant"
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=64, ge=1)
    patience: int | None = Field(default=None, ge=1, description="evaluations without a better valid score")
    evaluate_every: int = Field(default=1, ge=1, description="epochs between evaluations")


@dataclass(frozen=True)
class NeuralModel:
    """`linear` or `mlp` with its parameters."""

    params: NeuralParams

    def with_epochs(self, n_epochs: int) -> NeuralModel:
        """The same network for a fixed number of epochs."""
        return NeuralModel(self.params.model_copy(update={"epochs": n_epochs, "patience": None}))

    def fit(
        self, problem: Problem, splits: Sequence[Split], *, seed: int, n_seeds: int, context: FitContext
    ) -> FittedNeural:
        """Train splits x seeds in packs, one worker thread each. Raises SpecError, TrainingError."""
        loss = _loss(self.params, problem)
        prepared = [
            _prepare(problem, self.params, split, derive_seed(seed, "encoder", f)) for f, split in enumerate(splits)
        ]
        columns = _union_of_names([p.encoded for p in prepared])
        scores_classes = problem.task != "regression"
        network = MLP(
            n_inputs=len(columns),
            hidden_sizes=self.params.hidden_sizes,
            n_outputs=problem.n_classes if scores_classes else prepared[0].y.shape[1],
            activation=self.params.activation,
            initialisation=self.params.initialisation,
            has_input_scale=self.params.input_scale,
        )
        weight = None if problem.sample_weight is None else _tensor(problem.sample_weight, context.device)
        codes = torch.from_numpy(problem.target.astype(np.int64)) if scores_classes else None
        data = PackData(
            x=torch.stack([_on_columns(p.encoded, columns) for p in prepared]).to(context.device),
            y=codes.expand(len(splits), -1).contiguous().to(context.device)
            if codes is not None
            else torch.stack([_tensor(p.y, context.device) for p in prepared]),
            weight=weight,
        )
        members = [
            Member(
                seed=derive_seed(seed, "split", f, "seed", s),
                view=f,
                train_rows=split.train_rows,
                valid_rows=split.valid_rows,
                lr=self.params.lr,
                weight_decay=self.params.weight_decay,
                dropout=self.params.dropout,
            )
            for s in range(n_seeds)
            for f, split in enumerate(splits)
        ]
        fitted = FittedNeural(
            network=network,
            columns=columns,
            encoders=[p.encoder for p in prepared],
            scalers=[p.scaler for p in prepared],
            task=problem.task,
            target_transform=problem.target_transform,
            n_seeds=n_seeds,
        )
        is_flat = problem.target.ndim == 1

        def score(member: int, rows: NDArray[np.int64], output: NDArray[np.float32]) -> float:
            on_scale = fitted.on_average_scale(output, member % len(splits))
            return problem.metric(problem.target[rows], fitted.finish(on_scale, is_flat=is_flat))

        plan = _plan(self.params, loss, problem)
        fitted.learn(_train(network, plan, data, members, score, len(splits), context), members, is_flat=is_flat)
        return fitted


@dataclass
class FittedNeural:
    """Encoders and weights of splits x seeds; member = seed * splits + split."""

    network: MLP
    columns: list[str]
    encoders: list[TableEncoder]
    scalers: list[TargetScaler]
    task: Task
    target_transform: TargetTransform
    n_seeds: int
    is_flat: bool = True  # one regression target: predictions are (rows,)
    weights: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    n_epochs: int | None = None
    history: list[EpochScores] = field(default_factory=list)

    def learn(self, results: list[tuple[list[int], PackResult]], members: Sequence[Member], *, is_flat: bool) -> None:
        """Take over the packs' results."""
        n_splits = len(self.encoders)
        by_member = {m: row for inside, result in results for m, row in zip(inside, result.matrix.cpu(), strict=True)}
        self.weights = torch.stack([by_member[m] for m in range(len(members))])
        self.n_epochs = max(1, round(float(np.mean(np.concatenate([result.best_epoch for _, result in results])))))
        self.history = sorted(
            (line for inside, result in results for line in _history(result.history, inside, n_splits)),
            key=lambda line: (line.epoch, line.seed, line.split),
        )
        self.is_flat = is_flat

    def on_average_scale(self, output: NDArray[np.float32], split: int) -> FloatArray:
        """A member's raw outputs -> what members are averaged as: transformed values, or probabilities."""
        values = output.astype(np.float64)
        return self.scalers[split].unscaled(values) if self.task == "regression" else softmax(values)

    def finish(self, averaged: FloatArray, *, is_flat: bool) -> FloatArray:
        """Averages -> predictions in the target's unit; (rows,) for one regression target."""
        if self.task != "regression":
            return averaged
        values = inverse_transform(self.target_transform, averaged)
        return values[:, 0] if is_flat else values

    def predict(self, frame: pd.DataFrame, splits: Sequence[int]) -> FloatArray:
        """The mean over the seeds of `splits`, on the transformed scale for regression."""
        n_splits = len(self.encoders)
        total = np.zeros((len(frame), self.network.n_outputs))
        for split in splits:
            x = _on_columns(self.encoders[split].transform(frame), self.columns)[None]
            for output in predict(self.network, self.weights[split::n_splits], x, [0] * self.n_seeds):
                total += self.on_average_scale(output, split)
        return self.finish(total / (len(splits) * self.n_seeds), is_flat=self.is_flat)

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`, then `model.json`."""
        artifacts.write_tensors(folder / "weights.safetensors", {"weights": self.weights.numpy()})
        state = {
            "network": self.network.__dict__,
            "columns": self.columns,
            "encoders": [encoder.model_dump(mode="json") for encoder in self.encoders],
            "scalers": [scaler.model_dump(mode="json") for scaler in self.scalers],
            "task": self.task,
            "target_transform": self.target_transform,
            "n_seeds": self.n_seeds,
            "is_flat": self.is_flat,
            "n_epochs": self.n_epochs,
        }
        artifacts.write_json(folder / "model.json", state)

    @classmethod
    def load(cls, folder: Path) -> FittedNeural:
        """Read what `save` wrote. Raises ArtifactError."""
        state: dict[str, Any] = artifacts.read_json(folder / "model.json")
        network = state.pop("network")
        return cls(
            network=MLP(**{**network, "hidden_sizes": tuple(network["hidden_sizes"])}),
            encoders=[TableEncoder.model_validate(encoder) for encoder in state.pop("encoders")],
            scalers=[TargetScaler.model_validate(scaler) for scaler in state.pop("scalers")],
            weights=torch.from_numpy(artifacts.read_tensors(folder / "weights.safetensors")["weights"]),
            **state,
        )


@dataclass(frozen=True)
class _Prepared:
    """The tables of one split: encoder and scaler fitted on its rows, all train rows encoded."""

    encoder: TableEncoder
    encoded: Encoded
    scaler: TargetScaler
    y: FloatArray  # (rows, outputs) scaled


def _prepare(problem: Problem, params: NeuralParams, split: Split, seed: int) -> _Prepared:
    y = problem.target if problem.target.ndim == 2 else problem.target[:, None]
    if problem.task == "regression":
        z = transform_target(problem.target_transform, y)
        supervised = z
    else:
        z, supervised = y, class_indicators(problem.target.astype(np.int64), problem.n_classes)
    fit_frame = problem.train.iloc[split.train_rows]
    seen = fit_frame if problem.scope == "train" else pd.concat([problem.train, problem.test], ignore_index=True)
    encoder = fit_encoder(
        "onehot",
        problem.features,
        problem.roles,
        problem.ordered,
        seen,
        target_frame=fit_frame,
        target=supervised[split.train_rows],
    )
    encoded = encoder.transform(problem.train)
    cross_fitted(encoder, encoded, problem.train, split.train_rows, supervised, seed)
    is_scaled = params.scale_target and problem.task == "regression" and params.loss != "log_rmse"
    scaler = TargetScaler.fit(z[split.train_rows], is_scaled=is_scaled)
    return _Prepared(encoder, encoded, scaler, scaler.scaled(z))


def _loss(params: NeuralParams, problem: Problem) -> Loss:
    is_regression = problem.task == "regression"
    name = params.loss if params.loss != "auto" else "mse" if is_regression else "cross_entropy"
    if (name == "cross_entropy") == is_regression:
        raise SpecError(
            f"the loss {name!r} does not fit a {problem.task} task",
            where="[params] loss",
            hint=f"One of: {', '.join(REGRESSION_LOSSES) if is_regression else 'cross_entropy'}, auto.",
        )
    if name == "log_rmse" and problem.target_transform != "none":
        raise SpecError(
            "the loss 'log_rmse' takes logs itself", where="[params] loss", hint='Set target_transform = "none".'
        )
    return REGRESSION_LOSSES[name] if is_regression else cross_entropy(params.label_smoothing)


def _plan(params: NeuralParams, loss: Loss, problem: Problem) -> Plan:
    return Plan(
        loss=loss,
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=params.optimizer,
        schedule=params.schedule,
        momentum=params.momentum,
        betas=(0.9, params.beta2),
        decays_biases=params.decay_biases,
        patience=params.patience,
        evaluate_every=params.evaluate_every,
        greater_is_better=problem.metric.greater_is_better,
        stops_at_failure=True,
    )


def _train(
    network: MLP,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    score: Score,
    n_splits: int,
    context: FitContext,
) -> list[tuple[list[int], PackResult]]:
    """(members, result) of every pack. Ctrl-C saves each pack's checkpoint before it goes on up."""
    groups = pack_groups(len(members), context)
    epochs_done = [0] * len(groups)
    lock = threading.Lock()

    def train_group(number: int) -> tuple[list[int], PackResult]:
        inside = groups[number]
        n_told = 0
        if context.device.type == "cpu":
            torch.set_num_threads(1)  # of this worker: the others have their own core
            torch.set_flush_denormal(True)  # moments of units without gradient fade into numbers that are slow to add

        def on_epoch(epoch: int, history: History) -> None:
            nonlocal n_told
            with lock:
                epochs_done[number] = epoch
                new = _history(History(history.rows[n_told:]), inside, n_splits)
                n_told = len(history.rows)
                if context.on_progress is not None:
                    context.on_progress(sum(epochs_done) / (plan.epochs * len(groups)), new)

        result = train_pack(
            network,
            plan,
            data,
            [members[m] for m in inside],
            lambda position, rows, output: score(inside[position], rows, output),
            checkpoint=None if context.checkpoints is None else context.checkpoints / _checkpoint_name(inside),
            on_epoch=on_epoch,
            should_stop=context.stop.is_set,
        )
        if result.failures:
            position, why = next(iter(result.failures.items()))
            seed, split = divmod(inside[position], n_splits)
            raise TrainingError(
                f"training broke down: {why}",
                where=f"fold {split}, seed {seed}",
                hint=f"Try a smaller learning rate, e.g. --set lr={members[inside[position]].lr / 10:g}",
            )
        return inside, result

    with ThreadPoolExecutor(max_workers=min(len(groups), context.n_workers)) as pool:
        futures = [pool.submit(train_group, number) for number in range(len(groups))]
        try:
            return [future.result() for future in _first_failure_first(futures)]
        except BaseException:
            context.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _checkpoint_name(inside: Sequence[int]) -> str:
    """Named by its members: with another number of workers the packs are others."""
    return f"members-{inside[0]}-{inside[-1]}.safetensors"


def _first_failure_first(futures: list[Future[Any]]) -> list[Future[Any]]:
    """Wait for all, or for the first that fails; the failed one is put in front."""
    wait(futures, return_when=FIRST_EXCEPTION)
    return sorted(futures, key=lambda future: not (future.done() and future.exception() is not None))


def pack_groups(n_members: int, context: FitContext) -> list[list[int]]:
    """Members by pack: one pack on a GPU; on a CPU one or more a worker, within `MIN_PACK` and `MAX_PACK`."""
    if context.device.type != "cpu":
        return [list(range(n_members))]
    n_groups = max(1, min(context.n_workers, n_members // MIN_PACK), math.ceil(n_members / MAX_PACK))
    return [part.tolist() for part in np.array_split(np.arange(n_members), n_groups)]


def _history(history: History, inside: Sequence[int], n_splits: int) -> list[EpochScores]:
    return [
        EpochScores(epoch, inside[position] % n_splits, inside[position] // n_splits, train_score, valid_score)
        for epoch, position, train_score, valid_score in history.rows
    ]


def _union_of_names(encoded: Sequence[Encoded]) -> list[str]:
    """All columns of all splits: a level that one fold has not seen is a column of zeros there."""
    names: dict[str, None] = {}
    for one in encoded:
        names |= dict.fromkeys(one.names)
    return list(names)


def _on_columns(encoded: Encoded, columns: Sequence[str]) -> torch.Tensor:
    """(rows, columns) float32, with zeros where this encoding has no such column."""
    position = {name: i for i, name in enumerate(columns)}
    values = np.zeros((len(encoded.values), len(columns)), dtype=np.float32)
    values[:, [position[name] for name in encoded.names]] = encoded.values
    return torch.from_numpy(values)


def _tensor(values: FloatArray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)
