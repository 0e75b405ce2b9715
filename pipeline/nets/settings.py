"""Torch's settings of a process or thread that trains a pack on a CPU. Must not know what is trained."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from functools import cache

import torch

from pipeline.nets.networks import Network
from pipeline.nets.plan import PRECISIONS, Plan

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
BYTES_KEPT, LARGEST_KEPT = 1 << 28, 1 << 25  # free memory at the top of a heap; a single block, glibc's most
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
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # moments of units without a gradient decay into numbers that are slow to add


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what a step frees: the next step would wait for the same pages again.

    Dask starts its workers with a limit of 64 KB for such memory, with which they took twice the time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
            libc.mallopt(M_TRIM_THRESHOLD, BYTES_KEPT)


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
