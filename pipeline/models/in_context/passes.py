"""Where the passes of a pretrained model run: threads, the memory that they take, what stops them.

Must not know what is predicted.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pipeline.base.errors import TrainingError
from pipeline.base.interruption import Stopped
from pipeline.nets.devices import free_memory

USUAL_AT_ONCE, FEWEST_AT_ONCE = 2048, 128  # rows predicted in a pass; usually at least as many as the context has
BYTES_OF_CELL = 10_000  # of rows x columns of a pass on a CPU; libraries fit their passes into a GPU themselves

Member = tuple[int, int, int]  # split, seed, target


@dataclass
class Stage:
    """Where predictions are computed, and what can stop them."""

    device: torch.device
    n_workers: int
    stop: threading.Event = field(default_factory=threading.Event)

    def check_stop(self) -> None:
        """Raise Stopped when asked to stop."""
        if self.stop.is_set():
            raise Stopped

    def each(
        self, members: Sequence[Member], work: Callable[[Member, int], None], context_shape: tuple[int, int]
    ) -> None:
        """Call `work` with each member and the rows of a pass: on a GPU one by one, on a CPU by a thread with one core.

        Raises TrainingError if half of the free memory does not hold the (rows, columns) of the context.
        """
        n_parallel, at_once = self.sizes(len(members), context_shape)
        with (
            warnings.catch_warnings(),
            _one_thread(self.device),
            ThreadPoolExecutor(n_parallel, initializer=_set_threads(self.device)) as pool,
        ):
            warnings.simplefilter("ignore")  # the libraries' advice about sizes and GPUs
            futures = [pool.submit(work, member, at_once) for member in members]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def sizes(self, n_members: int, context_shape: tuple[int, int]) -> tuple[int, int]:
        """How many members are predicted at once, and how many rows of each. Raises TrainingError."""
        n_context, n_columns = context_shape
        wanted = max(USUAL_AT_ONCE, n_context)
        if self.device.type != "cpu":
            return 1, wanted
        free = free_memory()
        n_parallel = max(1, min(n_members, self.n_workers))
        if free is None:
            return n_parallel, wanted
        n_fitting = int(free / 2 / (BYTES_OF_CELL * max(1, n_columns)))  # rows of all passes
        if n_fitting < n_context + FEWEST_AT_ONCE:
            gigabytes = (n_context + FEWEST_AT_ONCE) * n_columns * BYTES_OF_CELL / 1e9
            what = f"a context of {n_context} rows x {n_columns} columns takes about {gigabytes:.1f} GB, of which "
            what += f"{free / 2e9:.1f} GB can be used"
            fewer = max(10, n_fitting - 2 * FEWEST_AT_ONCE)
            raise TrainingError(what, hint=f"Read fewer rows: --set context_rows={fewer}")
        n_parallel = max(1, min(n_parallel, n_fitting // (n_context + FEWEST_AT_ONCE)))
        return n_parallel, min(wanted, n_fitting // n_parallel - n_context)


def _set_threads(device: torch.device) -> Callable[[], None]:
    """Sums of more threads end in other bits."""
    return (lambda: torch.set_num_threads(1)) if device.type == "cpu" else lambda: None


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    before = torch.get_num_threads()
    _set_threads(device)()
    try:
        yield
    finally:
        torch.set_num_threads(before)
