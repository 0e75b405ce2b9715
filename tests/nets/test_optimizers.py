"""Laws of the packed optimisers: each member is stepped as torch.optim would, and the idle are left alone."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from pipeline.nets.optimizers import (
    END_FACTOR,
    SCHEDULES,
    START_FACTOR,
    WARM_UP_SHARE,
    Group,
    Hyperparameters,
    OptimizerName,
    PackedOptimizer,
    ScheduleName,
    Update,
    VectorOptimizer,
    _adamw,
    _plain_adamw,
)
from pipeline.nets.parameters import ParameterInfo, ParameterPack, views_of

INFOS = {"weight": ParameterInfo((3, 4), True), "bias": ParameterInfo((1, 4), False)}
N_WEIGHTS, N_NUMBERS, MEMBERS, STEPS = 12, 16, 4, 6
LR = torch.tensor([0.1, 0.01, 0.003, 0.05])
WEIGHT_DECAY = torch.tensor([0.0, 0.1, 0.5, 0.01])
MOMENTA = [0.9, 0.5, 0.0, 0.99]
BETAS = [(0.9, 0.999), (0.8, 0.95), (0.5, 0.9), (0.9, 0.98)]
NUMBERS = [
    Hyperparameters(decay, momentum, betas)
    for decay, momentum, betas in zip(WEIGHT_DECAY.tolist(), MOMENTA, BETAS, strict=True)
]
# the update's name and options, torch's optimiser, and the members' options of it
TORCH: dict[str, tuple[OptimizerName, dict[str, Any], type[torch.optim.Optimizer], list[dict[str, Any]]]] = {
    "sgd": ("sgd", {}, torch.optim.SGD, [{}] * MEMBERS),
    "sgd with momentum": ("sgd", {"has_momentum": True}, torch.optim.SGD, [{"momentum": m} for m in MOMENTA]),
    "adam": ("adam", {}, torch.optim.Adam, [{"betas": betas} for betas in BETAS]),
    "adamw": ("adamw", {}, torch.optim.AdamW, [{"betas": betas} for betas in BETAS]),
}


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_pack() -> ParameterPack:
    return ParameterPack(INFOS, numbers(MEMBERS, N_NUMBERS, seed=0))


def make_optimizer(name: OptimizerName, pack: ParameterPack, **options: Any) -> PackedOptimizer:
    """Every member a group of its own."""
    groups = [Group(member, member + 1, NUMBERS[member]) for member in range(MEMBERS)]
    return PackedOptimizer(Update(name, **options), pack, groups)


def set_gradient(pack: ParameterPack, rows: Tensor) -> None:
    for name, part in views_of(INFOS, rows).items():
        pack.gradients[name].copy_(part)


def gradients() -> Tensor:
    return numbers(STEPS, MEMBERS, N_NUMBERS, seed=1)


def by_torch(
    optimizer: type[torch.optim.Optimizer], options: list[dict[str, Any]], member: int, steps: list[int], **how: Any
) -> Tensor:
    """(numbers,) the member's parameters after `steps`, by torch's own optimiser of one network."""
    row = make_pack().rows()[member]
    weight, bias = nn.Parameter(row[:N_WEIGHTS].clone()), nn.Parameter(row[N_WEIGHTS:].clone())
    decay = WEIGHT_DECAY[member].item()
    plain = optimizer(
        [
            {"params": [weight], "weight_decay": decay},
            {"params": [bias], "weight_decay": decay if how.get("decays_biases") else 0.0},
        ],
        lr=LR[member].item(),
        **options[member],
    )
    for step in steps:
        if how.get("halves"):
            for group in plain.param_groups:
                group["lr"] = LR[member].item() * 0.5**step
        weight.grad, bias.grad = gradients()[step, member].tensor_split([N_WEIGHTS])
        plain.step()
    return torch.cat([weight, bias]).detach()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "optimizer", "torch_options"), TORCH.values(), ids=TORCH)
@pytest.mark.parametrize("decays_biases", [False, True])
def test_every_member_is_stepped_as_torch_would(
    name: OptimizerName, options: Any, optimizer: Any, torch_options: Any, decays_biases: bool
) -> None:
    pack = make_pack()
    packed = make_optimizer(name, pack, decays_biases=decays_biases, **options)
    for gradient in gradients():
        set_gradient(pack, gradient)
        for member in range(MEMBERS):
            packed.step(member, LR[member].item())
    for member in range(MEMBERS):
        expected = by_torch(optimizer, torch_options, member, list(range(STEPS)), decays_biases=decays_biases)
        torch.testing.assert_close(pack.rows()[member], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("has_kernel", [True, False])
def test_without_torchs_private_kernel_a_step_is_the_same(
    name: OptimizerName, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped() -> Tensor:
        pack = make_pack()
        packed = make_optimizer(name, pack)
        for gradient in gradients():
            set_gradient(pack, gradient)
            for member in range(MEMBERS):
                packed.step(member, LR[member].item())
        return pack.rows()

    expected = stepped()
    if has_kernel:  # with other arguments
        monkeypatch.setattr(torch, "_fused_adamw_", lambda parameters, gradients: None)  # noqa: ARG005
    else:
        monkeypatch.delattr(torch, "_fused_adamw_")
    _adamw.cache_clear()
    assert _adamw() is _plain_adamw
    torch.testing.assert_close(stepped(), expected, rtol=1e-6, atol=1e-6)
    monkeypatch.undo()
    _adamw.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "optimizer", "torch_options"), TORCH.values(), ids=TORCH)
def test_a_changing_rate_is_followed(name: OptimizerName, options: Any, optimizer: Any, torch_options: Any) -> None:
    pack = make_pack()
    packed = make_optimizer(name, pack, **options)
    for step, gradient in enumerate(gradients()):
        set_gradient(pack, gradient)
        for member in range(MEMBERS):
            packed.step(member, LR[member].item() * 0.5**step)
    for member in range(MEMBERS):
        expected = by_torch(optimizer, torch_options, member, list(range(STEPS)), halves=True)
        torch.testing.assert_close(pack.rows()[member], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options", "optimizer", "torch_options"), TORCH.values(), ids=TORCH)
def test_idle_members_keep_parameters_moments_and_step_count(
    name: OptimizerName, options: Any, optimizer: Any, torch_options: Any
) -> None:
    """Member 1 sits out steps 2 and 4: it must be where torch is after the other steps."""
    pack = make_pack()
    packed = make_optimizer(name, pack, **options)
    idle = {2, 4}
    for step, gradient in enumerate(gradients()):
        set_gradient(pack, gradient)
        if step in idle:
            for block in pack.gradients.values():
                block[1] = float("nan")  # what it would have learned there must not matter
        before = [rows[1].clone() for rows in (pack.rows(), *packed.moment_rows())]
        for member in range(MEMBERS):
            if member != 1 or step not in idle:
                packed.step(member, LR[member].item())
        if step in idle:
            after = [rows[1] for rows in (pack.rows(), *packed.moment_rows())]
            assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert packed.n_steps() == [STEPS, STEPS - 2, STEPS, STEPS]
    for member in range(MEMBERS):
        steps = [step for step in range(STEPS) if member != 1 or step not in idle]
        expected = by_torch(optimizer, torch_options, member, steps)
        torch.testing.assert_close(pack.rows()[member], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options", "optimizer", "torch_options"), TORCH.values(), ids=TORCH)
def test_a_rebuilt_optimizer_goes_on_with_the_moments_and_steps_it_is_given(
    name: OptimizerName, options: Any, optimizer: Any, torch_options: Any
) -> None:
    pack, stay = make_pack(), torch.tensor([3, 1])
    packed = make_optimizer(name, pack, **options)
    members = list(range(MEMBERS))
    for step, gradient in enumerate(gradients()):
        if step == 3:
            rows = [moment.index_select(0, stay) for moment in packed.moment_rows()]
            moments = [ParameterPack(INFOS, moment).buffer for moment in rows]
            members, pack = stay.tolist(), pack.keep(stay)
            groups = [Group(i, i + 1, NUMBERS[m], n_steps=3) for i, m in enumerate(members)]
            packed = PackedOptimizer(Update(name, **options), pack, groups, moments)
        set_gradient(pack, gradient[members])
        for position, member in enumerate(members):
            packed.step(position, LR[member].item())
    for position, member in enumerate(stay.tolist()):
        expected = by_torch(optimizer, torch_options, member, list(range(STEPS)))
        torch.testing.assert_close(pack.rows()[position], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_members_of_one_group_are_stepped_as_if_each_were_alone(name: OptimizerName) -> None:
    def stepped(groups: list[Group]) -> Tensor:
        pack = make_pack()
        packed = PackedOptimizer(Update(name), pack, groups)
        for gradient in gradients():
            set_gradient(pack, gradient)
            for number in range(len(groups)):
                packed.step(number, 0.01)
        return pack.rows()

    one = NUMBERS[1]
    together, alone = [Group(0, MEMBERS, one)], [Group(m, m + 1, one) for m in range(MEMBERS)]
    torch.testing.assert_close(stepped(together), stepped(alone), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_weight_decay_never_touches_biases_unless_asked(name: OptimizerName) -> None:
    for decays_biases in (False, True):
        pack = make_pack()
        before = pack.rows()
        packed = PackedOptimizer(
            Update(name, decays_biases=decays_biases), pack, [Group(0, MEMBERS, Hyperparameters(0.5))]
        )
        pack.gradient.zero_()
        packed.step(0, 0.1)
        assert (pack.rows()[:, :N_WEIGHTS] != before[:, :N_WEIGHTS]).all()
        is_same = pack.rows()[:, N_WEIGHTS:] == before[:, N_WEIGHTS:]
        assert is_same.all() != decays_biases


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_a_broken_member_breaks_no_other(name: OptimizerName) -> None:
    def step(breaks: bool) -> Tensor:
        pack = make_pack()
        packed = make_optimizer(name, pack)
        for gradient in gradients():
            set_gradient(pack, gradient)
            if breaks:
                for block in pack.gradients.values():
                    block[2] = float("inf")
            for member in range(MEMBERS):
                packed.step(member, LR[member].item())
        return pack.rows()[[0, 1, 3]]

    assert torch.equal(step(True), step(False))


# --- schedules


def torch_factors(make: Any, n_steps: int) -> list[float]:
    """The factor of lr = 1 before each step, by torch's own scheduler."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(n_steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_the_cosine_schedule_is_torchs() -> None:
    n_steps = 40
    expected = torch_factors(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps), n_steps)
    factors = torch.tensor([SCHEDULES["cosine"](step / n_steps) for step in range(n_steps)])
    torch.testing.assert_close(factors, torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_the_one_cycle_schedule_is_torchs_curve() -> None:
    """torch counts its n steps as n - 1 intervals, and ends the rise one step early; the curve between is the same."""
    n_steps = 40
    expected = torch_factors(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=n_steps + 1), n_steps
    )
    step, top = torch.arange(n_steps), WARM_UP_SHARE * (n_steps + 1) - 1
    share = torch.where(
        step <= top, WARM_UP_SHARE * step / top, WARM_UP_SHARE + (1 - WARM_UP_SHARE) * (step - top) / (n_steps - top)
    )
    factors = torch.tensor([SCHEDULES["one_cycle"](value) for value in share.tolist()])
    torch.testing.assert_close(factors, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    ends = [SCHEDULES["one_cycle"](value) for value in (0.0, WARM_UP_SHARE, 1.0)]
    torch.testing.assert_close(torch.tensor(ends), torch.tensor([START_FACTOR, 1.0, END_FACTOR]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", get_args(ScheduleName))
def test_a_schedule_stays_between_nothing_and_the_full_rate(name: str) -> None:
    factors = torch.tensor([SCHEDULES[name](value) for value in torch.linspace(0, 0.9999, 101).tolist()])
    assert (factors >= 0).all()
    assert (factors <= 1.0 + 1e-6).all()
    assert factors.max() > 0.99


@pytest.mark.parametrize(("name", "options", "optimizer", "torch_options"), TORCH.values(), ids=TORCH)
def test_vectors_step_each_member_as_torch_does(
    name: OptimizerName, options: Any, optimizer: Any, torch_options: Any
) -> None:
    """Member 1 sits out steps 2 and 4, with a broken gradient; halfway the optimiser is made anew."""
    pack, idle = make_pack(), {2, 4}
    update = Update(name, **options)
    packed = VectorOptimizer(update, pack, NUMBERS, [0] * MEMBERS)
    for step, gradient in enumerate(gradients()):
        if step == 3:
            moments = [ParameterPack(INFOS, rows).buffer for rows in packed.moment_rows()]
            packed = VectorOptimizer(update, pack, NUMBERS, packed.n_steps(), moments)
        set_gradient(pack, gradient)
        is_active = torch.ones(MEMBERS)
        if step in idle:
            is_active[1] = 0.0
            for block in pack.gradients.values():
                block[1] = float("nan")
        packed.step(LR, is_active)
    assert packed.n_steps() == [STEPS, STEPS - 2, STEPS, STEPS]
    for member in range(MEMBERS):
        steps = [step for step in range(STEPS) if member != 1 or step not in idle]
        expected = by_torch(optimizer, torch_options, member, steps)
        torch.testing.assert_close(pack.rows()[member], expected, rtol=1e-5, atol=1e-6)
