"""Law: one-hot columns kept as codes give the numbers of the columns written out."""

from __future__ import annotations

import pytest
import torch

from pipeline.nets.inputs import Gather, Inputs, linear, linear_gradient, onehot_product

MEMBERS, BATCH, UNITS = 3, 7, 4
LEVELS = (2, 5, 3)  # one-hot columns of each slot


def make_inputs(leading: tuple[int, ...], n_dense: int, *, has_unknown: bool, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    starts = [sum(LEVELS[:slot]) for slot in range(len(LEVELS))]
    codes = [
        start + torch.randint(0, n, (*leading, 1), generator=generator) for start, n in zip(starts, LEVELS, strict=True)
    ]
    known = torch.randint(0, 2, (*leading, len(LEVELS)), generator=generator).bool() if has_unknown else None
    dense = torch.randn(*leading, n_dense, generator=generator)
    return Inputs(dense, torch.cat(codes, dim=-1).to(torch.int16), known, sum(LEVELS))


@pytest.mark.parametrize("n_dense", [0, 6])
@pytest.mark.parametrize("has_unknown", [False, True])
def test_product_and_gradients_equal_those_of_dense_columns(n_dense: int, has_unknown: bool) -> None:
    inputs = make_inputs((MEMBERS, BATCH), n_dense, has_unknown=has_unknown)
    dense = Inputs(inputs.as_dense())
    assert dense.n_columns == inputs.n_columns == n_dense + sum(LEVELS)
    weights = torch.randn(MEMBERS, inputs.n_columns, UNITS).requires_grad_()
    bias = torch.randn(MEMBERS, 1, UNITS).requires_grad_()
    d = torch.randn(MEMBERS, BATCH, UNITS)
    by_autograd = []
    for one in (inputs, dense):
        output = linear(one, weights, bias)
        by_autograd.append((output, *torch.autograd.grad(output, [weights, bias], d)))
        with torch.no_grad():
            room = torch.empty(MEMBERS, BATCH, UNITS)
            torch.testing.assert_close(linear(one, weights, bias, out=room), output)
            gradient = torch.full(weights.shape, torch.nan)
            linear_gradient(one, d, out=gradient)
            torch.testing.assert_close(gradient, by_autograd[-1][1])
    for sparse_one, dense_one in zip(*by_autograd, strict=True):
        torch.testing.assert_close(sparse_one, dense_one)


def test_a_members_product_has_the_same_bits_in_any_company() -> None:
    inputs = make_inputs((MEMBERS, BATCH), 0, has_unknown=True)
    weights = torch.randn(MEMBERS, inputs.n_columns, UNITS)
    together = onehot_product(weights, inputs)
    for member in range(MEMBERS):
        alone = onehot_product(weights[member : member + 1], inputs[member : member + 1])
        assert torch.equal(together[member : member + 1], alone)


@pytest.mark.parametrize("has_unknown", [False, True])
def test_a_batch_holds_the_rows_asked_for(has_unknown: bool) -> None:
    table = make_inputs((2, 9), 3, has_unknown=has_unknown)
    gather = Gather(table, 6, torch.device("cpu"))
    gather(torch.zeros(2, 3, dtype=torch.int64))  # the second call reuses the first one's room
    rows = torch.tensor([[0, 17], [9, 4]])
    batch = gather(rows)
    flat = table.as_dense().flatten(0, 1)
    assert torch.equal(batch.as_dense(), flat[rows])
    assert (batch.known is None) == (not has_unknown)


def test_bytes_become_numbers_when_a_batch_is_gathered() -> None:
    levels = torch.randint(0, 256, (2, 9, 4), dtype=torch.uint8)
    table = Inputs(levels, unit=0.5)
    rows = torch.tensor([[0, 17], [9, 4]])
    batch = Gather(table, 6, torch.device("cpu"))(rows)
    assert batch.dense.dtype == torch.float32
    assert torch.equal(batch.as_dense(), levels.flatten(0, 1)[rows] * 0.5)
    assert torch.equal(table.as_dense(), levels * 0.5)
    assert torch.equal(table[:, 2:4].as_float().dense, levels[:, 2:4] * 0.5)


def test_the_memory_of_a_table_is_that_of_its_tensors() -> None:
    assert make_inputs((2, 9), 3, has_unknown=True).n_bytes == 2 * 9 * (3 * 4 + 3 * 2 + 3)
    assert Inputs(torch.zeros(2, 9, 3)).n_bytes == 2 * 9 * 3 * 4
