"""Laws of shared packs: a member placed into wider layers is what it is alone, and shapes merge where it pays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nets import training
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.embeddings import CategoryEmbedding, NumberEmbedding
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import mse
from pipeline.nets.merging import CPU_STEP, CUDA_STEP, ZERO_AT_ZERO, StepCost, joint, joint_of, merged, step_cost
from pipeline.nets.networks import MLP, Activation, Network
from pipeline.nets.optimizers import OptimizerName, Update
from pipeline.nets.parameters import resized
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.stepping import FusedSteps, VectorSteps
from pipeline.nets.training import PackResult, one_by_one, train_pack

N_ROWS, N_NUMBERS, N_CODES = 60, 3, 4
SIZES: list[tuple[int, ...]] = [(3, 7), (8, 2), (5, 5)]  # of layers, none of which is widest in both
VARIANTS: dict[str, tuple[dict[str, Any], list[tuple[int, ...]]]] = {
    "plain": ({}, SIZES),
    "input scale": ({"has_input_scale": True}, SIZES),
    "heads": ({"n_heads": 3}, SIZES),
    "residual": ({"is_residual": True}, [(3, 3), (6, 6)]),
    "residual heads": ({"is_residual": True, "n_heads": 2}, [(3, 3, 2), (6, 6, 5)]),
    "pbld": ({"numbers": NumberEmbedding("pbld", N_NUMBERS)}, SIZES),
    "category embedding": ({"categories": CategoryEmbedding(2, N_CODES, 2)}, SIZES),
}


def make_data() -> PackData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, N_ROWS, N_NUMBERS, generator=generator)
    codes = torch.randint(0, N_CODES // 2, (1, N_ROWS, 2), generator=generator, dtype=torch.int32)
    codes[..., 1] += N_CODES // 2
    return PackData(Inputs(x, codes, None, N_CODES), x.sum(dim=2, keepdim=True).sin())


DATA = make_data()


def make_network(sizes: tuple[int, ...], **other: Any) -> MLP:
    return MLP(N_NUMBERS + N_CODES, sizes, 1, **other)


def make_member(number: int, network: Network, **other: Any) -> Member:
    rows = np.random.default_rng(number).permutation(N_ROWS)
    numbers = {"lr": 0.01 * (1 + number), "weight_decay": 0.1, "momentum": 0.5, **other}
    return Member(number, 0, rows[:50], rows[50:], network=network, **numbers)


def rmse(_: int, rows: np.ndarray, output: np.ndarray) -> float:
    by_head = output.reshape(len(rows), -1, 1).mean(axis=1)
    return float(np.sqrt(np.mean((by_head - DATA.y[0].numpy()[rows]) ** 2)))


def train(network: Network, members: list[Member], update: Update) -> PackResult:
    """A hundred steps."""
    plan = Plan(mse, epochs=25, batch_size=13, update=update, evaluate_every=5)
    return train_pack(network, plan, DATA, members, one_by_one(rmse))


def curve_of(result: PackResult, member: int) -> list[float]:
    return [score for _, m, *scores in result.history.rows for score in scores if m == member]


def assert_padding_changes_nothing(networks: list[MLP], update: Update, dropout: float) -> None:
    wide = joint_of(networks)
    members = [make_member(number, network, dropout=dropout) for number, network in enumerate(networks)]
    together = train(wide, members, update)
    infos = wide.parameter_infos()
    for number, network in enumerate(networks):
        alone = train(network, [members[number]], update)
        np.testing.assert_allclose(curve_of(together, number), curve_of(alone, 0), rtol=1e-4)
        row = together.matrix[number : number + 1]
        own = resized(row, infos, network.parameter_infos())
        torch.testing.assert_close(own, alone.matrix, rtol=2e-3, atol=2e-4)
        # what was added is 0 to the bit: the row is its own numbers, with zeros
        assert torch.equal(resized(own, network.parameter_infos(), infos), row)


# --- a member in wider layers


@pytest.mark.slow
@pytest.mark.parametrize("activation", sorted(ZERO_AT_ZERO))
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_padded_member_is_what_it_is_alone(activation: Activation, dropout: float) -> None:
    networks = [make_network(sizes, activation=activation) for sizes in SIZES]
    assert_padding_changes_nothing(networks, Update("adamw"), dropout)


@pytest.mark.slow
@pytest.mark.parametrize(("extras", "sizes"), VARIANTS.values(), ids=VARIANTS)
def test_a_padded_member_of_any_kind_is_what_it_is_alone(extras: Any, sizes: list[tuple[int, ...]]) -> None:
    networks = [make_network(one, activation="silu", **extras) for one in sizes]
    assert_padding_changes_nothing(networks, Update("adam"), 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(OptimizerName))
@pytest.mark.parametrize("steps", [FusedSteps, VectorSteps])
def test_no_update_moves_what_is_zero(name: OptimizerName, steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "make_steps", steps)
    networks = [make_network(sizes, activation="tanh") for sizes in SIZES]
    assert_padding_changes_nothing(networks, Update(name, has_momentum=True, decays_biases=True), 0.0)


def test_sigmoid_would_not_stay_zero() -> None:
    """Why it is left out: half of what an added unit passes on comes back to it."""
    narrow, wide = (make_network(sizes, activation="sigmoid") for sizes in ((3,), (8,)))
    result = train(wide, [make_member(0, narrow)], Update("adamw"))
    own = resized(result.matrix, wide.parameter_infos(), narrow.parameter_infos())
    assert not torch.equal(resized(own, narrow.parameter_infos(), wide.parameter_infos()), result.matrix)


# --- what fits into what


def test_every_activation_that_is_zero_at_zero_is_known() -> None:
    def at_zero(name: Activation) -> float:
        slope = torch.tensor(0.25) if name == "prelu" else None
        return make_network((), activation=name).activate(torch.zeros(1), slope).item()

    assert {name for name in get_args(Activation) if at_zero(name) == 0.0} == ZERO_AT_ZERO


def test_the_joint_network_is_as_wide_as_the_widest_layer() -> None:
    assert joint_of([make_network(sizes) for sizes in SIZES]) == make_network((8, 7))
    assert joint(make_network(()), make_network(())) == make_network(())


@pytest.mark.parametrize(
    "other",
    [
        make_network((5,)),
        make_network((5, 6, 7)),
        make_network((5, 7), activation="tanh"),
        make_network((5, 7), n_heads=2),
        make_network((5, 7), has_input_scale=True),
        make_network((5, 7), numbers=NumberEmbedding("plr", N_NUMBERS)),
        replace(make_network((5, 7)), n_inputs=9),
        ConvNet(4, 4, (2,), 8, 1),
    ],
    ids=["depth", "depth 3", "activation", "heads", "input scale", "embedding", "inputs", "convolutions"],
)
def test_what_differs_in_more_than_widths_shares_nothing(other: Network) -> None:
    assert joint(make_network((5, 6)), other) is None
    assert joint(other, make_network((5, 6))) is None


@pytest.mark.parametrize("extras", [{"activation": "sigmoid"}, {"has_layer_norm": True}], ids=str)
def test_networks_that_cannot_be_padded_share_with_their_equals_only(extras: Any) -> None:
    assert joint(make_network((4,), **extras), make_network((5,), **extras)) is None
    assert joint(make_network((4,), **extras), make_network((4,), **extras)) is not None


@pytest.mark.parametrize("pair", [((4, 4), (4, 5)), ((4, 5), (5, 4)), ((3, 5), (6, 2))])
def test_residual_networks_share_only_what_adds_at_the_same_layers(pair: Any) -> None:
    one, other = (make_network(sizes, is_residual=True) for sizes in pair)
    found = joint(one, other)
    assert (found is not None) == (pair == ((3, 5), (6, 2)))


def test_what_decides_the_start_alone_is_a_members_own() -> None:
    one = make_network((4,), numbers=NumberEmbedding("pbld", N_NUMBERS, frequency_scale=0.1))
    other = replace(one, numbers=replace(one.numbers, frequency_scale=0.4), initialisation="he")
    assert joint(one, other) == one
    assert merged([one, other], [5, 5], 64, replace(CPU_STEP, pack=0.0), lambda _: 1) == [[0, 1]]
    members = [make_member(0, one), make_member(1, other)]
    together = train(one, members, Update())
    for number, network in enumerate((one, other)):
        alone = train(network, [members[number]], Update())
        torch.testing.assert_close(together.matrix[number], alone.matrix[0], rtol=2e-3, atol=2e-4)


# --- what pays


@given(widths=st.lists(st.integers(1, 600), min_size=1, max_size=6, unique=True), pack=st.floats(0.0, 1.0))
def test_merging_leaves_nobody_out_and_never_costs_more(widths: list[int], pack: float) -> None:
    cost = replace(CPU_STEP, pack=pack)
    networks, n_members = [make_network((width,)) for width in widths], [5 + width % 3 for width in widths]
    groups = merged(networks, n_members, 64, cost, lambda _: 1)
    assert sorted(i for group in groups for i in group) == list(range(len(widths)))
    separate = sum(cost(network, n, 1, 64) for network, n in zip(networks, n_members, strict=True))
    together = [cost(joint_of(networks[i] for i in group), sum(n_members[i] for i in group), 1, 64) for group in groups]
    assert sum(together) <= separate * (1 + 1e-9)


def test_a_dear_pack_merges_all_and_a_free_one_none() -> None:
    networks = [make_network((width,)) for width in (8, 16, 64)]
    dear, free = StepCost(1.0, 1e-9, 1e-9, 1e-9), StepCost(0.0, 1e-9, 1e-9, 1e-9)
    assert merged(networks, [5, 5, 5], 64, dear, lambda _: 1) == [[0, 1, 2]]
    assert merged(networks, [5, 5, 5], 64, free, lambda _: 1) == [[0], [1], [2]]


def test_neighbours_merge_before_strangers() -> None:
    """The pack that is saved pays for a little padding, not for much."""
    networks = [make_network((width,)) for width in (8, 500, 10)]
    assert merged(networks, [5, 5, 5], 64, StepCost(1e-4, 0.0, 1e-8, 0.0), lambda _: 1) == [[0, 2], [1]]


def test_packs_that_are_full_are_not_saved() -> None:
    """Members that are cut into as many packs together as apart have nothing to gain."""
    networks = [make_network((8,)), make_network((9,))]
    assert merged(networks, [64, 64], 64, CPU_STEP, lambda n: -(-n // 64)) == [[0], [1]]
    assert merged(networks, [5, 5], 64, CPU_STEP, lambda n: -(-n // 64)) == [[0, 1]]


def test_a_gpu_merges_what_a_cpu_keeps_apart() -> None:
    assert (step_cost(torch.device("cpu")), step_cost(torch.device("cuda"))) == (CPU_STEP, CUDA_STEP)
    networks = [MLP(100, (width,), 1) for width in (64, 256)]
    assert merged(networks, [5, 5], 64, CPU_STEP, lambda _: 1) == [[0], [1]]
    assert merged(networks, [5, 5], 64, CUDA_STEP, lambda _: 1) == [[0, 1]]


def test_resizing_there_and_back_is_nothing() -> None:
    shapes = [make_network(sizes).parameter_infos() for sizes in ((2, 3), (4, 6))]
    row = make_network((2, 3)).initial_row(torch.Generator().manual_seed(0))[None]
    for narrow, wide in pairwise(shapes):
        padded = resized(row, narrow, wide)
        assert torch.equal(resized(padded, wide, narrow), row)
        assert int((padded != 0).sum()) == int((row != 0).sum())
