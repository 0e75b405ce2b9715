"""The convolutional network computes what torch's own layers compute, member by member, and trains in the one loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.competition.samples import make_sample
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy
from pipeline.nets.optimizers import Update
from pipeline.nets.parameters import ParameterPack, views_of
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.training import one_by_one, train_pack

NETWORK = ConvNet(8, 8, (4, 6), n_hidden=10, n_outputs=10)


def rows_of(*seeds: int) -> torch.Tensor:
    return torch.stack([NETWORK.initial_row(torch.Generator().manual_seed(seed)) for seed in seeds])


def by_torch(row: torch.Tensor) -> nn.Sequential:
    """The same network with the member's numbers."""
    views = {name: block[0] for name, block in views_of(NETWORK.parameter_infos(), row[None]).items()}
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Linear(24, 10), nn.Linear(10, 10)]
    with torch.no_grad():
        for number, layer in enumerate(layers[:2]):
            layer.weight.copy_(views[f"kernel_{number}"])
            layer.bias.copy_(views[f"shift_{number}"])
        for number, layer in enumerate(layers[2:]):
            layer.weight.copy_(views[f"weight_{number}"].T)
            layer.bias.copy_(views[f"bias_{number}"][0])
    first, second, third, fourth = layers
    pool = nn.MaxPool2d(2)
    return nn.Sequential(first, nn.ReLU(), pool, second, nn.ReLU(), pool, nn.Flatten(), third, nn.ReLU(), fourth)


@pytest.mark.slow
def test_each_member_is_the_network_of_torchs_layers_forward_and_backward() -> None:
    pixels = torch.rand(3, 5, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5).expand(3, -1)
    rows = rows_of(1, 2, 3)
    pack = ParameterPack(NETWORK.parameter_infos(), rows)
    output = NETWORK.forward(pack.views, Inputs(pixels), None)
    pack.differentiate(cross_entropy()(output, labels, None).sum())
    gradients = torch.cat([block.flatten(1) for block in pack.gradients.values()], dim=1)
    for member in range(3):
        network = by_torch(rows[member])
        expected = network(pixels[member].view(5, 1, 8, 8))
        torch.testing.assert_close(output[member], expected)
        nn.functional.cross_entropy(expected, labels[member]).backward()
        kernel = network[0].weight.grad
        assert kernel is not None
        torch.testing.assert_close(gradients[member, : kernel.numel()], kernel.flatten())
        last = network[-1].bias.grad
        assert last is not None
        torch.testing.assert_close(gradients[member, -10:], last)


@pytest.mark.slow
def test_it_learns_the_digits_in_the_one_training_loop() -> None:
    sample = make_sample("digits")
    table = sample.train
    x = torch.tensor(table.filter(like="pixel_").to_numpy(dtype=np.float32) / 16)
    y = torch.tensor(table["label"].to_numpy())
    rows = np.arange(len(x))
    network = ConvNet(8, 8, (8, 16), n_hidden=32, n_outputs=10)

    def accuracy(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        return float((output.argmax(axis=1) == y.numpy()[rows]).mean())

    members = [Member(seed, 0, rows[:900], rows[900:], lr=5e-3, dropout=0.1 * seed) for seed in range(2)]
    plan = Plan(cross_entropy(), 8, 64, Update("adamw"), evaluate_every=8, greater_is_better=True)
    result = train_pack(network, plan, PackData(Inputs(x[None]), y[None]), members, one_by_one(accuracy))
    assert not result.failures
    assert min(valid for _, _, _, valid in result.history) > 0.85
