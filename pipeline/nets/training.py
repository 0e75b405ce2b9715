"""The one training loop: a pack of networks of one shape, each with its own rows, seed, rate and dropout.

Knows tensors and a score function; knows nothing of tables, folds or files beyond its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import artifacts
from pipeline.nets.losses import Loss
from pipeline.nets.networks import MLP, Dropout, ParameterPack, views_of
from pipeline.nets.optimizers import SCHEDULES, OptimizerName, PackedOptimizer, ScheduleName
from pipeline.seeds import derive_seed

Rows = NDArray[np.int64]
# (member, rows, raw outputs (rows, outputs)) -> score on those rows
Score = Callable[[int, Rows, NDArray[np.float32]], float]

PREDICT_NUMBERS = 1 << 24  # activations held at once by a forward pass without gradients
CHECKPOINT_EVERY_S = 10.0


@dataclass(frozen=True)
class Member:
    """One network of a pack: its seed, its rows, and the numbers of its own."""

    seed: int
    view: int  # index of the encoded table it reads: its fold's
    train_rows: Rows
    valid_rows: Rows
    lr: float
    weight_decay: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True)
class PackData:
    """What all members read, on the device."""

    x: Tensor  # (views, rows, inputs) float32
    y: Tensor  # (views, rows, outputs) float32, or (views, rows) int64 class codes
    weight: Tensor | None = None  # (rows,) float32


@dataclass(frozen=True)
class Plan:
    """What all members of a pack share."""

    loss: Loss
    epochs: int
    batch_size: int
    optimizer: OptimizerName = "adamw"
    schedule: ScheduleName = "constant"
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    decays_biases: bool = False
    patience: int | None = None  # evaluations without a better valid score before a member stops; None never stops
    evaluate_every: int = 1  # epochs
    greater_is_better: bool = False
    stops_at_failure: bool = False  # the pack gives up with the first member that fails


@dataclass
class History:
    """Scores by epoch: rows of (epoch, member, train score, valid score), epochs counted from 1."""

    rows: list[tuple[int, int, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class PackResult:
    """What a pack learned."""

    matrix: Tensor  # (members, numbers): the last epoch's parameters, or the best epoch's under early stopping
    best_epoch: NDArray[np.int64]  # (members,) the epoch `matrix` stems from
    history: History
    failures: dict[int, str]  # member -> why it has no result


def train_pack(
    network: MLP,
    plan: Plan,
    data: PackData,
    members: Sequence[Member],
    score: Score,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, History], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PackResult:
    """Train all members together; each is the network it would have been alone, but for its dropout masks.

    With `checkpoint`, the state is saved there about every ten seconds and at the end, and a later call with the
    same arguments goes on from it (the caller removes a checkpoint made with other arguments). `should_stop` is asked
    after every epoch; when it says so, the state is saved and KeyboardInterrupt raised.
    """
    pack = _Pack(network, plan, data, members)
    if checkpoint is not None and checkpoint.exists():
        pack.restore(artifacts.read_tensors(checkpoint))
    saved_at = time.monotonic()
    while pack.epoch < plan.epochs and len(pack.alive):
        pack.train_epoch()
        if pack.epoch % plan.evaluate_every == 0 or pack.epoch == plan.epochs:
            pack.evaluate(score)
            if on_epoch is not None:
                on_epoch(pack.epoch, pack.history)
        if pack.failures and plan.stops_at_failure:
            break
        is_stopped = should_stop() and not pack.is_done
        is_due = time.monotonic() - saved_at > CHECKPOINT_EVERY_S
        if checkpoint is not None and (is_due or is_stopped or pack.is_done):
            artifacts.write_tensors(checkpoint, pack.state())
            saved_at = time.monotonic()
        if is_stopped:
            raise KeyboardInterrupt
    return pack.result()


class _Pack:
    """The state of a training: parameters, moments, who is still in, the best so far."""

    def __init__(self, network: MLP, plan: Plan, data: PackData, members: Sequence[Member]) -> None:
        self.network, self.plan, self.data, self.members = network, plan, data, members
        self.device = data.x.device
        initial = torch.stack(
            [network.initial_row(_generator("cpu", member.seed, "initial")) for member in members]
        ).to(self.device)
        self.alive = np.arange(len(members))  # pack position -> member
        self.parameters = ParameterPack(network.parameter_infos(), initial)
        self.optimizer = PackedOptimizer(
            plan.optimizer,
            self.parameters,
            self._vector([member.weight_decay for member in members]),
            momentum=plan.momentum,
            betas=plan.betas,
            decays_biases=plan.decays_biases,
        )
        self.epoch = 0
        self.history = History()
        self.failures: dict[int, str] = {}
        self.results = initial.clone()  # (members, numbers), filled as members leave or improve
        self.best_score = np.full(len(members), np.nan)
        self.best_epoch = np.zeros(len(members), dtype=np.int64)
        self._follow_alive()

    @property
    def is_done(self) -> bool:
        return self.epoch >= self.plan.epochs or len(self.alive) == 0

    def _vector(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)

    def _follow_alive(self) -> None:
        """Rebuild what depends on who is in the pack."""
        inside = [self.members[m] for m in self.alive.tolist()]
        self.lr = self._vector([member.lr for member in inside])
        self.dropout = self._vector([member.dropout for member in inside])
        self.has_dropout = any(member.dropout > 0 for member in inside)
        n_rows = self.data.x.shape[1]
        self.row_offset = torch.tensor([member.view * n_rows for member in inside], device=self.device)
        self.n_batches = np.array([-(-len(member.train_rows) // self.plan.batch_size) for member in inside])

    def train_epoch(self) -> None:
        """One pass of every member over its own rows, in its own order."""
        plan = self.plan
        rows, weight, is_padded = self._shuffled_rows()
        dropout = self._dropout() if self.has_dropout else None
        schedule = SCHEDULES[plan.schedule]
        x_flat, y_flat = self.data.x.flatten(0, 1), self.data.y.flatten(0, 1)
        n_batches = torch.tensor(self.n_batches, device=self.device)
        gathered = x_flat.new_empty(len(rows) * min(plan.batch_size, rows.shape[1]), x_flat.shape[1])
        for batch in range(int(self.n_batches.max())):
            columns = slice(batch * plan.batch_size, (batch + 1) * plan.batch_size)
            index = rows[:, columns]
            shape = index.shape
            flat = index.reshape(-1)
            x = torch.index_select(x_flat, 0, flat, out=gathered[: len(flat)]).view(*shape, -1)
            y = y_flat.index_select(0, flat).view(*shape, *y_flat.shape[1:])
            batch_weight = weight[:, columns] if weight is not None and is_padded[batch] else None
            output = self.network.forward(self.parameters.views, x, dropout)
            self.parameters.differentiate(plan.loss(output, y, batch_weight).sum())
            progress = (self.epoch * n_batches + batch) / (plan.epochs * n_batches)
            everyone = bool((batch < self.n_batches).all())
            self.optimizer.step(self.lr * schedule(progress), None if everyone else batch < n_batches)
        self.epoch += 1

    def _shuffled_rows(self) -> tuple[Tensor, Tensor | None, NDArray[np.bool_]]:
        """Flat row indices (members, batches x batch_size), their weights, and which batches need weights.

        A member's last batch may be short, as a DataLoader's: the rest is padded with weight 0. A member with fewer
        batches than others has none of its own at the end, and does not step there.
        """
        size = self.plan.batch_size
        width = int(self.n_batches.max()) * size
        rows = torch.zeros(len(self.alive), width, dtype=torch.int64)
        weight = torch.zeros(len(self.alive), width)
        for position, m in enumerate(self.alive.tolist()):
            own = torch.from_numpy(self.members[m].train_rows)
            order = torch.randperm(len(own), generator=_generator("cpu", self.members[m].seed, "shuffle", self.epoch))
            rows[position, : len(own)] = own[order]
            weight[position, : len(own)] = 1.0
        # the last column any member fills decides how wide the last batch must be
        filled = int(weight.any(dim=0).sum())
        rows, weight = rows[:, :filled].to(self.device), weight[:, :filled].to(self.device)
        starts = range(0, filled, size)
        is_padded = np.array([not bool((weight[:, start : start + size] > 0).all()) for start in starts])
        if self.data.weight is not None:
            weight = weight * self.data.weight[rows]
            is_padded[:] = True
        elif not is_padded.any():
            return rows + self.row_offset[:, None], None, is_padded
        return rows + self.row_offset[:, None], weight, is_padded

    def _dropout(self) -> Dropout:
        """Inverted dropout at each member's own rate; masks are drawn for the pack as a whole."""
        keep = (1.0 - self.dropout)[:, None, None]
        generator = _generator(self.device.type, self.members[int(self.alive[0])].seed, "dropout", self.epoch)

        def dropout(x: Tensor) -> Tensor:
            mask = torch.rand(x.shape, generator=generator, device=x.device) < keep
            return x * (mask / keep)

        return dropout

    def evaluate(self, score: Score) -> None:
        """Score every member on its train and valid rows in eval mode; let the failed and the finished leave."""
        inside = [self.members[m] for m in self.alive.tolist()]
        views = [member.view for member in inside]
        train = predict(self.network, self.parameters.matrix, self.data.x, views, [m.train_rows for m in inside])
        valid = predict(self.network, self.parameters.matrix, self.data.x, views, [m.valid_rows for m in inside])
        leaves = np.zeros(len(inside), dtype=bool)
        for position, member in enumerate(inside):
            m = int(self.alive[position])
            if not (np.isfinite(train[position]).all() and np.isfinite(valid[position]).all()):
                self.failures[m] = f"its outputs are not finite after epoch {self.epoch} with lr {member.lr:g}"
                leaves[position] = True
                continue
            train_score = score(m, member.train_rows, train[position])
            valid_score = score(m, member.valid_rows, valid[position]) if len(member.valid_rows) else float("nan")
            self.history.rows.append((self.epoch, m, train_score, valid_score))
            leaves[position] = self._note_best(m, position, valid_score)
        if leaves.any():
            self._leave(leaves)

    def _note_best(self, m: int, position: int, valid_score: float) -> bool:
        """Keep the parameters that stand for member `m`; whether it has been patient long enough."""
        best = float(self.best_score[m])
        improved = np.isnan(best) or (valid_score > best if self.plan.greater_is_better else valid_score < best)
        if improved or self.plan.patience is None:
            self.best_score[m], self.best_epoch[m] = valid_score, self.epoch
            if self.plan.patience is not None or self.epoch == self.plan.epochs:
                self.results[m] = self.parameters.matrix[position]
            return False
        return (self.epoch - int(self.best_epoch[m])) // self.plan.evaluate_every >= self.plan.patience

    def _leave(self, leaves: NDArray[np.bool_]) -> None:
        """Shrink every tensor to the members that stay."""
        stay = torch.from_numpy(np.flatnonzero(~leaves)).to(self.device)
        self.alive = self.alive[~leaves]
        self.parameters = self.parameters.keep(stay)
        self.optimizer.keep(self.parameters, stay)
        self._follow_alive()

    def result(self) -> PackResult:
        return PackResult(self.results, self.best_epoch, self.history, self.failures)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything a later `restore` needs to go on to the same bits."""
        text = "\n".join(f"{m}\t{reason}" for m, reason in self.failures.items())
        tensors = {"matrix": self.parameters.matrix, "results": self.results, "n_steps": self.optimizer.n_steps}
        tensors |= {f"moment_{i}": moment for i, moment in enumerate(self.optimizer.moments)}
        return {
            "epoch": np.array([self.epoch]),
            "alive": self.alive,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": np.array(self.history.rows, dtype=np.float64).reshape(-1, 4),
            "failures": np.frombuffer(text.encode(), dtype=np.uint8),
        } | {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go back to where `state` was taken."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(state[name].copy()).to(self.device)

        stay = torch.from_numpy(state["alive"].astype(np.int64)).to(self.device)
        self.epoch = int(state["epoch"][0])
        self.alive = state["alive"].astype(np.int64)
        self.parameters = ParameterPack(self.network.parameter_infos(), tensor("matrix"))
        self.optimizer.keep(self.parameters, stay)
        self.optimizer.n_steps = tensor("n_steps")
        self.optimizer.moments = [tensor(f"moment_{i}") for i in range(len(self.optimizer.moments))]
        self.results = tensor("results")
        self.best_score, self.best_epoch = state["best_score"].astype(float), state["best_epoch"].astype(np.int64)
        self.history.rows = [(int(e), int(m), float(t), float(v)) for e, m, t, v in state["history"].tolist()]
        lines = bytes(state["failures"].astype(np.uint8)).decode().splitlines()
        self.failures = {int(m): reason for m, reason in (line.split("\t", 1) for line in lines)}
        if len(self.alive):
            self._follow_alive()


@torch.no_grad()
def predict(
    network: MLP, matrix: Tensor, x: Tensor, views: Sequence[int], rows: Sequence[Rows]
) -> list[NDArray[np.float32]]:
    """Raw outputs of each member in eval mode: member m reads `x[views[m], rows[m]]`, giving (rows, outputs)."""
    parameters = views_of(network.parameter_infos(), matrix)
    lengths = [len(own) for own in rows]
    padded = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
    for position, own in enumerate(rows):
        padded[position, : len(own)] = torch.from_numpy(own)
    offset = torch.tensor(views, device=x.device)[:, None] * x.shape[1]
    widest = max(network.n_inputs, *network.hidden_sizes, network.n_outputs, 1)
    step = max(1, PREDICT_NUMBERS // (widest * len(rows)))
    parts = []
    for start in range(0, padded.shape[1], step):
        index = padded[:, start : start + step].to(x.device) + offset
        batch = x.flatten(0, 1).index_select(0, index.reshape(-1)).view(*index.shape, -1)
        parts.append(network.forward(parameters, batch, None).float().cpu())
    output = torch.cat(parts, dim=1).numpy() if parts else np.zeros((len(rows), 0, network.n_outputs), np.float32)
    return [output[position, :length] for position, length in enumerate(lengths)]


def _generator(device: str, *path: int | str) -> torch.Generator:
    seed, *rest = path
    return torch.Generator(device).manual_seed(derive_seed(int(seed), *rest))
