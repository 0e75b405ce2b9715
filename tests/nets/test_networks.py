"""Laws of the packed networks: each member is the torch.nn network of the same weights, forward and backward."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.nets.inputs import Inputs
from pipeline.nets.networks import MLP, NORMAL_STD, PRELU_SLOPE, Activation, Initialisation
from pipeline.nets.parameters import ParameterPack, views_of

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "mish": nn.Mish,
}


def make_pack(network: MLP, n_members: int) -> ParameterPack:
    generators = [torch.Generator().manual_seed(member) for member in range(n_members)]
    return ParameterPack(network.parameter_infos(), torch.stack([network.initial_row(g) for g in generators]))


def sequential_of(network: MLP, pack: ParameterPack, member: int) -> nn.Sequential:
    """The member as a plain torch.nn network with copies of its weights."""
    parts: list[nn.Module] = []
    sizes = [network.n_inputs, *network.hidden_sizes, network.n_outputs]
    for layer in range(len(sizes) - 1):
        linear = nn.Linear(sizes[layer], sizes[layer + 1])
        linear.weight.data = pack.views[f"weight_{layer}"][member].detach().T.clone()
        linear.bias.data = pack.views[f"bias_{layer}"][member, 0].detach().clone()
        parts.append(linear)
        if layer < len(network.hidden_sizes):
            activation = ACTIVATIONS[network.activation]()
            if isinstance(activation, nn.PReLU):
                activation.weight.data = pack.views[f"slope_{layer}"][member, 0].detach().clone()
            parts.append(activation)
    return nn.Sequential(*parts)


def batch(n_members: int, n_rows: int, n_inputs: int) -> Tensor:
    return torch.randn(n_members, n_rows, n_inputs, generator=torch.Generator().manual_seed(99))


def test_every_activation_is_tested() -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden_sizes", [(), (5,), (6, 4)])
def test_a_member_is_the_sequential_network_of_its_weights(
    activation: Activation, hidden_sizes: tuple[int, ...]
) -> None:
    network = MLP(3, hidden_sizes, 2, activation=activation)
    pack, x = make_pack(network, 4), batch(4, 7, 3)
    output = network.forward(pack.views, Inputs(x), None)
    pack.differentiate(output.square().mean(dim=(1, 2)).sum())
    gradients = pack.gradients
    for member in range(4):
        plain = sequential_of(network, pack, member)
        expected = plain(x[member])
        torch.testing.assert_close(output[member], expected)
        expected.square().mean().backward()
        linears = [module for module in plain if isinstance(module, nn.Linear)]
        for layer, linear in enumerate(linears):
            torch.testing.assert_close(gradients[f"weight_{layer}"][member].T, linear.weight.grad)
            torch.testing.assert_close(gradients[f"bias_{layer}"][member, 0], linear.bias.grad)
        for layer, slope in enumerate(module for module in plain if isinstance(module, nn.PReLU)):
            torch.testing.assert_close(gradients[f"slope_{layer}"][member, 0], slope.weight.grad)


def test_a_learned_input_scale_starts_at_one_and_multiplies_the_input() -> None:
    network = MLP(3, (4,), 1, has_input_scale=True)
    pack, x = make_pack(network, 2), batch(2, 5, 3)
    assert (pack.views["input_scale"] == 1).all()
    pack.views["input_scale"].detach()[:, 0] = torch.tensor([[2.0, 0.0, -1.0], [1.0, 3.0, 0.5]])
    output = network.forward(pack.views, Inputs(x), None)
    for member in range(2):
        plain = sequential_of(network, pack, member)
        torch.testing.assert_close(output[member], plain(x[member] * pack.views["input_scale"][member]))


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", "sigmoid", "prelu"])
def test_the_gradient_is_that_of_the_forward_pass(activation: Activation) -> None:
    network = MLP(2, (3,), 2, activation=activation, has_input_scale=True)
    views = {name: view.double().detach().requires_grad_() for name, view in make_pack(network, 2).views.items()}
    x = batch(2, 3, 2).double()
    torch.autograd.gradcheck(
        lambda *values: network.forward(dict(zip(views, values, strict=True)), Inputs(x), None), tuple(views.values())
    )


def test_dropout_follows_every_hidden_layer_and_no_other() -> None:
    network = MLP(3, (5, 4), 2)
    pack, x = make_pack(network, 2), batch(2, 6, 3)
    shapes = []

    def dropout(hidden: Tensor, layer: int) -> Tensor:
        shapes.append((layer, *hidden.shape))
        assert (hidden >= 0).all()  # after the activation
        return hidden * 0

    output = network.forward(pack.views, Inputs(x), dropout)
    assert shapes == [(0, 2, 6, 5), (1, 2, 6, 4)]
    torch.testing.assert_close(output, pack.views["bias_2"].expand(2, 6, 2))


def test_members_do_not_feel_each_other() -> None:
    network = MLP(3, (4,), 1)
    pack, x = make_pack(network, 3), batch(3, 5, 3)
    before = network.forward(pack.views, Inputs(x), None).detach().clone()
    for view in pack.views.values():
        view.detach()[1] = float("nan")
    x[1] = float("inf")
    after = network.forward(pack.views, Inputs(x), None)
    assert after[1].isnan().all()
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=0)


def test_views_share_the_buffer_and_the_kept_pack_does_not() -> None:
    network = MLP(2, (3,), 1, activation="prelu")
    pack = make_pack(network, 3)
    assert {name: tuple(view.shape) for name, view in pack.views.items()} == {
        "weight_0": (3, 2, 3),
        "bias_0": (3, 1, 3),
        "slope_0": (3, 1, 1),
        "weight_1": (3, 3, 1),
        "bias_1": (3, 1, 1),
    }
    kept = pack.keep(torch.tensor([2, 0]))
    torch.testing.assert_close(kept.rows(), pack.rows()[[2, 0]])
    pack.buffer.fill_(7.0)
    assert (pack.views["weight_1"] == 7.0).all()
    assert not (kept.buffer == 7.0).any()
    assert pack.keep(torch.tensor([], dtype=torch.int64)).rows().shape == (0, 14)


def test_only_weight_matrices_are_weights() -> None:
    infos = MLP(2, (1,), 1, activation="prelu", has_input_scale=True).parameter_infos()
    assert [name for name, info in infos.items() if info.is_weight] == ["weight_0", "weight_1"]


# --- initial weights

WIDE = (200, 150)


def initial(initialisation: Initialisation, seed: int = 0) -> dict[str, Tensor]:
    network = MLP(WIDE[0], (WIDE[1],), 1, initialisation=initialisation)
    row = network.initial_row(torch.Generator().manual_seed(seed))
    return {name: view[0] for name, view in views_of(network.parameter_infos(), row[None]).items()}


@pytest.mark.parametrize(("initialisation", "bound"), [("torch", 1 / math.sqrt(200)), ("xavier", math.sqrt(6 / 350))])
def test_uniform_initial_weights_fill_their_bounds(initialisation: Initialisation, bound: float) -> None:
    weight = initial(initialisation)["weight_0"]
    assert 0.99 * bound < weight.abs().max() <= bound
    torch.testing.assert_close(weight.std().item(), bound / math.sqrt(3), rtol=0.02, atol=0)
    assert abs(weight.mean()) < 0.02 * bound


@pytest.mark.parametrize(("initialisation", "std"), [("he", math.sqrt(2 / 200)), ("normal", NORMAL_STD)])
def test_normal_initial_weights_have_their_deviation(initialisation: Initialisation, std: float) -> None:
    weight = initial(initialisation)["weight_0"]
    torch.testing.assert_close(weight.std().item(), std, rtol=0.02, atol=0)
    assert weight.abs().max() > 3 * std
    assert abs(weight.mean()) < 0.02 * std


def test_torch_initialisation_is_that_of_linear() -> None:
    linear, own = nn.Linear(*WIDE), initial("torch")
    for plain, ours in ((linear.weight, own["weight_0"]), (linear.bias, own["bias_0"])):
        torch.testing.assert_close(ours.abs().max().item(), plain.abs().max().item(), rtol=0.05, atol=0)
        torch.testing.assert_close(ours.std().item(), plain.std().item(), rtol=0.15, atol=0)


@pytest.mark.parametrize("initialisation", ["xavier", "he", "normal"])
def test_other_initialisations_start_biases_at_zero(initialisation: Initialisation) -> None:
    assert (initial(initialisation)["bias_0"] == 0).all()


def test_the_generator_alone_decides_the_initial_row() -> None:
    torch.manual_seed(1)
    one = initial("torch", seed=5)
    torch.manual_seed(2)
    other = initial("torch", seed=5)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(initial("torch", seed=6)["weight_0"], one["weight_0"])


def test_prelu_starts_at_torchs_slope() -> None:
    assert nn.PReLU().weight.item() == PRELU_SLOPE
    assert make_pack(MLP(2, (3,), 1, activation="prelu"), 2).views["slope_0"].flatten().tolist() == [PRELU_SLOPE] * 2
