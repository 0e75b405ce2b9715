"""Outputs of a pack in eval mode, in chunks that fit into memory. Knows tensors; must not know training or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import Network
from pipeline.nets.plan import Rows

CHUNK_ACTIVATIONS = 1 << 20  # of one layer in one forward pass, which then stays in a CPU's cache
CHUNK_ON_GPU = 1 << 26  # enough to keep it busy: 256 MiB
MEMBERS_AT_ONCE = 64  # in one forward pass on a GPU; on a CPU one member at a time is faster


@torch.no_grad()
def predict(
    network: Network,
    parameters: Mapping[str, Tensor],
    x: Inputs,
    views: Sequence[int],
    rows: Sequence[Rows | None] | None = None,
) -> list[NDArray[np.float32]]:
    """Return each member's raw outputs (rows, heads x outputs) on `rows` of its view of x (views, rows, ...).

    None means all rows. `parameters` maps names to (members, *shape).
    """
    wanted: Sequence[Rows | None] = [None] * len(views) if rows is None else rows
    device = next(iter(parameters.values())).device
    outputs: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(views)
    n_at_once, chunk_size = (1, CHUNK_ACTIVATIONS) if device.type == "cpu" else (MEMBERS_AT_ONCE, CHUNK_ON_GPU)
    same: dict[tuple[int, int], list[int]] = {}  # members by view and array of rows
    for member, (view, some) in enumerate(zip(views, wanted, strict=True)):
        same.setdefault((view, id(some)), []).append(member)
    for together in same.values():
        groups = [together[start : start + n_at_once] for start in range(0, len(together), n_at_once)]
        picks = [slice(m[0], m[0] + 1) if len(m) == 1 else m for m in groups]  # a slice needs no copy
        own = [{name: block[pick] for name, block in parameters.items()} for pick in picks]
        view, some = views[together[0]], wanted[together[0]]
        at = None if some is None else torch.from_numpy(some).to(x.device)
        n_rows = x.dense.shape[1] if at is None else len(at)
        step = max(1, chunk_size // (network.widest * len(groups[0])))
        parts: list[list[Tensor]] = [[] for _ in groups]
        for start in range(0, max(1, n_rows), step):
            chunk = slice(start, start + step)
            batch = x[view : view + 1, chunk if at is None else at[chunk]].to(device).as_float()
            for group, members in enumerate(groups):
                inputs = batch if len(members) == 1 else batch.expand(len(members))
                parts[group].append(network.forward(own[group], inputs, None))
        for group, members in enumerate(groups):
            whole = torch.cat(parts[group], dim=1) if len(parts[group]) > 1 else parts[group][0]
            for member, output in zip(members, whole.float().cpu().numpy(), strict=True):
                outputs[member] = output.reshape(n_rows, -1)
    return outputs
