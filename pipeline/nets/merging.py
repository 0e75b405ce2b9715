"""Which networks of different shape train in one pack: those that fit into each other, where that costs less.

Knows shapes and what a step takes; knows nothing of members or of how they train.

A narrower MLP is placed into the widest one's layers with zeros elsewhere, and needs no mask, for what is zero stays
zero to the bit. A unit whose incoming weights and bias are 0 gives f(0) = 0, so the gradient of its outgoing weights,
that value times what comes back, is 0; these weights are 0, so nothing comes back to it, and the gradients of its
incoming weights and bias are 0, too. An update of a number 0 with gradient 0 leaves 0: weight decay multiplies it,
a moment of zeros is 0, and Adam divides 0 by eps. Dropout multiplies the unit's 0; the heads' scales of a TabM do
the same. A residual layer adds 0, as long as the same layers add in both networks. Layer norm counts the units, and
sigmoid(0) is not 0: such networks have packs of their own.

A pack keeps its width when the widest leave it: its padding takes less than the packs it saves would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import combinations, pairwise

import torch

from pipeline.nets.networks import MLP, Network

ZERO_AT_ZERO = frozenset({"relu", "leaky_relu", "prelu", "tanh", "gelu", "silu", "selu", "mish"})


@dataclass(frozen=True)
class StepCost:
    """Seconds of a pack's step: what it takes however small it is, and what its members' sizes add."""

    pack: float
    weight: float  # a member's weight, whatever the batch: its update
    product: float  # a member's weight and row
    unit: float  # a member's unit and row: activation, dropout

    def __call__(self, network: Network, n_members: int, n_packs: int, batch_size: int) -> float:
        """Of `n_members` of the network in `n_packs`."""
        n_weights, n_units = _n_weights(network), network.n_activations * network.n_heads
        a_row = n_weights * network.n_heads * self.product + n_units * self.unit
        return n_packs * self.pack + n_members * (n_weights * self.weight + batch_size * a_row)


# Fitted by `benchmarks/merging.py --constants` on one core of a server of 2023 with AVX-512; the weight's is not told
# from noise there, and is what AdamW's 28 bytes take at 28 GB/s.
CPU_STEP = StepCost(pack=1.8e-4, weight=1e-9, product=6e-11, unit=7e-9)
# An estimate for an H100, not a measurement: a hundred kernels of a captured graph at 2 us; fifteen passes of 12 bytes
# of the update, and ten of the activations, at 3 TB/s; six FLOP at 30 TFLOP/s.
CUDA_STEP = StepCost(pack=2e-4, weight=6e-11, product=2e-13, unit=4e-11)


def step_cost(device: torch.device) -> StepCost:
    """Of the device."""
    return CPU_STEP if device.type == "cpu" else CUDA_STEP


def joint(one: Network, other: Network) -> Network | None:
    """The least network into which both fit; None when there is none. It starts as `one` does."""
    if one == other:
        return one
    if not isinstance(one, MLP) or not isinstance(other, MLP) or len(one.hidden_sizes) != len(other.hidden_sizes):
        return None
    # these two decide the start alone, which is a member's own
    numbers = replace(other.numbers, frequency_scale=one.numbers.frequency_scale)
    alike = replace(other, hidden_sizes=one.hidden_sizes, initialisation=one.initialisation, numbers=numbers)
    sizes = tuple(max(pair) for pair in zip(one.hidden_sizes, other.hidden_sizes, strict=True))
    if alike != one or not _may_widen(one, sizes) or not _may_widen(other, sizes):
        return None
    return replace(one, hidden_sizes=sizes)


def joint_of(networks: Iterable[Network]) -> Network:
    """The least network into which all fit, of which each two are known to."""

    def both(one: Network, other: Network) -> Network:
        found = joint(one, other)
        assert found is not None, "these were not grouped by `merged`"
        return found

    return reduce(both, networks)


def merged(
    networks: Sequence[Network],
    n_members: Sequence[int],
    batch_size: int,
    cost: StepCost,
    n_packs: Callable[[int], int],
) -> list[list[int]]:
    """Indices of `networks` that share packs: as long as it pays, the two groups whose union saves most become one.

    `n_packs` tells into how many packs a number of members is cut. Networks that differ in their start alone always
    share.
    """

    def cost_of(network: Network, n: int) -> float:
        return cost(network, n, n_packs(n), batch_size)

    groups = [([i], network, n) for i, (network, n) in enumerate(zip(networks, n_members, strict=True))]
    while True:
        best: tuple[float, int, int, Network] | None = None
        for (a, (_, one, n_one)), (b, (_, other, n_other)) in combinations(enumerate(groups), 2):
            both = joint(one, other)
            if both is None:
                continue
            padded = cost_of(both, n_one + n_other)
            saving = math.inf if _n_weights(both) == _n_weights(one) == _n_weights(other) else 0.0
            saving += cost_of(one, n_one) + cost_of(other, n_other) - padded
            if saving > 0.0 and (best is None or saving > best[0]):
                best = saving, a, b, both
        if best is None:
            return [sorted(indices) for indices, _, _ in groups]
        _, a, b, both = best
        indices, _, n = groups.pop(b)
        groups[a] = groups[a][0] + indices, both, groups[a][2] + n


def _may_widen(network: MLP, sizes: tuple[int, ...]) -> bool:
    """Whether the network computes the same when it is placed into layers of these sizes."""
    if sizes == network.hidden_sizes:
        return True
    if network.has_layer_norm or network.activation not in ZERO_AT_ZERO:
        return False
    return not network.is_residual or _residual_layers(sizes) == _residual_layers(network.hidden_sizes)


def _residual_layers(sizes: tuple[int, ...]) -> list[bool]:
    return [before == after for before, after in pairwise(sizes)]


@cache
def _n_weights(network: Network) -> int:
    return sum(math.prod(info.shape) for info in network.parameter_infos().values())
