"""Laws of the pack: each member is the network it would have been alone in a plain loop, and nothing is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.base.interruption import Stopped
from pipeline.nets import prediction, training
from pipeline.nets.convolutional import ConvNet
from pipeline.nets.dropout import FusedDropout, PackedDropout
from pipeline.nets.inputs import Inputs
from pipeline.nets.losses import cross_entropy, mse
from pipeline.nets.networks import MLP, Network
from pipeline.nets.optimizers import SCHEDULES, ScheduleName, Update
from pipeline.nets.parameters import views_of
from pipeline.nets.plan import Member, PackData, Plan
from pipeline.nets.prediction import predict
from pipeline.nets.stepping import VectorSteps
from pipeline.nets.training import PackResult, one_by_one, train_pack

N_ROWS, N_INPUTS = 80, 5
NETWORK = MLP(N_INPUTS, (8, 6), 1, activation="tanh")
PLAN = Plan(loss=mse, epochs=6, batch_size=16)
NONE = np.arange(0)


def make_data(n_views: int = 1, device: str = "cpu") -> PackData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_views, N_ROWS, N_INPUTS, generator=generator)
    y = x.sum(dim=2, keepdim=True).sin() + torch.arange(n_views)[:, None, None]
    return PackData(Inputs(x).to(device), y.to(device))


DATA = make_data()
ScoreOne = Callable[[int, np.ndarray, np.ndarray], float]


def make_member(number: int, n_train: int = 64, **other: Any) -> Member:
    rows = np.random.default_rng(number).permutation(N_ROWS)
    return Member(
        **{
            "seed": 100 + number,
            "view": 0,
            "train_rows": rows[:n_train],
            "valid_rows": rows[n_train : n_train + 12],
            "lr": 0.01 * (number + 1),
            "weight_decay": 0.02 * number,
            **other,
        }
    )


def rmse_on(data: PackData) -> ScoreOne:
    """A member's root mean squared error on its own view is not known to a score: all views' targets must agree."""
    target = data.y[0].cpu().numpy()
    return lambda _, rows, output: float(np.sqrt(np.mean((output - target[rows]) ** 2)))


RMSE = rmse_on(DATA)


def train(members: Sequence[Member], plan: Plan = PLAN, **other: Any) -> PackResult:
    return train_pack(
        other.pop("network", NETWORK),
        plan,
        other.pop("data", DATA),
        members,
        one_by_one(other.pop("score", RMSE)),
        **other,
    )


def curve_of(result: PackResult, member: int) -> np.ndarray:
    """(evaluations, 3) epoch, train and valid score of one member."""
    return np.array([(epoch, *scores) for epoch, m, *scores in result.history if m == member])


def plain_network(network: MLP, row: Tensor) -> nn.Sequential:
    views = views_of(network.parameter_infos(), row[None])
    parts: list[nn.Module] = []
    for layer in range(len(network.hidden_sizes) + 1):
        weight, bias = views[f"weight_{layer}"][0], views[f"bias_{layer}"][0, 0]
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.clone()
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


PlainLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # output, target, rows


def plain_loop(
    member: Member,
    plan: Plan,
    data: PackData,
    score: ScoreOne,
    loss: PlainLoss = lambda output, target, _: functional.mse_loss(output, target),
    network: MLP = NETWORK,
) -> tuple[np.ndarray, Tensor]:
    """What a Kaggler writes: one network, one optimiser, one batch at a time. Returns the curve and the parameters."""
    x, y = data.x.dense[member.view], data.y[member.view]
    net = plain_network(network, network.initial_row(training._generator(member.seed, "initial")))
    linears = [module for module in net if isinstance(module, nn.Linear)]
    optimizer = torch.optim.AdamW(
        [
            {"params": [linear.weight for linear in linears], "weight_decay": member.weight_decay},
            {"params": [linear.bias for linear in linears], "weight_decay": 0.0},
        ],
        betas=member.betas,
    )
    own = torch.from_numpy(member.train_rows)
    n_batches = -(-len(own) // plan.batch_size)
    curve = []
    for epoch in range(plan.epochs):
        order = torch.randperm(len(own), generator=training._generator(member.seed, "shuffle", epoch))
        for number, rows in enumerate(own[order].split(plan.batch_size)):
            progress = torch.tensor((epoch * n_batches + number) / (plan.epochs * n_batches))
            for group in optimizer.param_groups:
                group["lr"] = member.lr * float(SCHEDULES[member.schedule](progress))
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows], rows).backward()
            optimizer.step()
        with torch.no_grad():
            output = net(x).numpy()
        scores = [score(0, rows, output[rows]) for rows in (member.train_rows, member.valid_rows)]
        curve.append((epoch + 1, *scores))
    flat = [part.flatten() for linear in linears for part in (linear.weight.detach().T, linear.bias.detach())]
    return np.array(curve), torch.cat(flat)


def assert_is_plain(result: PackResult, position: int, member: Member, plan: Plan = PLAN, **other: Any) -> None:
    data, score = other.pop("data", DATA), other.pop("score", RMSE)
    curve, row = plain_loop(member, plan, data, score, **other)
    np.testing.assert_allclose(curve_of(result, position), curve, rtol=2e-5)
    torch.testing.assert_close(result.matrix[position], row, rtol=2e-4, atol=2e-5)


def assert_same(result: PackResult, position: int, other: PackResult, other_position: int) -> None:
    np.testing.assert_allclose(curve_of(result, position), curve_of(other, other_position), rtol=1e-5)
    torch.testing.assert_close(result.matrix[position], other.matrix[other_position], rtol=1e-4, atol=1e-5)


# --- a member is the plain loop's network


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_member_is_the_network_of_a_plain_loop(schedule: ScheduleName) -> None:
    members = [make_member(number, schedule=schedule) for number in range(3)]
    result = train(members)
    assert result.failures == {}
    assert result.best_epoch.tolist() == [6, 6, 6]
    for position, member in enumerate(members):
        assert_is_plain(result, position, member)


def test_members_of_one_pack_differ_in_every_number_of_the_optimiser() -> None:
    numbers: list[dict[str, Any]] = [
        {"betas": (0.9, 0.95), "schedule": "one_cycle"},
        {"betas": (0.5, 0.99), "weight_decay": 0.3},
        {"betas": (0.8, 0.9), "lr": 0.03, "schedule": "cosine"},
    ]
    members = [make_member(number, **own) for number, own in enumerate(numbers)]
    result = train(members)
    for position, member in enumerate(members):
        assert_is_plain(result, position, member)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_members_of_other_row_counts_are_those_of_a_plain_loop(schedule: ScheduleName) -> None:
    """37, 64 and 65 rows are 3, 4 and 5 batches of 16: the last is short, and the shorter ones have no fifth step."""
    members = [make_member(number, n_train, schedule=schedule) for number, n_train in enumerate((37, 64, 65))]
    result = train(members)
    for position, member in enumerate(members):
        assert_is_plain(result, position, member)


def test_a_member_learns_from_fewer_rows_than_a_batch() -> None:
    members = [make_member(0, 7), make_member(1, 1), make_member(2, 40)]
    result = train(members)
    for position, member in enumerate(members):
        assert_is_plain(result, position, member)


def test_a_member_reads_the_table_of_its_own_fold() -> None:
    data = make_data(n_views=3)
    members = [make_member(number, view=view) for number, view in enumerate((2, 0, 1, 2))]
    result = train(members, data=data)
    for position, member in enumerate(members):
        assert_is_plain(result, position, member, data=data)


def test_rows_outside_a_members_own_never_reach_it() -> None:
    """Law 1: with other numbers in all rows but its train rows, its weights have the same bits."""
    member = make_member(0, 50)
    others = np.setdiff1d(np.arange(N_ROWS), member.train_rows)
    changed = PackData(Inputs(DATA.x.dense.clone()), DATA.y.clone())
    changed.x.dense[:, others], changed.y[:, others] = 9.0, -1e6
    assert torch.equal(train([member]).matrix, train([member], data=changed).matrix)


def test_row_weights_weigh_the_loss_of_a_plain_loop() -> None:
    weight = torch.rand(2, N_ROWS, generator=torch.Generator().manual_seed(5)) * 3
    weight[:, ::7] = 0.0
    data = dataclasses.replace(make_data(n_views=2), weight=weight)
    members = [make_member(0, 37), make_member(1, 64), make_member(2, 64, view=1)]
    result = train(members, data=data)
    for position, member in enumerate(members):
        own = weight[member.view]

        def weighted(output: Tensor, target: Tensor, rows: Tensor, own: Tensor = own) -> Tensor:
            return ((output - target).square()[:, 0] * own[rows]).sum() / own[rows].sum()

        assert_is_plain(result, position, member, data=data, loss=weighted)


def test_a_table_of_bytes_trains_as_its_numbers_do() -> None:
    levels = torch.randint(0, 256, DATA.x.dense.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    y = (levels.float().mean(dim=2, keepdim=True) / 255).sin()
    members = [make_member(0, 37), make_member(1)]
    small = train(members, data=PackData(Inputs(levels, unit=1 / 255), y))
    large = train(members, data=PackData(Inputs(levels.float() / 255), y))
    for position in range(2):
        assert_same(small, position, large, position)


def test_classes_are_learned_as_in_a_plain_loop() -> None:
    codes = (DATA.x.dense.sum(dim=2) > 0).long() + (DATA.x.dense[..., 0] > 1).long()
    data = PackData(DATA.x, codes)
    network = dataclasses.replace(NETWORK, n_outputs=3)
    plan = dataclasses.replace(PLAN, loss=cross_entropy())

    def accuracy(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        return float(np.mean(output.argmax(axis=1) == codes[0, rows].numpy()))

    members = [make_member(0, 37), make_member(1, 64), make_member(2, 50, label_smoothing=0.3)]
    members.insert(1, make_member(3, lr=1e38, label_smoothing=0.1))  # leaves after an epoch
    result = train(members, plan, data=data, network=network, score=accuracy)
    assert list(result.failures) == [1]
    for position in (0, 2, 3):
        member = members[position]
        assert_is_plain(
            result,
            position,
            member,
            plan,
            data=data,
            network=network,
            score=accuracy,
            loss=lambda output, target, _, smoothing=member.label_smoothing: functional.cross_entropy(
                output, target, label_smoothing=smoothing
            ),
        )


# --- a member does not feel its company


def test_a_member_is_the_same_alone_among_others_and_in_another_order() -> None:
    members = [make_member(number, n_train) for number, n_train in enumerate((64, 37, 65, 16, 50))]
    order = [3, 0, 4, 2, 1]
    together, reordered = train(members), train([members[m] for m in order])
    for m, member in enumerate(members):
        assert_same(together, m, train([member]), 0)
        assert_same(together, m, reordered, order.index(m))


def test_a_member_with_dropout_is_the_same_alone_and_among_others() -> None:
    members = [make_member(0), make_member(1, 39, dropout=0.5), make_member(2, dropout=0.1)]
    together = train(members)
    for m, member in enumerate(members):
        assert_same(together, m, train([member]), 0)
    assert not torch.allclose(together.matrix[1], train([make_member(1, 39)]).matrix[0])


@pytest.fixture
def member_by_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of one member at a time: what a batched product's kernel chooses by the number of members is gone."""
    products = {"bmm": torch.bmm, "baddbmm": torch.baddbmm}

    def one_by_one(name: str) -> Callable[..., Tensor]:
        def product(*tensors: Tensor, out: Tensor | None = None) -> Tensor:
            parts = [products[name](*(t[m : m + 1] for t in tensors)) for m in range(len(tensors[0]))]
            return torch.cat(parts) if out is None else out.copy_(torch.cat(parts))

        return product

    for name in products:
        monkeypatch.setattr(torch, name, one_by_one(name))


@pytest.mark.slow
@pytest.mark.usefixtures("member_by_member")
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_member_has_the_same_bits_in_any_company(dropout: float) -> None:
    """Alone, among 5, among 60, and in another order, with one-hot columns and a short last batch."""
    codes = torch.randint(0, 7, (2, N_ROWS, 3), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    data = PackData(Inputs(DATA.x.dense, codes, None, 7), DATA.y)
    network = dataclasses.replace(NETWORK, n_inputs=N_INPUTS + 7)
    members = [make_member(number % 9, 40, seed=number, dropout=dropout) for number in range(60)]
    results = {
        "alone": (train(members[:1], network=network, data=data), 0),
        "among 5": (train(members[:5], network=network, data=data), 0),
        "among 60": (train(members, network=network, data=data), 0),
        "in another order": (train(members[::-1], network=network, data=data), 59),
    }
    alone, _ = results["alone"]
    for company, (result, position) in results.items():
        assert torch.equal(result.matrix[position], alone.matrix[0]), company
        assert np.array_equal(curve_of(result, position), curve_of(alone, 0)), company


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine_log"])
def test_steps_by_vectors_are_the_fused_steps(
    monkeypatch: pytest.MonkeyPatch, optimizer: Any, schedule: ScheduleName
) -> None:
    """What CUDA runs in graphs, run on the CPU; members of fewer batches sit the others' last ones out."""
    plan = dataclasses.replace(PLAN, update=Update(optimizer, has_momentum=True))
    own = {"dropout": 0.2, "schedule": schedule}
    members = [
        make_member(number, n, momentum=0.9 - 0.2 * number, betas=(0.9, 1 - 0.1**number), **own)
        for number, n in enumerate((64, 37, 65, 15), start=1)
    ]
    fused = train(members, plan)
    monkeypatch.setattr(training, "steps_class", lambda _: VectorSteps)
    by_vectors = train(members, plan)
    torch.testing.assert_close(by_vectors.matrix, fused.matrix, rtol=1e-3, atol=1e-4)
    for m in range(len(members)):
        np.testing.assert_allclose(curve_of(by_vectors, m), curve_of(fused, m), rtol=1e-4)


def test_a_member_that_breaks_down_is_told_and_harms_nobody() -> None:
    good = [make_member(0), make_member(1)]
    wild = make_member(2, lr=1e38)
    result = train([good[0], wild, good[1]])
    assert list(result.failures) == [1]
    assert "epoch 1" in result.failures[1]
    assert "lr 1e+38" in result.failures[1]
    assert len(curve_of(result, 1)) == 0
    without = train(good)
    assert_same(result, 0, without, 0)
    assert_same(result, 2, without, 1)


def test_when_every_member_breaks_down_the_pack_ends() -> None:
    epochs: list[int] = []
    wild = [make_member(0, lr=1e38), make_member(1, lr=1e38)]
    result = train(wild, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert sorted(result.failures) == [0, 1]
    assert epochs == [1]


def test_a_pack_that_stops_at_a_failure_stops() -> None:
    epochs: list[int] = []
    plan = dataclasses.replace(PLAN, stops_at_failure=True)
    result = train([make_member(0), make_member(1, lr=1e38)], plan, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert list(result.failures) == [1]
    assert epochs == [1]


# --- dropout


@pytest.mark.parametrize("has_input_scale", [False, True])
def test_each_member_drops_at_its_own_rate_and_no_batch_drops_as_another(
    monkeypatch: pytest.MonkeyPatch, has_input_scale: bool
) -> None:
    masks = []
    fill = PackedDropout.fill

    def spy(dropout: PackedDropout, mask: Tensor, layer: int) -> Tensor:
        masks.append(fill(dropout, torch.empty(len(mask), 16, 250), layer))
        return fill(dropout, mask, layer)

    monkeypatch.setattr(PackedDropout, "fill", spy)
    network = MLP(N_INPUTS, (250,), 1, has_input_scale=has_input_scale)
    rates = [0.0, 0.25, 0.8]
    members = [make_member(number, dropout=rate) for number, rate in enumerate(rates)]
    train(members, dataclasses.replace(PLAN, epochs=2), network=network)
    assert len(masks) == 8  # four batches, twice; none when members are scored
    for member, rate in enumerate(rates):
        values = torch.stack([mask[member] for mask in masks])
        kept = values[values > 0]
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)))
        assert len(kept) / values.numel() == pytest.approx(1 - rate, abs=0.02)
    assert len({mask[1].numpy().tobytes() for mask in masks}) == len(masks)


def test_of_many_train_rows_a_sample_is_scored_and_of_valid_rows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_TRAIN_ROWS_SCORED", 30)
    scored: list[np.ndarray] = []

    def score(_: int, rows: np.ndarray, output: np.ndarray) -> float:
        scored.append(rows)
        return RMSE(0, rows, output)

    members = [make_member(0), make_member(1, 25)]
    result = train(members, score=score)
    first, second = scored[:2], scored[2:4]
    assert len(np.unique(first[0])) == 30
    assert np.isin(first[0], members[0].train_rows).all()
    assert np.array_equal(first[1], members[0].valid_rows)
    assert [len(rows) for rows in second] == [25, 12]
    assert all(np.array_equal(scored[4 * epoch], first[0]) for epoch in range(PLAN.epochs))
    monkeypatch.undo()
    whole = train(members)
    assert torch.equal(whole.matrix, result.matrix)
    np.testing.assert_allclose(curve_of(result, 0)[:, 2], curve_of(whole, 0)[:, 2], rtol=1e-5)
    np.testing.assert_allclose(curve_of(result, 1), curve_of(whole, 1), rtol=1e-5)


def test_dropout_is_off_when_a_member_is_scored() -> None:
    """With a rate of 0 the weights stay, and the scores are those of the whole initial network, in every epoch."""
    member = make_member(0, lr=0.0, weight_decay=0.0, dropout=0.9)
    result = train([member])
    net = plain_network(NETWORK, NETWORK.initial_row(training._generator(member.seed, "initial")))
    output = net(DATA.x.dense[0]).detach().numpy()
    expected = [RMSE(0, rows, output[rows]) for rows in (member.train_rows, member.valid_rows)]
    np.testing.assert_allclose(curve_of(result, 0)[:, 1:], [expected] * PLAN.epochs, rtol=1e-6)


# --- evaluation and early stopping


def scripted(members: Sequence[Member], valid_scores: dict[int, list[float]]) -> ScoreOne:
    """Scores from a script by member, whatever was learned: -1 for train rows."""
    queues = {m: iter(scores) for m, scores in valid_scores.items()}

    def score(m: int, rows: np.ndarray, _: np.ndarray) -> float:
        is_valid = len(rows) == len(members[m].valid_rows) and bool((rows == members[m].valid_rows).all())
        return next(queues[m]) if is_valid else -1.0

    return score


@pytest.mark.slow
@pytest.mark.parametrize("greater_is_better", [False, True])
def test_early_stopping_restores_the_best_epoch_and_lets_the_others_go_on(greater_is_better: bool) -> None:
    members = [make_member(0), make_member(1), make_member(2)]
    sign = -1.0 if greater_is_better else 1.0
    script = {
        0: [3.0, 1.0, 1.0, 2.0],  # best at 2, ties are no gain, gone after 4
        1: [6.0, 5.0, 4.0, 3.0, 2.0, 1.0],  # ever better
        2: [5.0, 6.0, 4.0, 5.0, 3.9, 7.0],  # never two without a gain
    }
    plan = dataclasses.replace(PLAN, patience=2, greater_is_better=greater_is_better)
    score = scripted(members, {m: [sign * value for value in values] for m, values in script.items()})
    result = train(members, plan, score=score)
    assert result.best_epoch.tolist() == [2, 6, 5]
    assert [len(curve_of(result, m)) for m in range(3)] == [4, 6, 6]
    for m, best in enumerate((2, 6, 5)):
        until_best = train([members[m]], dataclasses.replace(PLAN, epochs=best))
        torch.testing.assert_close(result.matrix[m], until_best.matrix[0], rtol=1e-4, atol=1e-5)


def test_without_patience_the_last_epoch_counts() -> None:
    members = [make_member(0)]
    result = train(members, score=scripted(members, {0: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}))
    assert result.best_epoch.tolist() == [6]
    assert torch.equal(result.matrix, train(members).matrix)


def test_patience_is_counted_in_evaluations() -> None:
    members = [make_member(0)]
    plan = dataclasses.replace(PLAN, epochs=12, evaluate_every=2, patience=2)
    result = train(members, plan, score=scripted(members, {0: [3.0, 1.0, 2.0, 2.0]}))
    assert curve_of(result, 0)[:, 0].tolist() == [2, 4, 6, 8]
    assert result.best_epoch.tolist() == [4]


def test_the_last_epoch_is_always_scored() -> None:
    told: list[int] = []
    plan = dataclasses.replace(PLAN, epochs=5, evaluate_every=2)
    result = train([make_member(0)], plan, on_epoch=lambda epoch, _: told.append(epoch))
    assert curve_of(result, 0)[:, 0].tolist() == told == [2, 4, 5]
    every = train([make_member(0)], dataclasses.replace(plan, evaluate_every=1))
    assert torch.equal(result.matrix, every.matrix)  # scoring changes nothing


@pytest.mark.parametrize("patience", [None, 1])
def test_a_member_without_valid_rows_trains_to_the_end(patience: int | None) -> None:
    """As in the final fit on all rows."""
    member = make_member(0, valid_rows=NONE)
    result = train([member, make_member(1)], dataclasses.replace(PLAN, patience=patience))
    assert np.isnan(curve_of(result, 0)[:, 2]).all()
    assert result.best_epoch[0] == PLAN.epochs
    assert result.failures == {}


# --- law 5: nothing is lost; law 9: same call, same bits


def company() -> list[Member]:
    """Everything that has a state: dropout, unequal rows and starts, one that breaks down, one that stops early."""
    other = dataclasses.replace(NETWORK, initialisation="he")
    return [
        make_member(0, dropout=0.3, schedule="cosine", momentum=0.9, network=other),
        make_member(1, 37, dropout=0.1, lr=1e38, momentum=0.9),
        make_member(2, 65, dropout=0.5, schedule="cosine", momentum=0.8),
        make_member(3, lr=0.003, betas=(0.8, 0.99), network=other),
    ]


def worse_by_learning(m: int, rows: np.ndarray, output: np.ndarray) -> float:
    """The error, but for member 2 its negative, so that it runs out of patience."""
    return -RMSE(m, rows, output) if m == 2 else RMSE(m, rows, output)


LONG = dataclasses.replace(PLAN, epochs=9, patience=2)


def train_company(plan: Plan, **other: Any) -> PackResult:
    return train(company(), plan, score=worse_by_learning, **other)


def assert_bitwise(one: PackResult, other: PackResult) -> None:
    assert torch.equal(one.matrix, other.matrix)
    assert one.history == other.history
    assert one.failures == other.failures
    assert one.best_epoch.tolist() == other.best_epoch.tolist()


def test_the_same_call_makes_the_same_bits() -> None:
    torch.manual_seed(1)
    one = train_company(LONG)
    torch.manual_seed(2)
    assert_bitwise(one, train_company(LONG))


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("after", [[1], [5], [3, 6, 8]])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Any, after: list[int]
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    plan = dataclasses.replace(LONG, update=Update(optimizer, has_momentum=True))
    checkpoint = tmp_path / "pack.safetensors"
    uninterrupted = train_company(plan)
    assert 2 < len(curve_of(uninterrupted, 2)) < 9  # one leaves early, one broke down
    assert list(uninterrupted.failures) == [1]
    told: list[int] = []
    for epoch_to_stop in [*after, None]:

        def on_epoch(epoch: int, _: object, stop: int | None = epoch_to_stop) -> None:
            if epoch == stop:
                raise Interrupted
            told.append(epoch)

        if epoch_to_stop is None:
            result = train_company(plan, checkpoint=checkpoint, on_epoch=on_epoch)
        else:
            with pytest.raises(Interrupted):
                train_company(plan, checkpoint=checkpoint, on_epoch=on_epoch)
    assert_bitwise(result, uninterrupted)
    assert told == list(range(1, 10))  # every epoch once: what was saved is not trained again


def test_asked_to_stop_the_pack_saves_itself_first(tmp_path: Path) -> None:
    checkpoint, told = tmp_path / "pack.safetensors", list[int]()
    with pytest.raises(Stopped):
        train_company(
            LONG,
            checkpoint=checkpoint,
            on_epoch=lambda epoch, _: told.append(epoch),
            should_stop=lambda: len(told) == 4,
        )
    result = train_company(LONG, checkpoint=checkpoint, on_epoch=lambda epoch, _: told.append(epoch))
    assert_bitwise(result, train_company(LONG))
    assert told == list(range(1, 10))


def test_a_long_epoch_is_stopped_within_and_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LONG_EPOCH_S", -1.0)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    checkpoint, told, asked = tmp_path / "pack.safetensors", list[int](), list[int]()

    def should_stop() -> bool:
        asked.append(len(told))
        return asked.count(2) == 4  # once two epochs are over and the third is under way

    with pytest.raises(Stopped):
        train_company(
            LONG, checkpoint=checkpoint, on_epoch=lambda epoch, _: told.append(epoch), should_stop=should_stop
        )
    assert told == [1, 2]
    result = train_company(LONG, checkpoint=checkpoint, on_epoch=lambda epoch, _: told.append(epoch))
    assert_bitwise(result, train_company(LONG))
    assert told == list(range(1, 10))


@pytest.mark.parametrize("members", [company(), [make_member(0, lr=1e38)]], ids=["company", "all broke down"])
def test_a_finished_checkpoint_trains_nothing_again(tmp_path: Path, members: list[Member]) -> None:
    checkpoint = tmp_path / "pack.safetensors"
    first = train(members, LONG, checkpoint=checkpoint)

    def never(*_: Any) -> float:
        raise AssertionError("scored again")

    again = train(members, LONG, checkpoint=checkpoint, score=never, on_epoch=never)
    assert_bitwise(again, first)


def test_a_checkpoint_is_saved_about_every_ten_seconds_not_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(4.0 * tick for tick in range(100))
    saved: list[int] = []
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(training.files, "write_tensors", lambda _, state: saved.append(int(state["epoch"][0])))
    train([make_member(0)], dataclasses.replace(PLAN, epochs=7), checkpoint=tmp_path / "pack")
    assert saved[-1] == 7
    assert 1 < len(saved) < 7


# --- prediction


def test_prediction_in_parts_is_prediction_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = train([make_member(0), make_member(1)]).matrix
    views = [1, 0]
    data = make_data(2)
    whole = predict(NETWORK, views_of(NETWORK.parameter_infos(), matrix), data.x, views)
    for position, view in enumerate(views):
        expected = plain_network(NETWORK, matrix[position])(data.x.dense[view]).detach().numpy()
        np.testing.assert_allclose(whole[position], expected, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(prediction, "CHUNK_ACTIVATIONS", 64)
    for one, other in zip(
        whole, predict(NETWORK, views_of(NETWORK.parameter_infos(), matrix), data.x, views), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_prediction_of_a_trained_member_is_what_was_scored() -> None:
    member = make_member(0)
    result = train([member])
    (output,) = predict(NETWORK, views_of(NETWORK.parameter_infos(), result.matrix), DATA.x, [0])
    assert RMSE(0, member.valid_rows, output[member.valid_rows]) == curve_of(result, 0)[-1, 2]


# --- GPU

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
def test_the_pack_on_cuda_is_close_to_the_cpu() -> None:
    members = [make_member(number, n_train) for number, n_train in enumerate((64, 37, 65))]
    on_cpu, on_cuda = train(members), train(members, data=make_data(device="cuda"))
    for m in range(3):
        np.testing.assert_allclose(curve_of(on_cuda, m), curve_of(on_cpu, m), rtol=1e-3)
    torch.testing.assert_close(on_cuda.matrix.cpu(), on_cpu.matrix, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@needs_cuda
def test_an_interrupted_training_on_cuda_goes_on_close_to_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    data, asked = make_data(device="cuda"), list[int]()
    members = [make_member(0, dropout=0.3), make_member(1, 37)]
    with pytest.raises(Stopped):
        train(
            members,
            data=data,
            checkpoint=tmp_path / "pack",
            on_epoch=lambda epoch, _: asked.append(epoch),
            should_stop=lambda: len(asked) == 3,
        )
    result, whole = train(members, data=data, checkpoint=tmp_path / "pack"), train(members, data=data)
    torch.testing.assert_close(result.matrix, whole.matrix, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    "network",
    [
        MLP(N_INPUTS, (8, 6), 1, activation="relu"),
        MLP(N_INPUTS, (8, 8), 1, has_layer_norm=True, is_residual=True, has_input_scale=True),
        MLP(N_INPUTS, (8,), 1, n_heads=4),
        ConvNet(2, 2, (3,), 4, 1),
    ],
    ids=["plain", "residual", "heads", "convolutional"],
)
@pytest.mark.parametrize("update", [Update("adamw"), Update("adam"), Update("sgd", has_momentum=True)], ids=str)
def test_every_network_and_update_on_cuda_is_close_to_the_cpu(network: Network, update: Update) -> None:
    if isinstance(network, ConvNet):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, N_ROWS, 4, generator=generator)
        tables = [PackData(Inputs(x).to(device), x.sum(2, keepdim=True).to(device)) for device in ("cpu", "cuda")]
    else:
        tables = [make_data(device=device) for device in ("cpu", "cuda")]
    members = [make_member(number, n_train, momentum=0.5) for number, n_train in enumerate((64, 37, 65))]
    plan = dataclasses.replace(PLAN, update=update)
    on_cpu, on_cuda = (train(members, plan, data=data, network=network, score=rmse_on(data)) for data in tables)
    torch.testing.assert_close(on_cuda.matrix.cpu(), on_cpu.matrix, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("n_heads", [1, 4], ids=["by hand", "by autograd"])
def test_dropout_on_cuda_does_not_depend_on_the_company(n_heads: int) -> None:
    network, data = MLP(N_INPUTS, (16, 16), 1, n_heads=n_heads), make_data(device="cuda")
    members = [make_member(number, dropout=0.2 * number) for number in range(4)]
    together, alone = train(members, data=data, network=network), train(members[2:3], data=data, network=network)
    torch.testing.assert_close(together.matrix[2], alone.matrix[0], rtol=1e-3, atol=1e-4)
    without = train([dataclasses.replace(members[2], dropout=0.0)], data=data, network=network)
    assert not torch.allclose(alone.matrix, without.matrix, rtol=1e-2)


@pytest.mark.gpu
@needs_cuda
def test_dropout_on_cuda_drops_the_share_it_was_asked_for() -> None:
    device = torch.device("cuda")
    rates = [0.0, 0.1, 0.5]
    dropout = FusedDropout(rates, [1, 2, 3], device)
    x = torch.ones(3, 1_000, 100, device=device)
    first, second = (dropout.drop(x, 0, x, torch.empty_like(x)).clone() for _ in range(2))
    shares = (first == 0).float().mean(dim=(1, 2)).tolist()
    np.testing.assert_allclose(shares, rates, atol=0.005)
    np.testing.assert_allclose(first.mean(dim=(1, 2)).tolist(), 1.0, atol=0.02)
    assert ((first[2] == 0) & (second[2] == 0)).float().mean().item() == pytest.approx(0.25, abs=0.01)
