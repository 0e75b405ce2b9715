"""The one training loop: a pack of networks of one shape, each with its own rows, seed and hyperparameters.

Knows tensors and a score function; must not know tables, folds or files other than its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.base import files
from pipeline.base.interruption import Stopped
from pipeline.base.seeds import derive_seed
from pipeline.nets.networks import Network
from pipeline.nets.parameters import ParameterPack
from pipeline.nets.plan import HistoryRow, Member, PackData, Plan, Prune, Rows, Score, Scored
from pipeline.nets.prediction import predict
from pipeline.nets.stepping import steps_class

MAX_TRAIN_ROWS_SCORED = 10_000  # the train score is only for curves: a sample gives it within half a percent
CHECKPOINT_EVERY_S = 10.0
LONG_EPOCH_S = 1.0  # a shorter epoch is finished before training stops, so that it is not lost


@dataclass(frozen=True)
class PackResult:
    """What a pack learned."""

    matrix: Tensor  # (members, numbers): parameters of the last epoch, or with early stopping of the best one
    best_epoch: NDArray[np.int64]  # (members,) the epoch that `matrix` comes from
    history: list[HistoryRow]
    failures: dict[int, str]  # member -> reason
    pruned: set[int]  # members that `prune` removed


def one_by_one(score: Callable[[int, Rows, NDArray[np.float32]], float]) -> Score:
    """Return the `Score` that calls `score` for each member and set of rows."""
    return lambda scored: [score(*one) for one in scored]


def train_pack(
    network: Network,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    score: Score,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, list[HistoryRow]], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
    prune: Prune | None = None,
    pruned: Collection[int] = (),
) -> PackResult:
    """Train all members together; each becomes the network it would be alone (on a GPU, except for dropout masks).

    The state is saved to `checkpoint` about every ten seconds and at the end; a later call with the same arguments
    continues from it (the caller deletes checkpoints of other arguments). When `should_stop` or `should_pause` returns
    True, which is checked after every epoch, the state is saved and Stopped is raised; a long epoch is stopped, but not
    paused. `prune` names members to remove after an evaluation, `pruned` those to remove before training goes on.
    `on_epoch` gets the epoch and the history rows since its last call.
    """
    pack = _Pack(network, plan, data, members, should_stop)
    if (state := files.read_checkpoint(files.read_tensors, checkpoint)) is not None:
        pack.restore(state)
    if pruned:
        pack.prune(pruned)
    saved_at, n_reported = time.monotonic(), 0
    while not pack.is_done:
        pack.train_epoch()
        if pack.epoch % plan.evaluate_every == 0 or pack.epoch == plan.epochs:
            n_known = len(pack.history)
            pack.evaluate(score)
            if prune is not None and not pack.is_done:
                pack.prune(prune(pack.epoch, pack.history[n_known:]))
            if on_epoch is not None:
                on_epoch(pack.epoch, pack.history[n_reported:])
                n_reported = len(pack.history)
        if pack.failures and plan.stops_at_failure:
            break
        is_stopped = (should_stop() or should_pause()) and not pack.is_done
        is_due = time.monotonic() - saved_at > CHECKPOINT_EVERY_S
        if checkpoint is not None and (is_due or is_stopped or pack.is_done):
            files.write_tensors(checkpoint, pack.state())
            saved_at = time.monotonic()
        if is_stopped:
            raise Stopped
    return PackResult(pack.results, pack.best_epoch, pack.history, pack.failures, pack.pruned)


@dataclass(frozen=True)
class _ScoredRows:
    """The rows that score a member."""

    train_rows: Rows
    valid_rows: Rows
    rows: Rows | None  # both together; None: all rows are predicted and these are selected

    @classmethod
    def of(cls, member: Member) -> _ScoredRows:
        train_rows, valid_rows = member.train_rows, member.valid_rows
        if len(train_rows) <= MAX_TRAIN_ROWS_SCORED:
            return cls(train_rows, valid_rows, None)
        random = np.random.default_rng(MAX_TRAIN_ROWS_SCORED)
        sample = np.sort(random.choice(train_rows, MAX_TRAIN_ROWS_SCORED, replace=False))
        return cls(sample, valid_rows, np.concatenate([sample, valid_rows]))

    def split(self, output: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Split what `predict` returned into outputs of train and valid rows."""
        if self.rows is None:
            return output[self.train_rows], output[self.valid_rows]
        return output[: len(self.train_rows)], output[len(self.train_rows) :]


class _Pack:
    """The state of training: parameters, moments, the remaining members, the best results so far."""

    def __init__(
        self, network: Network, plan: Plan, data: PackData, members: Sequence[Member], should_stop: Callable[[], bool]
    ) -> None:
        self.network, self.plan, self.data, self.members = network, plan, data, members
        self.should_stop, self.device = should_stop, data.y.device
        rows = [(m.network or network).initial_row(_generator(m.seed, "initial")) for m in members]
        initial = torch.stack(rows).to(self.device)
        self.alive = np.arange(len(members))  # position in the pack -> member
        self.parameters = ParameterPack(network.parameter_infos(), initial)
        self.epoch = 0
        self.history: list[HistoryRow] = []
        self.failures: dict[int, str] = {}
        self.pruned: set[int] = set()
        self.results = initial.clone()  # (members, numbers), filled as members leave or improve
        self.best_score = np.full(len(members), np.nan)
        self.best_epoch = np.zeros(len(members), dtype=np.int64)
        of_split: dict[tuple[int, int], _ScoredRows] = {}  # shared by members of a split, which are predicted together
        self.scored = [of_split.setdefault((id(m.train_rows), id(m.valid_rows)), _ScoredRows.of(m)) for m in members]
        self._rebuild_steps(n_steps=[0] * len(members), moments=None)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self.plan.epochs or len(self.alive) == 0

    @property
    def _remaining(self) -> list[Member]:
        return [self.members[m] for m in self.alive.tolist()]

    def _rebuild_steps(self, n_steps: Sequence[int], moments: Sequence[Tensor] | None) -> None:
        """Build the steps of the remaining members, whose moments are rows (members, numbers)."""
        blocks = None if moments is None else [ParameterPack(self.parameters.infos, rows).buffer for rows in moments]
        make_steps = steps_class(self.device)
        self.steps = make_steps(self.network, self.plan, self.data, self._remaining, self.parameters, n_steps, blocks)

    def train_epoch(self) -> None:
        """Pass every member over its own rows, in its own order. Raises Stopped inside a long epoch."""
        seeds = [derive_seed(member.seed, "dropout", self.epoch) for member in self._remaining]
        self.steps.train_epoch(self.epoch, self._batches(), seeds)
        self.epoch += 1

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield flat row indices (members, batch) and their weights, None if all are 1.

        The last batch of a member may be short, as in a DataLoader, and is padded with weight 0. A member with fewer
        batches than others does not step in the last ones.
        """
        members, size = self._remaining, self.plan.batch_size
        n_rows = [len(member.train_rows) for member in members]
        rows = torch.zeros(len(members), max(n_rows), dtype=torch.int64)
        weight = torch.zeros(len(members), max(n_rows))
        for position, (member, n) in enumerate(zip(members, n_rows, strict=True)):
            order = torch.randperm(n, generator=_generator(member.seed, "shuffle", self.epoch))
            rows[position, :n] = torch.from_numpy(member.train_rows)[order]
            weight[position, :n] = 1.0
        offsets = torch.tensor([member.view * self.data.x.dense.shape[1] for member in members], device=self.device)
        rows, weight = rows.to(self.device) + offsets[:, None], weight.to(self.device)
        if self.data.weight is not None:
            weight = weight * self.data.weight.flatten()[rows]
        started_at = time.monotonic()
        for start in range(0, max(n_rows), size):
            if self.should_stop() and time.monotonic() - started_at > LONG_EPOCH_S:
                raise Stopped
            stop = min(start + size, max(n_rows))
            is_weighted = self.data.weight is not None or stop > min(n_rows)
            yield rows[:, start:stop], weight[:, start:stop] if is_weighted else None

    def evaluate(self, score: Score) -> None:
        """Score every member on its train and valid rows in eval mode; remove the failed and the finished."""
        members, scored = self._remaining, [self.scored[m] for m in self.alive.tolist()]
        views, rows = [member.view for member in members], [one.rows for one in scored]
        outputs = predict(self.network, self.parameters.views, self.data.x, views, rows)
        leaves = np.zeros(len(members), dtype=bool)
        to_score: list[Scored] = []
        for position, (member, own) in enumerate(zip(members, scored, strict=True)):
            m = int(self.alive[position])
            train, valid = own.split(outputs[position])
            if np.isfinite(train).all() and np.isfinite(valid).all():
                to_score += [(m, own.train_rows, train), (m, own.valid_rows, valid)]
            else:
                self.failures[m] = f"outputs are not finite after epoch {self.epoch} with lr {member.lr:g}"
                leaves[position] = True
        scores = iter(score([one for one in to_score if len(one[1])]) if to_score else [])
        for position in np.flatnonzero(~leaves).tolist():
            m = int(self.alive[position])
            train_score = next(scores)
            valid_score = next(scores) if len(scored[position].valid_rows) else float("nan")
            self.history.append((self.epoch, m, train_score, valid_score))
            leaves[position] = self._update_best(m, position, valid_score)
        self._remove(leaves)

    def _update_best(self, m: int, position: int, valid_score: float) -> bool:
        """Store the parameters of member `m` if they are its result so far; return whether its patience is over."""
        best = float(self.best_score[m])
        improved = np.isnan(best) or (valid_score > best if self.plan.greater_is_better else valid_score < best)
        if improved or self.plan.patience is None:
            self.best_score[m], self.best_epoch[m] = valid_score, self.epoch
            if self.plan.patience is not None or self.epoch == self.plan.epochs:
                self.results[m] = self.parameters.row(position)
            return False
        return (self.epoch - int(self.best_epoch[m])) // self.plan.evaluate_every >= self.plan.patience

    def prune(self, members: Collection[int]) -> None:
        """Remove `members` without a result."""
        leaves = np.isin(self.alive, list(members))
        self.pruned.update(self.alive[leaves].tolist())
        self._remove(leaves)

    def _remove(self, leaves: NDArray[np.bool_]) -> None:
        """Shrink every tensor to the members that stay."""
        if not leaves.any():
            return
        positions = np.flatnonzero(~leaves)
        stay = torch.from_numpy(positions).to(self.device)
        n_steps = self.steps.optimizer.n_steps()
        moments = [rows.index_select(0, stay) for rows in self.steps.optimizer.moment_rows()]
        self.alive = self.alive[positions]
        self.parameters = self.parameters.keep(stay)
        if len(positions):
            self._rebuild_steps([n_steps[position] for position in positions.tolist()], moments)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything that `restore` needs to continue with the same bits."""
        text = "\n".join(f"{m}\t{reason}" for m, reason in self.failures.items())
        tensors = {"matrix": self.parameters.rows(), "results": self.results}
        if len(self.alive):
            tensors |= {f"moment_{i}": rows for i, rows in enumerate(self.steps.optimizer.moment_rows())}
        return {
            "epoch": np.array([self.epoch]),
            "n_steps": np.array(self.steps.optimizer.n_steps(), dtype=np.int64),
            "alive": self.alive,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": np.array(self.history, dtype=np.float64).reshape(-1, 4),
            "pruned": np.array(sorted(self.pruned), dtype=np.int64),
            "failures": np.frombuffer(text.encode(), dtype=np.uint8),
        } | {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go back to `state`."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(state[name].copy()).to(self.device)

        self.epoch = int(state["epoch"][0])
        self.alive = state["alive"].astype(np.int64)
        self.parameters = ParameterPack(self.network.parameter_infos(), tensor("matrix"))
        self.results = tensor("results")
        self.best_score, self.best_epoch = state["best_score"].astype(float), state["best_epoch"].astype(np.int64)
        self.history = [(int(e), int(m), float(t), float(v)) for e, m, t, v in state["history"].tolist()]
        self.pruned = set(state["pruned"].astype(int).tolist())
        lines = bytes(state["failures"].astype(np.uint8)).decode().splitlines()
        self.failures = {int(m): reason for m, reason in (line.split("\t", 1) for line in lines)}
        if len(self.alive):
            moments = [tensor(name) for name in sorted(state) if name.startswith("moment_")]
            self._rebuild_steps(state["n_steps"].astype(int).tolist(), moments)


def _generator(seed: int, *path: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *path))
