"""The step written out gives autograd's numbers, for every activation, with dropout, weights and short batches."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from pipeline.nets.dropout import PackedDropout
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy, mse
from pipeline.nets.mlp_step import BACKWARD, MLPStep
from pipeline.nets.networks import MLP, Activation
from pipeline.nets.parameters import ParameterPack

MEMBERS, BATCH = 3, 8


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("hidden_sizes", [(), (6,), (6, 5)])
@pytest.mark.parametrize("has_dropout", [False, True])
@pytest.mark.parametrize("n_rows", [BATCH, 5])
def test_gradients_equal_autograds(
    activation: Activation, hidden_sizes: tuple[int, ...], has_dropout: bool, n_rows: int
) -> None:
    network = MLP(4, hidden_sizes, 3, activation=activation)
    rows = torch.stack([network.initial_row(torch.Generator().manual_seed(m)) for m in range(MEMBERS)])
    pack = ParameterPack(network.parameter_infos(), rows)
    step = MLPStep(network, pack, MEMBERS, BATCH)
    x = numbers(MEMBERS, n_rows, 4, seed=1)
    weight = numbers(MEMBERS, n_rows, seed=2).abs()
    loss = cross_entropy() if len(hidden_sizes) == 1 else mse
    y = torch.randint(3, (MEMBERS, n_rows)) if len(hidden_sizes) == 1 else numbers(MEMBERS, n_rows, 3, seed=3)

    def dropout() -> PackedDropout | None:
        sizes = [BATCH] * MEMBERS, hidden_sizes
        return PackedDropout([0.0, 0.3, 0.6], [1, 2, 3], torch.device("cpu"), *sizes) if has_dropout else None

    for _ in range(2):  # the second time in used buffers
        step.differentiate(Inputs(x), y, weight, loss, dropout())
    by_hand = pack.gradient.clone()
    pack.differentiate(loss(network.forward(pack.views, Inputs(x), dropout()), y, weight).sum())
    torch.testing.assert_close(by_hand, pack.gradient, rtol=1e-5, atol=1e-6)
    assert (step.mlp is not None) == (activation in BACKWARD)
