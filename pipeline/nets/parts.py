"""Train packs on a cluster's workers, in parts of a few seconds whose states come back.

Knows `train_pack` and its arguments; must not know which packs should run where. A part that is lost is trained again
from the state before it. Scores are computed by the worker, decisions about pruning here, between two parts.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.base import files
from pipeline.base.fit_workers import Workers
from pipeline.base.interruption import Stopped
from pipeline.nets.networks import Network
from pipeline.nets.plan import HistoryRow, Member, PackData, PackJob, Plan, Score
from pipeline.nets.settings import set_up_torch, torch_settings_restored
from pipeline.nets.training import PackResult, train_pack

PART_S = 5.0  # what a killed worker loses at most, unless the state is large
BYTES_PER_S, TRAVEL_SHARE = 1e8, 0.1  # of a state on its way, by a network of a gigabit; of the time of a part at most
News = list[tuple[int, list[HistoryRow]]]  # epochs with new history rows


@dataclass(frozen=True)
class _Part:
    """What a worker has done: the state it ends with, what it has to tell, and the result if the pack is done."""

    state: bytes | None  # None if nobody needs it
    news: News
    to_prune: News
    result: tuple[Any, ...] | None


def train_in_parts(
    workers: Workers,
    job: PackJob,
    n_threads: int,
    *,
    checkpoint: Path | None,
    on_epoch: Callable[[int, list[HistoryRow]], None],
    stop: threading.Event,
) -> PackResult:
    """Train on `workers`: the bits, errors and checkpoint of `train_pack`. Raises Stopped, ClusterError.

    The functions are called in this process.
    """
    is_known = files.read_checkpoint(files.read_tensors, checkpoint) is not None
    known = checkpoint.read_bytes() if checkpoint is not None and is_known else None
    pack = (job.network, job.plan, job.members, job.score)
    pruned: Collection[int] = ()
    while True:
        values = (
            _seconds_of_part(known),
            n_threads,
            known,
            pruned,
            job.prune is not None and job.may_prune,
            checkpoint is not None,
        )
        part = workers.run(_train_part, [job.data, pack], *values, stop=stop)
        known, pruned = part.state, ()
        if checkpoint is not None and known is not None:
            with files.atomic_write(checkpoint) as file:
                file.write(known)
        if job.prune is not None:
            news = part.to_prune if job.may_prune else [one for one in part.news if one[0] < job.plan.epochs]
            pruned = [member for epoch, rows in news for member in job.prune(epoch, rows)]
        for epoch, rows in part.news:
            on_epoch(epoch, rows)
        if part.result is not None:
            matrix, *others = part.result
            return PackResult(torch.from_numpy(matrix), *others)


def _seconds_of_part(known: bytes | None) -> float:
    """How long a part trains: so long that sending its state there and back takes a small share of the time."""
    return PART_S if known is None else max(PART_S, 2 * len(known) / BYTES_PER_S / TRAVEL_SHARE)


def _train_part(
    data: PackData,
    pack: tuple[Network, Plan, Sequence[Member], Score],
    seconds: float,
    n_threads: int,
    known: bytes | None,
    pruned: Collection[int],
    has_prune: bool,
    has_checkpoint: bool,
    *,
    stop: threading.Event,
) -> _Part:
    """Continue a pack from the state `known` without the members `pruned`, on a worker."""
    network, plan, members, score = pack
    news, to_prune = News(), News()
    until = time.monotonic() + seconds

    def is_over() -> bool:
        return bool(to_prune) or time.monotonic() > until

    def ask(epoch: int, rows: list[HistoryRow]) -> Collection[int]:
        to_prune.append((epoch, rows))
        return ()

    with tempfile.TemporaryDirectory() as folder, torch_settings_restored():
        set_up_torch(network, plan, n_threads)
        state, result = Path(folder) / "pack.safetensors", None
        if known is not None:
            state.write_bytes(known)
        try:
            found = train_pack(
                network,
                plan,
                data,
                members,
                score,
                checkpoint=state,
                on_epoch=lambda epoch, rows: news.append((epoch, rows)),
                should_stop=stop.is_set,
                should_pause=is_over,
                prune=ask if has_prune else None,
                pruned=pruned,
            )
            result = (found.matrix.numpy(), found.best_epoch, found.history, found.failures, found.pruned)
        except Stopped:
            if stop.is_set():
                raise
        return _Part(state.read_bytes() if has_checkpoint or result is None else None, news, to_prune, result)
