"""Torch's settings of a process or thread that trains a pack on a CPU. Must not know what is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pipeline.nets.networks import Network
from pipeline.nets.plan import PRECISIONS, Plan

LONG_STEP = 1 << 22  # multiplications of a forward pass that take longer than the calls around them


def n_multiplications(network: Network, plan: Plan) -> int:
    """Return those of a member's forward pass of a batch, if each parameter is used once per row."""
    return plan.batch_size * network.n_parameters


def set_up_torch(network: Network, plan: Plan, n_threads: int, *, is_on_cpu: bool = True) -> None:
    """Set threads and precision; on a CPU only long steps gain from threads."""
    if is_on_cpu:
        use_one_core()
        if network.is_heavy or n_multiplications(network, plan) >= LONG_STEP:
            torch.set_num_threads(n_threads)
    torch.set_float32_matmul_precision(PRECISIONS[plan.precision])


def use_one_core() -> None:
    """Let this worker use one core, as each worker has its own."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # moments of units without a gradient decay into numbers that are slow to add


@contextlib.contextmanager
def torch_settings_restored() -> Iterator[None]:
    """Restore torch's settings, so that predictions are the same here as in a later process."""
    n_threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(precision)
