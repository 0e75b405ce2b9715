"""Packed networks as models: the splits x seeds of one or many configurations are the members of packs.

Turns parameters into packs and packs' results into fitted models. Knows nothing of stages or studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.table import Table
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.networks.columns import Columns
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.tensors import SplitTensors, split_tensors
from pipeline.nets.devices import free_memory
from pipeline.nets.losses import REGRESSION_LOSSES, Loss, cross_entropy
from pipeline.nets.networks import Network
from pipeline.nets.optimizers import OptimizerName, ScheduleName, Update
from pipeline.nets.plan import HistoryRow, Member, PackJob, Plan, Precision, Score
from pipeline.nets.training import PackResult, one_by_one
from pipeline.nets.workers import member_bytes, min_pack_size, pack_sizes, run_packs

# parameters that members of one pack may differ in, beside those of their networks
OWN_NUMBERS = {"lr", "weight_decay", "dropout", "momentum", "beta2", "label_smoothing", "schedule"}


class NeuralParams(Table):
    """How a packed network trains; each architecture adds its own. The registry holds the defaults."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="dropout rate of the hidden units")
    loss: Literal["auto", "mse", "mae", "huber", "log_rmse", "cross_entropy"] = Field(
        default="auto", description="what is minimised; auto: mse for numbers, cross_entropy for classes"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="share of the label spread over all classes"
    )
    scale_target: bool = Field(default=True, description="centre and scale the target on the fit rows")
    optimizer: OptimizerName = Field(default="adamw", description="update rule")
    lr: float = Field(default=1e-3, gt=0.0, description="learning rate; the peak of a schedule")
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="momentum of sgd")
    beta2: float = Field(default=0.999, gt=0.0, lt=1.0, description="second-moment decay of adam and adamw")
    weight_decay: float = Field(default=0.0, ge=0.0, description="weight decay; decoupled in adamw")
    decay_biases: bool = Field(default=False, description="decay biases as well")
    schedule: ScheduleName = Field(default="constant", description="how the learning rate changes over the epochs")
    epochs: int = Field(default=50, ge=1, description="passes over the fit rows")
    batch_size: int = Field(default=64, ge=1, description="rows per step")
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many evaluations without a better valid score; default: never"
    )
    precision: Precision = Field(
        default="float32", description="precision of matrix products; tf32 on CUDA only, bf16 also on CPUs that have it"
    )
    evaluate_every: int = Field(default=1, ge=1, description="epochs between evaluations")

    @property
    def has_momentum(self) -> bool:
        """Whether the update keeps a moment for it."""
        return self.optimizer == "sgd" and self.momentum > 0

    def shared(self) -> str:
        """Equal for parameters with which networks can share a pack, as far as it is not a matter of the networks."""
        names = NeuralParams.model_fields.keys() - OWN_NUMBERS
        return f"{self.model_dump_json(include=set(names))} {self.has_momentum}"

    @property
    def scales_target(self) -> bool:
        """Whether the network learns a centred and scaled target; the log_rmse loss wants raw values."""
        return self.scale_target and self.loss != "log_rmse"

    def network(self, columns: Columns, n_outputs: int) -> Network:
        """The architecture for these columns."""
        raise NotImplementedError

    def arranged(self, columns: Columns, problem: Problem) -> Columns:  # noqa: ARG002 (for the others)
        """The columns as the architecture reads them. Raises SpecError when it cannot."""
        return columns


@dataclass(frozen=True)
class Failed:
    """A configuration that broke down."""

    reason: str


@dataclass(frozen=True)
class Pruned:
    """A configuration that was given up after `epoch`."""

    epoch: int


Fit = FittedNeural | Failed | Pruned
# (number of the configuration, epoch, mean valid score of each fold) -> whether to give it up
ShouldPrune = Callable[[int, int, list[float]], bool]


@dataclass(frozen=True)
class NeuralModel:
    """A network with its parameters."""

    params: NeuralParams

    def with_epochs(self, n_epochs: int) -> NeuralModel:
        """The same network for a fixed number of epochs."""
        return NeuralModel(self.params.model_copy(update={"epochs": n_epochs, "patience": None}))

    def fit(
        self, problem: Problem, splits: Sequence[Split], *, seed: int, n_seeds: int, context: FitContext
    ) -> FittedNeural:
        """Train splits x seeds. Raises SpecError, TrainingError."""
        tensors = tensors_for(self.params, problem, splits, seed=seed, device=context.device)
        (fitted,) = fit_many(
            [self.params], problem, splits, tensors, seed=seed, n_seeds=n_seeds, context=context, stops_at_failure=True
        )
        assert isinstance(fitted, FittedNeural), "a failure would have been raised"
        return fitted


def tensors_for(
    params: NeuralParams, problem: Problem, splits: Sequence[Split], *, seed: int, device: torch.device
) -> SplitTensors:
    """The problem's tables as the network reads them. Raises DataError, SpecError."""
    arrange = partial(params.arranged, problem=problem)
    return split_tensors(problem, splits, scale_target=params.scales_target, seed=seed, device=device, arrange=arrange)


def fit_many(
    configurations: Sequence[NeuralParams],
    problem: Problem,
    splits: Sequence[Split],
    tensors: SplitTensors,
    *,
    seed: int,
    n_seeds: int,
    context: FitContext,
    stops_at_failure: bool = False,
    should_prune: ShouldPrune | None = None,
) -> list[Fit]:
    """Train configurations x splits x seeds together, one pack or more for all networks that may share it.

    A configuration with a member whose outputs are not finite is `Failed`, or, with `stops_at_failure`, raises
    TrainingError. `should_prune` is asked about a configuration after every evaluation of its members.
    Raises SpecError.
    """
    outcomes = [_Outcome(params, problem, splits, tensors, n_seeds) for params in configurations]
    packs: list[_Pack] = []
    for group_number, numbers in enumerate(_groups(outcomes)):
        members = [(number, m) for number in numbers for m in range(n_seeds * len(splits))]
        plan = _plan(outcomes[numbers[0]].params, problem, stops_at_failure)
        packs += _packs(f"group-{group_number}", outcomes, members, plan, seed, context, should_prune)

    def on_progress(share: float, number: int, new: list[HistoryRow]) -> None:
        if context.on_progress is not None:
            members = [packs[number].members[position][1] for _, position, _, _ in new]
            context.on_progress(share, _epoch_scores(new, members, len(splits)))

    results = run_packs(
        [pack.job for pack in packs],
        n_workers=context.n_workers,
        checkpoints=context.checkpoints,
        on_progress=on_progress,
        stop=context.stop,
    )
    for pack, result in zip(packs, results, strict=True):
        for position, (number, member) in enumerate(pack.members):
            outcomes[number].take(result, position, member)
    return [outcome.finished() for outcome in outcomes]


@dataclass(frozen=True)
class _Pack:
    """A pack to train, and whose its members are: (configuration, its member) by position."""

    job: PackJob
    members: Sequence[tuple[int, int]]


def _packs(
    name: str,
    outcomes: Sequence[_Outcome],
    members: Sequence[tuple[int, int]],
    plan: Plan,
    seed: int,
    context: FitContext,
    should_prune: ShouldPrune | None,
) -> list[_Pack]:
    """The members of one group of configurations in packs that suit the device."""
    one = outcomes[members[0][0]]
    network, tensors, splits = one.fitted.network, one.tensors, one.splits
    sizes = pack_sizes(
        len(members),
        context.n_workers,
        context.device,
        unit=1 if should_prune is None else len(one.rows),
        bytes_each=member_bytes(network, plan),
        free=free_memory(context.device),
        min_size=min_pack_size(network, plan),
    )
    packs = []
    for start, stop in pairwise(accumulate(sizes, initial=0)):
        inside = members[start:stop]
        job = PackJob(
            name=f"{name}-members-{start}-{stop - 1}",
            network=network,
            plan=plan,
            data=tensors.data if context.device.type == "cpu" or network.reads_codes else tensors.dense_data,
            members=[_member(outcomes[number], splits, tensors.view_of_split, seed, m) for number, m in inside],
            labels=[_label(m, len(splits)) for _, m in inside],
            prune=None if should_prune is None else _prune(should_prune, inside, len(splits)),
            score=_score(one.problem, [outcomes[number].fitted for number, _ in inside], [m for _, m in inside]),
        )
        packs.append(_Pack(job, inside))
    return packs


def _groups(outcomes: Sequence[_Outcome]) -> list[list[int]]:
    """Numbers of the configurations that train in the same packs: those of one plan and one shape."""
    alike: dict[tuple[str, Network], list[int]] = {}
    for number, outcome in enumerate(outcomes):
        alike.setdefault((outcome.params.shared(), outcome.fitted.network.without_initialisation()), []).append(number)
    return list(alike.values())


def _prune(
    should_prune: ShouldPrune, inside: Sequence[tuple[int, int]], n_splits: int
) -> Callable[[int, list[HistoryRow]], list[int]]:
    """The members of the configurations that `should_prune` gives up, asked with their mean score of each fold."""

    def prune(epoch: int, rows: list[HistoryRow]) -> list[int]:
        scores: dict[int, dict[int, list[float]]] = {}
        for _, position, _, valid_score in rows:
            number, member = inside[position]
            scores.setdefault(number, {}).setdefault(member % n_splits, []).append(valid_score)
        given_up = {
            number
            for number, by_fold in scores.items()
            if should_prune(number, epoch, [float(np.mean(by_fold[fold])) for fold in sorted(by_fold)])
        }
        return [position for position, (number, _) in enumerate(inside) if number in given_up]

    return prune


class _Outcome:
    """One configuration's members as their packs finish."""

    def __init__(
        self, params: NeuralParams, problem: Problem, splits: Sequence[Split], tensors: SplitTensors, n_seeds: int
    ) -> None:
        self.params, self.problem, self.splits, self.tensors = params, problem, splits, tensors
        self.rows: list[torch.Tensor | None] = [None] * (n_seeds * len(splits))
        self.best_epochs: list[int] = []
        self.failure: Failed | Pruned | None = None
        self.fitted = FittedNeural(
            network=params.network(tensors.columns, tensors.n_outputs),
            columns=tensors.columns,
            encoders=tensors.encoders,
            scalers=tensors.scalers,
            task=problem.task,
            target_transform=problem.target_transform,
            n_seeds=n_seeds,
            is_flat=problem.target.ndim == 1,
        )

    def take(self, result: PackResult, position: int, member: int) -> None:
        """Member `member` of the configuration was the member `position` of a pack."""
        if position in result.failures:
            self.failure = Failed(f"{_label(member, len(self.splits))}: {result.failures[position]}")
        elif position in result.pruned and self.failure is None:
            self.failure = Pruned(max(line[0] for line in result.history if line[1] == position))
        self.rows[member] = result.matrix[position].cpu()
        self.best_epochs.append(int(result.best_epoch[position]))
        lines = [line for line in result.history if line[1] == position]
        self.fitted.history += _epoch_scores(lines, [member] * len(lines), len(self.splits))

    def finished(self) -> Fit:
        if self.failure is not None:
            return self.failure
        self.fitted.weights = torch.stack([row for row in self.rows if row is not None])
        self.fitted.n_epochs = max(1, round(float(np.mean(self.best_epochs))))
        self.fitted.history.sort(key=lambda line: (line.epoch, line.seed, line.split))
        self.fitted.oof_prediction = out_of_fold(self.problem, self.splits, self._of_valid_rows)
        return self.fitted

    def _of_valid_rows(self, split: int) -> FloatArray:
        return self.fitted.predict_inputs([(split, self.tensors.rows(split, self.splits[split].valid_rows))])


def _label(member: int, n_splits: int) -> str:
    seed, split = divmod(member, n_splits)
    return f"fold {split}, seed {seed}"


def _member(outcome: _Outcome, splits: Sequence[Split], view_of_split: Sequence[int], seed: int, member: int) -> Member:
    """Member seed * splits + split of a configuration; its randomness does not depend on the configuration."""
    params, (s, f) = outcome.params, divmod(member, len(splits))
    return Member(
        seed=derive_seed(seed, "split", f, "seed", s),
        view=view_of_split[f],
        train_rows=splits[f].train_rows,
        valid_rows=splits[f].valid_rows,
        lr=params.lr,
        weight_decay=params.weight_decay,
        dropout=params.dropout,
        momentum=params.momentum,
        betas=(0.9, params.beta2),
        label_smoothing=params.label_smoothing,
        schedule=params.schedule,
        network=outcome.fitted.network,
    )


def _score(problem: Problem, fitted: Sequence[FittedNeural], members: Sequence[int]) -> Score:
    """The competition's metric of a pack's members' raw outputs."""

    def score(position: int, rows: NDArray[np.int64], output: NDArray[np.float32]) -> float:
        model = fitted[position]
        on_scale = model.on_average_scale(output, members[position] % len(model.encoders))
        return problem.metric(problem.target[rows], model.finish(on_scale))

    return one_by_one(score)


def _epoch_scores(lines: Sequence[HistoryRow], members: Sequence[int], n_splits: int) -> list[EpochScores]:
    return [
        EpochScores(epoch, member % n_splits, member // n_splits, train_score, valid_score)
        for (epoch, _, train_score, valid_score), member in zip(lines, members, strict=True)
    ]


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
    return REGRESSION_LOSSES[name] if is_regression else cross_entropy()


def _plan(params: NeuralParams, problem: Problem, stops_at_failure: bool) -> Plan:
    return Plan(
        loss=_loss(params, problem),
        epochs=params.epochs,
        batch_size=params.batch_size,
        update=Update(params.optimizer, params.has_momentum, params.decay_biases),
        precision=params.precision,
        patience=params.patience,
        evaluate_every=params.evaluate_every,
        greater_is_better=problem.metric.greater_is_better,
        stops_at_failure=stops_at_failure,
    )
