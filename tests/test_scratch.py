"""What is written by hand does what the framework does: same weights, same batches, same losses and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import scratch
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy
from pipeline.nets.networks import MLP
from pipeline.nets.optimizers import Update
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.training import one_by_one, train_pack

N_ROWS, N_INPUTS, N_CLASSES = 90, 5, 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    """x (90, 5) and labels that depend on it."""
    x = torch.randn(N_ROWS, N_INPUTS, generator=seeded(1))
    rule = torch.randn(N_INPUTS, N_CLASSES, generator=seeded(2))
    return x, (x @ rule).argmax(dim=1)


def sequential(weights: Sequence[tuple[Tensor, Tensor]], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """The framework's network with the same numbers: (inputs, outputs) weights and biases."""
    parts: list[nn.Module] = []
    for weight, bias in weights:
        layer = nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias)
        parts += [layer, activation()]
    return nn.Sequential(*parts[:-1])


def by_framework(
    network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, batches: list[Tensor], lr: float
) -> list[float]:
    """Loss of each batch before its update, as one writes it with torch.optim."""
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        value = loss(network(x[batch]), y[batch])
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def batches_of(n_epochs: int, batch_size: int, seed: int) -> list[Tensor]:
    generator = seeded(seed)
    return [batch for _ in range(n_epochs) for batch in scratch.minibatches(N_ROWS, batch_size, generator)]


def summed_bce(probability: Tensor, labels: Tensor) -> Tensor:
    target = functional.one_hot(labels, probability.shape[1]).float()
    return functional.binary_cross_entropy(probability, target, reduction="sum") / len(labels)


def models() -> dict[str, tuple[scratch.Classifier, nn.Module, Callable[[Tensor, Tensor], Tensor]]]:
    """Each model by hand, the same network of the framework, and the framework's loss."""
    linear = scratch.SoftmaxRegression.initial(N_INPUTS, N_CLASSES, seeded(3), std=0.5)
    hidden = scratch.OneHiddenLayer.initial(N_INPUTS, 7, N_CLASSES, seeded(4), std=0.5)
    topology = scratch.SigmoidNetwork.from_topology([N_INPUTS, 3, 3, N_CLASSES], seeded(5))
    sigmoids = sequential([(w[:-1], w[-1]) for w in topology.parameters()], nn.Sigmoid)
    sigmoids.append(nn.Sigmoid())
    relu = sequential([(hidden.weight_1, hidden.bias_1), (hidden.weight_2, hidden.bias_2)], nn.ReLU)
    return {
        "softmax regression": (linear, sequential([(linear.weight, linear.bias)], nn.ReLU), nn.CrossEntropyLoss()),
        "one hidden layer": (hidden, relu, nn.CrossEntropyLoss()),
        "topology": (topology, sigmoids, summed_bce),
    }


def flat(parameters: Sequence[Tensor], *, has_folded_bias: bool) -> Tensor:
    """Parameters by hand in the framework's order: transposed weight, bias."""
    parts = []
    for parameter in parameters:
        if has_folded_bias:
            parts += [parameter[:-1].T.reshape(-1), parameter[-1]]
        else:
            parts.append((parameter.T if parameter.ndim == 2 else parameter).reshape(-1))
    return torch.cat(parts)


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("batch_size", [16, N_ROWS])
def test_the_same_weights_and_batches_give_the_same_curve_and_parameters(
    name: str, batch_size: int, rows: tuple[Tensor, Tensor]
) -> None:
    x, labels = rows
    by_hand, network, loss = models()[name]
    batches = batches_of(20, batch_size, seed=6)
    expected = by_framework(network, loss, x, labels, batches, lr=0.3)
    with torch.no_grad():  # nothing by hand asks for autograd
        found = [by_hand.step(x[batch], labels[batch], 0.3)[0] for batch in batches]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found[-1] < found[0]
    parameters = flat(by_hand.parameters(), has_folded_bias=name == "topology")  # type: ignore[attr-defined]
    torch.testing.assert_close(parameters, nn.utils.parameters_to_vector(network.parameters()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", models())
def test_gradients_are_autograds_and_the_finite_differences(name: str, rows: tuple[Tensor, Tensor]) -> None:
    x, labels = rows
    by_hand, network, loss = models()[name]
    found = flat(by_hand.gradients(x, labels), has_folded_bias=name == "topology")  # type: ignore[attr-defined]
    network.double()
    loss(network(x.double()), labels).backward() if name != "topology" else _double_bce(network, x, labels).backward()
    autograd = torch.cat([p.grad.reshape(-1) for p in network.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(found.double(), autograd, rtol=0, atol=1e-5)

    def value() -> float:
        with torch.no_grad():
            if name == "topology":
                return _double_bce(network, x, labels).item()
            return loss(network(x.double()), labels).item()

    step, differences = 1e-6, []
    for parameter in network.parameters():
        numbers = parameter.data.view(-1)
        for i in range(len(numbers)):
            at = numbers[i].item()
            numbers[i] = at + step
            above = value()
            numbers[i] = at - step
            differences.append((above - value()) / (2 * step))
            numbers[i] = at
    np.testing.assert_allclose(found.numpy(), differences, rtol=0, atol=1e-5)


def _double_bce(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    target = functional.one_hot(labels, N_CLASSES).double()
    return functional.binary_cross_entropy(network(x.double()), target, reduction="sum") / len(labels)


def test_explicit_parameters_are_trained_as_the_framework_trains_them(rows: tuple[Tensor, Tensor]) -> None:
    x, labels = rows
    target = scratch.one_hot(labels, N_CLASSES)
    generator = seeded(7)
    first, second = torch.randn(N_INPUTS, 3, generator=generator), torch.randn(3, N_CLASSES, generator=generator)
    parameters = (first, torch.zeros(3), second, torch.zeros(N_CLASSES))
    network = sequential([parameters[:2], parameters[2:]], nn.Sigmoid).append(nn.Sigmoid())
    expected = by_framework(network, summed_bce, x, labels, [torch.arange(N_ROWS)] * 50, lr=0.5)
    found = [scratch.sigmoid_two_layers_step(x, target, *parameters, lr=0.5) for _ in range(50)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    trained = flat(parameters, has_folded_bias=False)
    torch.testing.assert_close(trained, nn.utils.parameters_to_vector(network.parameters()), rtol=0, atol=1e-5)


def test_a_layer_with_the_bias_in_its_weights_is_the_layer_with_a_bias(rows: tuple[Tensor, Tensor]) -> None:
    x, labels = rows
    target = scratch.one_hot(labels, N_CLASSES)
    network = scratch.SigmoidNetwork.from_topology([N_INPUTS, 3, N_CLASSES], seeded(8))
    first, second = (layer.weight for layer in network.layers)
    explicit = (first[:-1].clone(), first[-1].clone(), second[:-1].clone(), second[-1].clone())
    for _ in range(20):
        loss, _ = network.step(x, labels, 0.5)
        assert loss == pytest.approx(scratch.sigmoid_two_layers_step(x, target, *explicit, lr=0.5), abs=1e-6)
    torch.testing.assert_close(first, torch.cat([explicit[0], explicit[1][None]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("hidden_sizes", [(), (7,)])
def test_the_engine_trains_what_is_written_out_here(hidden_sizes: tuple[int, ...], rows: tuple[Tensor, Tensor]) -> None:
    """The same network as the only member of a pack, full batches: the same train losses and parameters."""
    x, labels = rows
    n_epochs, lr, losses = 15, 0.3, []

    def score(_: int, batch: np.ndarray, output: np.ndarray) -> float:
        losses.append(float(scratch.cross_entropy(torch.from_numpy(output), labels[torch.from_numpy(batch)])))
        return losses[-1]

    network = MLP(N_INPUTS, hidden_sizes, N_CLASSES)
    everyone = np.arange(N_ROWS)
    plan = Plan(cross_entropy(), n_epochs, batch_size=N_ROWS, update=Update("sgd"))
    one_epoch = Plan(cross_entropy(), 1, batch_size=N_ROWS, update=Update("sgd"))
    data = PackData(Inputs(x[None]), labels[None])
    # lr so small that nothing moves: the member's initial parameters
    still = train_pack(network, one_epoch, data, [Member(9, 0, everyone, everyone[:0], lr=1e-30)], one_by_one(score))
    losses.clear()
    result = train_pack(network, plan, data, [Member(9, 0, everyone, everyone[:0], lr=lr)], one_by_one(score))
    views = iter(still.matrix[0].split(_sizes(hidden_sizes)))
    shapes = [N_INPUTS, *hidden_sizes, N_CLASSES]
    parameters = []
    for n_in, n_out in pairwise(shapes):
        parameters += [next(views).view(n_in, n_out).clone(), next(views).clone()]
    by_hand = scratch.SoftmaxRegression(*parameters) if not hidden_sizes else scratch.OneHiddenLayer(*parameters)
    for epoch in range(n_epochs):
        by_hand.step(x, labels, lr)
        assert float(scratch.cross_entropy(by_hand.forward(x), labels)) == pytest.approx(losses[epoch], abs=1e-5)
    trained = torch.cat([parameter.reshape(-1) for parameter in by_hand.parameters()])
    torch.testing.assert_close(trained, result.matrix[0], rtol=0, atol=1e-5)


def _sizes(hidden_sizes: tuple[int, ...]) -> list[int]:
    shapes = [N_INPUTS, *hidden_sizes, N_CLASSES]
    return [size for n_in, n_out in pairwise(shapes) for size in (n_in * n_out, n_out)]


def test_softmax_and_cross_entropy_are_the_frameworks_and_stable() -> None:
    logits = torch.randn(30, 6, generator=seeded(0)) * 5
    labels = torch.randint(0, 6, (30,), generator=seeded(1))
    torch.testing.assert_close(scratch.softmax(logits), functional.softmax(logits, dim=1))
    torch.testing.assert_close(scratch.cross_entropy(logits, labels), functional.cross_entropy(logits, labels))
    huge = torch.tensor([[1e4, -1e4, 0.0]])
    assert torch.isfinite(scratch.softmax(huge)).all()
    assert float(scratch.cross_entropy(huge, torch.tensor([1]))) == pytest.approx(2e4)


def test_minibatches_hold_every_row_once() -> None:
    batches = list(scratch.minibatches(10, 4, seeded(0)))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(torch.cat(batches).tolist()) == list(range(10))


def test_the_epoch_means_weigh_rows_alike_and_evaluation_changes_nothing(rows: tuple[Tensor, Tensor]) -> None:
    x, labels = rows
    model = scratch.SoftmaxRegression.initial(N_INPUTS, N_CLASSES, seeded(0))
    epoch = scratch.train_epoch(model, x, labels, batch_size=32, lr=0.0, generator=seeded(1))
    assert epoch.loss == pytest.approx(float(scratch.cross_entropy(model.forward(x), labels)), abs=1e-6)
    assert epoch.accuracy == pytest.approx(scratch.evaluate(model, x, labels))
    before = model.weight.clone()
    scratch.evaluate(model, x, labels)
    assert torch.equal(model.weight, before)
    for number in range(30):
        epoch = scratch.train_epoch(model, x, labels, batch_size=16, lr=0.5, generator=seeded(number))
    assert epoch.accuracy > 0.9


def test_a_topology_needs_inputs_and_outputs() -> None:
    with pytest.raises(ValueError, match="inputs and outputs"):
        scratch.SigmoidNetwork.from_topology([3], seeded(0))
