"""A pack's outputs in eval mode, in pieces that fit the memory. Knows tensors; knows nothing of training or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import Network
from pipeline.nets.plan import Rows

PREDICT_NUMBERS = 1 << 20  # activations of one layer held at once by a forward pass without gradients
MEMBERS_AT_ONCE = 64  # in such a pass on a GPU; on a CPU one by one is faster


@torch.no_grad()
def predict(
    network: Network,
    parameters: Mapping[str, Tensor],
    x: Inputs,
    views: Sequence[int],
    rows: Sequence[Rows | None] | None = None,
) -> list[NDArray[np.float32]]:
    """Raw outputs of each member in eval mode on its `rows` of its view: x (views, rows, ...) -> (rows, outputs).

    None stands for all rows. `parameters` are (members, *shape) by name. A network with heads has (rows, heads x
    outputs).
    """
    wanted: Sequence[Rows | None] = [None] * len(views) if rows is None else rows
    device = next(iter(parameters.values())).device
    outputs: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(views)
    n_at_once = 1 if device.type == "cpu" else MEMBERS_AT_ONCE
    for together in _together(views, wanted):
        groups = [together[start : start + n_at_once] for start in range(0, len(together), n_at_once)]
        own = [{name: _of_members(block, members) for name, block in parameters.items()} for members in groups]
        view, some = views[together[0]], wanted[together[0]]
        at = None if some is None else torch.from_numpy(some).to(x.device)
        n_rows = x.dense.shape[1] if at is None else len(at)
        step = max(1, PREDICT_NUMBERS // (network.widest * len(groups[0])))
        parts: list[list[Tensor]] = [[] for _ in groups]
        for start in range(0, max(1, n_rows), step):
            rows_of_part = slice(start, start + step)
            piece = x[view : view + 1, rows_of_part if at is None else at[rows_of_part]].to(device).as_float()
            for group, members in enumerate(groups):
                inputs = piece if len(members) == 1 else piece.expand(len(members))
                parts[group].append(network.forward(own[group], inputs, None))
        for group, members in enumerate(groups):
            whole = torch.cat(parts[group], dim=1) if len(parts[group]) > 1 else parts[group][0]
            for member, output in zip(members, whole.float().cpu().numpy(), strict=True):
                outputs[member] = output.reshape(n_rows, -1)
    return outputs


def _of_members(block: Tensor, members: Sequence[int]) -> Tensor:
    """Of one member without a copy."""
    return block[members[0] : members[0] + 1] if len(members) == 1 else block[list(members)]


def _together(views: Sequence[int], rows: Sequence[Rows | None]) -> list[list[int]]:
    """Members of the same view and the same array of rows."""
    same: dict[tuple[int, int], list[int]] = {}
    for member, (view, some) in enumerate(zip(views, rows, strict=True)):
        same.setdefault((view, id(some)), []).append(member)
    return list(same.values())
