"""Law: every member of a pack computes what a plain network with its weights would."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.nets.embeddings import CategoryEmbedding, NumberEmbedding, NumberEmbeddingName
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import mse
from pipeline.nets.mlp_step import MLPStep
from pipeline.nets.networks import MLP
from pipeline.nets.parameters import ParameterPack

MEMBERS, BATCH, NUMBERS = 3, 6, 4
CODES = torch.tensor([0, 2, 4]) + torch.randint(0, 2, (MEMBERS, BATCH, 3), generator=torch.Generator().manual_seed(1))
INPUTS = Inputs(
    torch.randn(MEMBERS, BATCH, NUMBERS, generator=torch.Generator().manual_seed(2)), CODES.int(), None, n_onehot=6
)
PLAIN = MLP(NUMBERS + 6, (8, 8), 2, activation="silu")


def make_pack(network: MLP) -> ParameterPack:
    rows = [network.initial_row(torch.Generator().manual_seed(seed)) for seed in range(MEMBERS)]
    return ParameterPack(network.parameter_infos(), torch.stack(rows) + 0.01)  # none of them trivial


def own(pack: ParameterPack, member: int) -> dict[str, Tensor]:
    return {name: block[member].detach() for name, block in pack.views.items()}


def layers(p: dict[str, Tensor], x: Tensor) -> Tensor:
    for layer in (0, 1):
        x = functional.silu(x @ p[f"weight_{layer}"] + p[f"bias_{layer}"])
    return x @ p["weight_2"] + p["bias_2"]


@pytest.mark.parametrize("kind", ["plr", "pbld"])
def test_numbers_become_their_periodic_features(kind: NumberEmbeddingName) -> None:
    embedding = NumberEmbedding(kind, NUMBERS, n_frequencies=5, frequency_scale=0.3, size=3)
    network = replace(PLAIN, numbers=embedding)
    pack = make_pack(network)
    output = network.forward(pack.views, INPUTS, None)
    for member in range(MEMBERS):
        p, parts = own(pack, member), []
        for column in range(NUMBERS):
            x = INPUTS.dense[member, :, column : column + 1]
            angle = 2 * math.pi * x * p["number_frequency"][column]
            if kind == "plr":
                features = torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)
            else:
                features = torch.cos(angle + p["number_phase"][column])
            learned = features @ p["number_weight"][column] + p["number_bias"][column]
            parts.append(torch.relu(learned) if kind == "plr" else torch.cat([x, learned], dim=1))
        onehot = INPUTS.as_dense()[member, :, NUMBERS:]
        expected = layers(p, torch.cat([*parts, onehot], dim=1))
        torch.testing.assert_close(output[member], expected, rtol=1e-4, atol=1e-5)


def test_categories_become_rows_of_their_table() -> None:
    network = replace(PLAIN, categories=CategoryEmbedding(n_slots=3, n_onehot=6, size=2))
    pack = make_pack(network)
    output = network.forward(pack.views, INPUTS, None)
    for member in range(MEMBERS):
        p = own(pack, member)
        looked_up = functional.embedding(CODES[member], p["category_table"]).flatten(1)
        expected = layers(p, torch.cat([INPUTS.dense[member], looked_up], dim=1))
        torch.testing.assert_close(output[member], expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_and_residual_layers() -> None:
    network = replace(PLAIN, has_layer_norm=True, is_residual=True)
    pack = make_pack(network)
    output = network.forward(pack.views, INPUTS, None)
    for member in range(MEMBERS):
        p, x = own(pack, member), INPUTS.as_dense()[member]
        for layer in (0, 1):
            product = x @ p[f"weight_{layer}"] + p[f"bias_{layer}"]
            normal = functional.layer_norm(product, (8,), p[f"gain_{layer}"][0], p[f"shift_{layer}"][0])
            x = functional.silu(normal) + (x if layer == 1 else 0.0)
        torch.testing.assert_close(output[member], x @ p["weight_2"] + p["bias_2"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("has_input_scale", [False, True])
def test_every_head_is_a_network_of_its_own_that_shares_weights(has_input_scale: bool) -> None:
    """TabM (ICLR 2025): ((x * in) W) * out + b, and an output layer a head."""
    network = replace(PLAIN, n_heads=3, has_input_scale=has_input_scale)
    pack = make_pack(network)
    output = network.forward(pack.views, INPUTS, None).view(MEMBERS, BATCH, 3, 2)
    for member in range(MEMBERS):
        p = own(pack, member)
        for head in range(3):
            x = INPUTS.as_dense()[member] * (p["input_scale"] if has_input_scale else 1.0)
            for layer in (0, 1):
                product = (x * p[f"in_{layer}"][head]) @ p[f"weight_{layer}"]
                x = functional.silu(product * p[f"out_{layer}"][head] + p[f"bias_{layer}"][head])
            expected = x @ p["weight_2"][head] + p["bias_2"][head]
            torch.testing.assert_close(output[member, :, head], expected, rtol=1e-4, atol=1e-5)


def test_heads_start_apart() -> None:
    network = replace(PLAIN, n_heads=3)
    output = network.forward(make_pack(network).views, INPUTS, None).view(MEMBERS, BATCH, 3, 2)
    assert not torch.allclose(output[:, :, 0], output[:, :, 1], atol=1e-3)


EXTRAS = {
    "plr": {"numbers": NumberEmbedding("plr", NUMBERS)},
    "pbld": {"numbers": NumberEmbedding("pbld", NUMBERS)},
    "categories": {"categories": CategoryEmbedding(3, 6, 2)},
    "norm, residual": {"has_layer_norm": True, "is_residual": True},
    "heads": {"n_heads": 2},
    "all": {
        "numbers": NumberEmbedding("pbld", NUMBERS),
        "categories": CategoryEmbedding(3, 6, 2),
        "has_input_scale": True,
        "has_layer_norm": True,
        "is_residual": True,
        "n_heads": 2,
    },
}


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
def test_a_step_changes_every_parameter_of_its_own_member_alone(extras: dict[str, object]) -> None:
    network = replace(PLAIN, **extras)
    pack = make_pack(network)
    target = torch.randn(MEMBERS, BATCH, 2)
    weight = torch.ones(MEMBERS, BATCH)
    weight[1] = 0.0  # the second member has no rows: nothing may reach it
    MLPStep(network, pack, MEMBERS, BATCH).differentiate(INPUTS, target, weight, mse, None)
    for name, gradient in pack.gradients.items():
        moves = gradient.flatten(1).abs().sum(dim=1) > 0
        assert moves.tolist() == [True, False, True], name
