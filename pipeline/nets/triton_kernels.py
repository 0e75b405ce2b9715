"""The Triton source of `fused`. Imported only where Triton is; must not know parameters by name or members."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def adam_kernel(
    p_of, g_of, first_of, second_of, rate_of, active_of, keep_of, decay_of, rest1_of, rest2_of, root2_of, n, eps,
    SIZE: tl.constexpr,
):  # fmt: skip
    """Program (block, member): the update of SIZE numbers of one member; other arguments as in `fused.adam_step`."""
    member = tl.program_id(1).to(tl.int64)
    if tl.load(active_of + member) > 0:
        places = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
        inside = places < n
        places += member * n
        p = tl.load(p_of + places, inside)
        g = tl.load(g_of + places, inside) + p * tl.load(decay_of + member)
        first = tl.load(first_of + places, inside)
        second = tl.load(second_of + places, inside)
        first += (g - first) * tl.load(rest1_of + member)
        second += (g * g - second) * tl.load(rest2_of + member)
        p = p * tl.load(keep_of + member)
        p -= first * tl.load(rate_of + member) / (tl.sqrt(second) * tl.load(root2_of + member) + eps)
        tl.store(p_of + places, p, inside)
        tl.store(first_of + places, first, inside)
        tl.store(second_of + places, second, inside)


@triton.jit
def drop_kernel(x_of, out_of, rate_of, seed_of, batch_of, layer, n, SIZE: tl.constexpr):
    """Program (block, member): x times the mask for SIZE numbers of one member."""
    member = tl.program_id(1).to(tl.int64)
    rate = tl.load(rate_of + member)
    key = tl.load(seed_of + member) + tl.load(batch_of) * 64 + layer  # streams differ by key, draws of one by counter
    quarter: tl.constexpr = SIZE // 4
    one, two, three, four = tl.rand4x(key, tl.program_id(0) * quarter + tl.arange(0, quarter))
    uniform = tl.join(tl.join(one, three), tl.join(two, four)).reshape(SIZE)
    places = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = places < n
    places += member * n
    x = tl.load(x_of + places, inside)
    tl.store(out_of + places, tl.where(uniform >= rate, x / (1.0 - rate), 0.0), inside)
