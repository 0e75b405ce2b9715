"""The one training loop: a pack of networks of one shape, each with its own rows, seed and numbers.

Knows tensors and a score function; knows nothing of tables, folds or files beyond its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
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
from pipeline.nets.plan import Member, PackData, Plan, Rows
from pipeline.nets.prediction import predict
from pipeline.nets.stepping import Epoch, make_steps

HistoryRow = tuple[int, int, float, float]  # epoch from 1, member, train score, valid score
Scored = tuple[int, Rows, NDArray[np.float32]]  # member, rows, its raw outputs on them (rows, outputs)
Score = Callable[[Sequence[Scored]], list[float]]  # all of an evaluation at once: who is asked may be a process away

MOST_SCORED = 10_000  # train rows: their score is for curves alone, and known to half a percent
CHECKPOINT_EVERY_S = 10.0
LONG_EPOCH_S = 1.0  # who is told to stop ends a shorter epoch, so that nothing of it is lost


@dataclass
class History:
    """Scores by epoch."""

    rows: list[HistoryRow] = field(default_factory=list)


@dataclass(frozen=True)
class PackResult:
    """What a pack learned."""

    matrix: Tensor  # (members, numbers): the last epoch's parameters, or the best epoch's under early stopping
    best_epoch: NDArray[np.int64]  # (members,) the epoch `matrix` stems from
    history: History
    failures: dict[int, str]  # member -> why it has no result
    pruned: set[int]  # members that were told to leave


def one_by_one(score: Callable[[int, Rows, NDArray[np.float32]], float]) -> Score:
    """The `Score` that asks `score` about each."""
    return lambda scored: [score(*one) for one in scored]


def train_pack(
    network: Network,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    score: Score,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, History], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    prune: Callable[[int, list[HistoryRow]], Collection[int]] | None = None,
) -> PackResult:
    """Train all members together; each is the network it would have been alone, but for its dropout masks.

    With `checkpoint`, the state is saved there about every ten seconds and at the end, and a later call with the
    same arguments goes on from it (the caller removes a checkpoint made with other arguments). `should_stop` is asked
    after every epoch; when it says so, the state is saved and Stopped raised. `prune` is given the new
    history rows of every evaluation and names the members that leave without a result.
    """
    pack = _Pack(network, plan, data, members, should_stop)
    if checkpoint is not None and checkpoint.exists():
        pack.restore(files.read_tensors(checkpoint))
    saved_at = time.monotonic()
    while pack.epoch < plan.epochs and len(pack.alive):
        pack.train_epoch()
        if pack.epoch % plan.evaluate_every == 0 or pack.epoch == plan.epochs:
            n_known = len(pack.history.rows)
            pack.evaluate(score)
            if prune is not None and not pack.is_done:
                pack.drop(prune(pack.epoch, pack.history.rows[n_known:]))
            if on_epoch is not None:
                on_epoch(pack.epoch, pack.history)
        if pack.failures and plan.stops_at_failure:
            break
        is_stopped = should_stop() and not pack.is_done
        is_due = time.monotonic() - saved_at > CHECKPOINT_EVERY_S
        if checkpoint is not None and (is_due or is_stopped or pack.is_done):
            files.write_tensors(checkpoint, pack.state())
            saved_at = time.monotonic()
        if is_stopped:
            raise Stopped
    return pack.result()


@dataclass(frozen=True)
class _ScoredRows:
    """The rows that score a member."""

    train_rows: Rows
    valid_rows: Rows
    rows: Rows | None  # both in one; None where every row is predicted, and these are taken out

    @classmethod
    def of(cls, member: Member) -> _ScoredRows:
        train_rows, valid_rows = member.train_rows, member.valid_rows
        if len(train_rows) <= MOST_SCORED:
            return cls(train_rows, valid_rows, None)
        sample = np.sort(np.random.default_rng(MOST_SCORED).choice(train_rows, MOST_SCORED, replace=False))
        return cls(sample, valid_rows, np.concatenate([sample, valid_rows]))

    def parts(self, output: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Outputs of train and of valid rows, from what `predict` made."""
        if self.rows is None:
            return output[self.train_rows], output[self.valid_rows]
        return output[: len(self.train_rows)], output[len(self.train_rows) :]


class _Pack:
    """The state of a training: parameters, moments, who is still in, the best so far."""

    def __init__(
        self,
        network: Network,
        plan: Plan,
        data: PackData,
        members: Sequence[Member],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.network, self.plan, self.data, self.members = network, plan, data, members
        self.should_stop = should_stop
        self.device = data.y.device
        initial = torch.cat([_initial_row(network, member) for member in members]).to(self.device)
        self.alive = np.arange(len(members))  # pack position -> member
        self.parameters = ParameterPack(network.parameter_infos(), initial)
        self.epoch = 0
        self.history = History()
        self.failures: dict[int, str] = {}
        self.pruned: set[int] = set()
        self.results = initial.clone()  # (members, numbers), filled as members leave or improve
        self.best_score = np.full(len(members), np.nan)
        self.best_epoch = np.zeros(len(members), dtype=np.int64)
        of_split: dict[tuple[int, int], _ScoredRows] = {}  # members of one split share it, and are predicted together
        self.scored = [
            of_split.setdefault((id(member.train_rows), id(member.valid_rows)), _ScoredRows.of(member))
            for member in members
        ]
        self._follow_alive(n_steps=[0] * len(members), moments=None)

    @property
    def is_done(self) -> bool:
        return self.epoch >= self.plan.epochs or len(self.alive) == 0

    def _follow_alive(self, n_steps: Sequence[int], moments: Sequence[Tensor] | None) -> None:
        """Build what depends on who is in the pack; `n_steps` and `moments` are of those who are."""
        plan, inside = self.plan, [self.members[m] for m in self.alive.tolist()]
        n_rows = self.data.x.dense.shape[1]
        self.row_offset = torch.tensor([member.view * n_rows for member in inside], device=self.device)
        self.n_batches = [-(-len(member.train_rows) // plan.batch_size) for member in inside]
        self.steps = make_steps(self.network, plan, self.data, inside, self.parameters, n_steps, moments)

    def train_epoch(self) -> None:
        """One pass of every member over its own rows, in its own order; a long one can be stopped within."""
        rows, weight, is_padded = self._shuffled_rows()
        begun = time.monotonic()

        def gives_up() -> bool:
            return self.should_stop() and time.monotonic() - begun > LONG_EPOCH_S

        self.steps.train_epoch(Epoch(self.epoch, rows, weight, is_padded, self._dropout_seeds(), gives_up))
        self.epoch += 1

    def _shuffled_rows(self) -> tuple[Tensor, Tensor | None, NDArray[np.bool_]]:
        """Flat row indices (members, batches x batch_size), their weights, and which batches need weights.

        A member's last batch may be short, as a DataLoader's: the rest is padded with weight 0. A member with fewer
        batches than others has none of its own at the end, and does not step there.
        """
        size = self.plan.batch_size
        width = max(self.n_batches) * size
        rows = torch.zeros(len(self.alive), width, dtype=torch.int64)
        weight = torch.zeros(len(self.alive), width)
        for position, m in enumerate(self.alive.tolist()):
            own = torch.from_numpy(self.members[m].train_rows)
            order = torch.randperm(len(own), generator=_generator("cpu", self.members[m].seed, "shuffle", self.epoch))
            rows[position, : len(own)] = own[order]
            weight[position, : len(own)] = 1.0
        # the last column any member fills decides how wide the last batch must be
        filled = max(len(self.members[m].train_rows) for m in self.alive.tolist())
        rows, weight = rows[:, :filled].to(self.device), weight[:, :filled].to(self.device)
        shortest = min(len(self.members[m].train_rows) for m in self.alive.tolist())
        is_padded = np.minimum(np.arange(size, filled + size, size), filled) > shortest
        rows = rows + self.row_offset[:, None]
        if self.data.weight is not None:
            weight = weight * self.data.weight.flatten()[rows]
            is_padded[:] = True
        return rows, weight if is_padded.any() else None, is_padded

    def _dropout_seeds(self) -> list[int] | None:
        """This epoch's seeds of masks; None when nobody drops."""
        inside = [self.members[m] for m in self.alive.tolist()]
        if not any(member.dropout > 0 for member in inside):
            return None
        return [derive_seed(member.seed, "dropout", self.epoch) for member in inside]

    def evaluate(self, score: Score) -> None:
        """Score every member on its train and valid rows in eval mode; let the failed and the finished leave.

        Of more than `MOST_SCORED` train rows, a sample is scored.
        """
        inside = [self.members[m] for m in self.alive.tolist()]
        scored = [self.scored[m] for m in self.alive.tolist()]
        views, rows = [member.view for member in inside], [one.rows for one in scored]
        outputs = predict(self.network, self.parameters.views, self.data.x, views, rows)
        leaves = np.zeros(len(inside), dtype=bool)
        to_score: list[Scored] = []
        for position, member in enumerate(inside):
            m, own = int(self.alive[position]), scored[position]
            train, valid = own.parts(outputs[position])
            if np.isfinite(train).all() and np.isfinite(valid).all():
                to_score += [(m, own.train_rows, train), (m, own.valid_rows, valid)]
            else:
                self.failures[m] = f"its outputs are not finite after epoch {self.epoch} with lr {member.lr:g}"
                leaves[position] = True
        scores = iter(score([one for one in to_score if len(one[1])]) if to_score else [])
        for position in np.flatnonzero(~leaves).tolist():
            m, own = int(self.alive[position]), scored[position]
            train_score = next(scores)
            valid_score = next(scores) if len(own.valid_rows) else float("nan")
            self.history.rows.append((self.epoch, m, train_score, valid_score))
            leaves[position] = self._note_best(m, position, valid_score)
        if leaves.any():
            self._leave(leaves)

    def _note_best(self, m: int, position: int, valid_score: float) -> bool:
        """Keep the parameters that stand for member `m`, at `position`; whether it has been patient long enough."""
        best = float(self.best_score[m])
        improved = np.isnan(best) or (valid_score > best if self.plan.greater_is_better else valid_score < best)
        if improved or self.plan.patience is None:
            self.best_score[m], self.best_epoch[m] = valid_score, self.epoch
            if self.plan.patience is not None or self.epoch == self.plan.epochs:
                self.results[m] = self.parameters.row(position)
            return False
        return (self.epoch - int(self.best_epoch[m])) // self.plan.evaluate_every >= self.plan.patience

    def drop(self, members: Collection[int]) -> None:
        """Let `members` leave without a result."""
        leaves = np.isin(self.alive, list(members))
        if leaves.any():
            self.pruned.update(self.alive[leaves].tolist())
            self._leave(leaves)

    def _leave(self, leaves: NDArray[np.bool_]) -> None:
        """Shrink every tensor to the members that stay."""
        positions = np.flatnonzero(~leaves)
        stay = torch.from_numpy(positions).to(self.device)
        n_steps = self.steps.n_steps()
        moments = [rows.index_select(0, stay) for rows in self.steps.moment_rows()]
        self.alive = self.alive[positions]
        self.parameters = self.parameters.keep(stay)
        if len(positions) == 0:
            return
        self._follow_alive([n_steps[position] for position in positions.tolist()], self._buffers(moments))

    def _buffers(self, moments: Sequence[Tensor]) -> list[Tensor]:
        """Moments as rows (members, numbers) -> in the blocks of `ParameterPack`."""
        return [ParameterPack(self.parameters.infos, rows).buffer for rows in moments]

    def result(self) -> PackResult:
        return PackResult(self.results, self.best_epoch, self.history, self.failures, self.pruned)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything a later `restore` needs to go on to the same bits."""
        text = "\n".join(f"{m}\t{reason}" for m, reason in self.failures.items())
        tensors = {"matrix": self.parameters.rows(), "results": self.results}
        if len(self.alive):
            tensors |= {f"moment_{i}": rows for i, rows in enumerate(self.steps.moment_rows())}
        return {
            "epoch": np.array([self.epoch]),
            "n_steps": np.array(self.steps.n_steps(), dtype=np.int64),
            "alive": self.alive,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": np.array(self.history.rows, dtype=np.float64).reshape(-1, 4),
            "pruned": np.array(sorted(self.pruned), dtype=np.int64),
            "failures": np.frombuffer(text.encode(), dtype=np.uint8),
        } | {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go back to where `state` was taken."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(state[name].copy()).to(self.device)

        self.epoch = int(state["epoch"][0])
        self.alive = state["alive"].astype(np.int64)
        self.parameters = ParameterPack(self.network.parameter_infos(), tensor("matrix"))
        self.results = tensor("results")
        self.best_score, self.best_epoch = state["best_score"].astype(float), state["best_epoch"].astype(np.int64)
        self.history.rows = [(int(e), int(m), float(t), float(v)) for e, m, t, v in state["history"].tolist()]
        self.pruned = set(state["pruned"].astype(int).tolist())
        lines = bytes(state["failures"].astype(np.uint8)).decode().splitlines()
        self.failures = {int(m): reason for m, reason in (line.split("\t", 1) for line in lines)}
        if len(self.alive):
            moments = [tensor(name) for name in sorted(state) if name.startswith("moment_")]
            self._follow_alive(state["n_steps"].astype(int).tolist(), self._buffers(moments))


def _initial_row(network: Network, member: Member) -> Tensor:
    """(1, numbers of `network`) the member's start."""
    return (member.network or network).initial_row(_generator("cpu", member.seed, "initial"))[None]


def _generator(device: str, *path: int | str) -> torch.Generator:
    seed, *rest = path
    return torch.Generator(device).manual_seed(derive_seed(int(seed), *rest))
