"""Packed networks as models: the splits x seeds of one or many configurations are the members of packs.

Turns parameters into packs, and their results into fitted models. Must not know stages or studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray

from pipeline.base.errors import TrainingError
from pipeline.base.seeds import derive_seed
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.models.base import EpochScores, FitContext, out_of_fold
from pipeline.models.networks.fitted import STORED, FittedNeural, StoredNetworks
from pipeline.models.networks.params import NeuralParams
from pipeline.models.networks.tensors import SplitTensors, split_tensors
from pipeline.nets.devices import free_memory
from pipeline.nets.networks import Network
from pipeline.nets.plan import HistoryRow, Member, PackJob, Plan, Prune, Score
from pipeline.nets.training import PackResult, one_by_one
from pipeline.nets.workers import member_bytes, min_pack_size, pack_sizes, run_packs


@dataclass(frozen=True)
class Failed:
    """A configuration that could not be trained."""

    reason: str


@dataclass(frozen=True)
class Pruned:
    """A configuration that was pruned after `epoch`."""

    epoch: int


Fit = FittedNeural | Failed | Pruned
# (number of the configuration, epoch, mean valid score of each fold) -> whether to prune it
ShouldPrune = Callable[[int, int, list[float]], bool]
Owner = tuple[int, int]  # of a pack's member: number of the configuration, member in it


@dataclass(frozen=True)
class NeuralModel:
    """A network with its parameters."""

    params: NeuralParams

    def with_epochs(self, n_epochs: int) -> NeuralModel:
        """The same network trained for a fixed number of epochs."""
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
    may_prune: bool = True,
) -> list[Fit]:
    """Train configurations x splits x seeds, in common packs where networks can share them.

    If a member's outputs are not finite, its configuration is `Failed`, or TrainingError is raised with
    `stops_at_failure`. `should_prune` is called for a configuration after each evaluation of its members; if it never
    returns True, `may_prune` should be False: a cluster need not wait for its answers. Raises SpecError.
    """
    fits = [_Configuration(params, problem, splits, tensors, seed, n_seeds) for params in configurations]
    for fit in fits:
        fit.check_memory(context.device, stops_at_failure=stops_at_failure)
    packs: list[tuple[PackJob, Sequence[Owner]]] = []
    for group, numbers in enumerate(_groups(fits)):
        owners = [(number, member) for number in numbers for member in range(n_seeds * len(splits))]
        plan = fits[numbers[0]].params.plan(problem, stops_at_failure=stops_at_failure)
        packs += _packs(f"group-{group}", fits, owners, plan, context, should_prune, may_prune)

    packs = [pack for number, pack in enumerate(packs) if context.share.has(number)]

    def on_progress(share: float, number: int, new: list[HistoryRow]) -> None:
        if context.on_progress is not None:
            members = packs[number][1]
            context.on_progress(share, [_epoch_scores(row, members[row[1]][1], len(splits)) for row in new])

    results = run_packs(
        [job for job, _ in packs],
        n_workers=context.n_cores,
        checkpoints=context.checkpoints,
        on_progress=on_progress,
        stop=context.stop,
        workers=context.workers,
    )
    context.share.end()
    for (_, members), result in zip(packs, results, strict=True):
        for position, (number, member) in enumerate(members):
            fits[number].take(result, position, member)
    return [fit.finished() for fit in fits]


class _Configuration:
    """One configuration: its members, and their results as their packs finish."""

    def __init__(
        self,
        params: NeuralParams,
        problem: Problem,
        splits: Sequence[Split],
        tensors: SplitTensors,
        seed: int,
        n_seeds: int,
    ) -> None:
        self.params, self.problem, self.splits, self.tensors, self.seed = params, problem, splits, tensors, seed
        self.rows: list[torch.Tensor | None] = [None] * (n_seeds * len(splits))
        self.best_epochs: list[int] = []
        self.history: list[EpochScores] = []
        self.failure: Failed | Pruned | None = None
        network = params.network(tensors.columns, tensors.n_outputs)
        self.stored = STORED[type(network)](
            network=network,
            columns=tensors.columns,
            encoders=tensors.encoders,
            scalers=tensors.scalers,
            task=problem.task,
            target_transform=problem.target_transform,
            n_seeds=n_seeds,
            is_flat=problem.target.ndim == 1,
            n_epochs=None,
        )

    def check_memory(self, device: torch.device, *, stops_at_failure: bool) -> None:
        """Fail a network of which not even one member fits into memory; raise TrainingError with `stops_at_failure`."""
        network, free = self.stored.network, free_memory(device)
        needed = member_bytes(network, self.params.plan(self.problem, stops_at_failure=stops_at_failure), device)
        if free is None or needed <= free:
            return
        reason = (
            f"one network of {network.n_parameters:,} weights needs about {needed / 2**30:,.1f} GB in training; "
            f"{free / 2**30:,.1f} GB are free"
        )
        if stops_at_failure:
            raise TrainingError(reason, where="[params]", hint="Give fewer or smaller layers, or a smaller batch_size.")
        self.failure = Failed(reason)

    def member(self, number: int) -> Member:
        """Member seed * splits + split; its randomness does not depend on the configuration."""
        params, (seed, split) = self.params, divmod(number, len(self.splits))
        return Member(
            seed=derive_seed(self.seed, "split", split, "seed", seed),
            view=self.tensors.view_of_split[split],
            train_rows=self.splits[split].train_rows,
            valid_rows=self.splits[split].valid_rows,
            lr=params.lr,
            weight_decay=params.weight_decay,
            dropout=params.dropout,
            momentum=params.momentum,
            betas=(0.9, params.beta2),
            label_smoothing=params.label_smoothing,
            schedule=params.schedule,
            network=self.stored.network,
        )

    def label(self, number: int) -> str:
        """The member's name in messages."""
        seed, split = divmod(number, len(self.splits))
        return f"fold {split}, seed {seed}"

    def take(self, result: PackResult, position: int, number: int) -> None:
        """Store the result of member `number`, which was at `position` in a pack."""
        history = [row for row in result.history if row[1] == position]
        if position in result.failures:
            self.failure = Failed(f"{self.label(number)}: {result.failures[position]}")
        elif position in result.pruned and self.failure is None:
            self.failure = Pruned(max(epoch for epoch, *_ in history))
        self.rows[number] = result.matrix[position].cpu()
        self.best_epochs.append(int(result.best_epoch[position]))
        self.history += [_epoch_scores(row, number, len(self.splits)) for row in history]

    def finished(self) -> Fit:
        if self.failure is not None:
            return self.failure
        stored = self.stored.updated(n_epochs=max(1, round(float(np.mean(self.best_epochs)))))
        history = sorted(self.history, key=lambda scores: (scores.epoch, scores.seed, scores.split))
        fitted = FittedNeural(stored, torch.stack([row for row in self.rows if row is not None]), history)

        def of_valid_rows(split: int) -> NDArray[np.float64]:
            return fitted.predict_inputs([(split, self.tensors.rows(split, self.splits[split].valid_rows))])

        fitted.oof_prediction = out_of_fold(self.problem, self.splits, of_valid_rows)
        return fitted


def _groups(fits: Sequence[_Configuration]) -> list[list[int]]:
    """Numbers of the configurations that can share packs: those with one plan and one shape, without failed ones."""
    groups: dict[tuple[str, Network], list[int]] = {}
    for number, fit in enumerate(fits):
        if fit.failure is not None:
            continue
        groups.setdefault((fit.params.pack_key(), fit.stored.network.without_initialisation()), []).append(number)
    return list(groups.values())


def _packs(
    name: str,
    fits: Sequence[_Configuration],
    owners: Sequence[Owner],
    plan: Plan,
    context: FitContext,
    should_prune: ShouldPrune | None,
    may_prune: bool,
) -> list[tuple[PackJob, Sequence[Owner]]]:
    """The members of a group of configurations, in packs that suit the device.

    On a CPU their sizes follow from its cores, not from `n_workers`: the last bits of a member's sums depend on the
    size of its pack.
    """
    one = fits[owners[0][0]]
    network, tensors, n_splits = one.stored.network, one.tensors, len(one.splits)
    sizes = pack_sizes(
        len(owners),
        cpu_count(),
        context.device,
        unit=1 if should_prune is None else len(one.rows),
        bytes_each=member_bytes(network, plan, context.device),
        free=free_memory(context.device),
        min_size=min_pack_size(network, plan),
    )
    if len(sizes) < context.share.of:  # a pack for every process
        sizes = [len(part) for part in np.array_split(owners, min(context.share.of, len(owners)))]
    packs: list[tuple[PackJob, Sequence[Owner]]] = []
    for start, stop in pairwise(accumulate(sizes, initial=0)):
        own = owners[start:stop]
        job = PackJob(
            name=f"{name}-members-{start}-{stop - 1}",
            network=network,
            plan=plan,
            data=tensors.data if context.device.type == "cpu" or network.reads_codes else tensors.dense_data,
            members=[fits[number].member(member) for number, member in own],
            labels=[fits[number].label(member) for number, member in own],
            prune=None if should_prune is None else _prune(should_prune, own, n_splits),
            may_prune=may_prune,
            score=_score(one.problem, [(fits[number].stored, member % n_splits) for number, member in own]),
        )
        packs.append((job, own))
    return packs


def _prune(should_prune: ShouldPrune, owners: Sequence[Owner], n_splits: int) -> Prune:
    """Remove the members of a configuration that `should_prune` gives up for its mean score of each fold."""

    def prune(epoch: int, rows: list[HistoryRow]) -> list[int]:
        scores: dict[int, dict[int, list[float]]] = {}
        for _, position, _, valid_score in rows:
            number, member = owners[position]
            scores.setdefault(number, {}).setdefault(member % n_splits, []).append(valid_score)
        pruned = {
            number
            for number, by_fold in scores.items()
            if should_prune(number, epoch, [float(np.mean(by_fold[fold])) for fold in sorted(by_fold)])
        }
        return [position for position, (number, _) in enumerate(owners) if number in pruned]

    return prune


def _score(problem: Problem, members: Sequence[tuple[StoredNetworks[Any], int]]) -> Score:
    """The competition's metric of a member's raw outputs; `members` are (configuration, split) by position."""

    metric, target, light = problem.metric, problem.target, dict[int, StoredNetworks[Any]]()
    for stored, _ in members:  # what scoring needs, which is sent to workers
        light.setdefault(id(stored), stored.model_copy(update={"encoders": []}))
    own = [(light[id(stored)], split) for stored, split in members]

    def score(position: int, rows: NDArray[np.int64], output: NDArray[np.float32]) -> float:
        stored, split = own[position]
        return metric.at(rows)(target[rows], stored.prediction(stored.averageable(output, split)))

    return one_by_one(score)


def _epoch_scores(row: HistoryRow, member: int, n_splits: int) -> EpochScores:
    epoch, _, train_score, valid_score = row
    return EpochScores(epoch, member % n_splits, member // n_splits, train_score, valid_score)
