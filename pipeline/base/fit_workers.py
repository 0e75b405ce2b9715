"""Where fits run, in one form: in this process, or on the workers of `cluster`. Must not know what is fitted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")


class Workers(Protocol):
    """What runs fits."""

    is_elsewhere: bool

    @property
    def n_cores(self) -> int | None:
        """Cores for fits; None: as the caller says."""
        ...

    @property
    def most_threads(self) -> int | None:
        """Threads that one fit may use at most; None: as the caller says."""
        ...

    def run(
        self, function: Callable[..., Result], shared: Sequence[Any], *values: Any, stop: threading.Event
    ) -> Result:
        """Return `function(*shared, *values, stop=event)`, where the event is set when `stop` is.

        Elsewhere, each of the `shared` objects goes to a worker once, however many calls read it. Raises what the
        function raises, Stopped when `stop` is set before the end, ClusterError when the cluster is lost.
        """
        ...

    def close(self) -> None:
        """Give back what was taken; what still runs is cancelled."""
        ...


class Here:
    """This process."""

    is_elsewhere = False
    n_cores: int | None = None
    most_threads: int | None = None

    def run(
        self, function: Callable[..., Result], shared: Sequence[Any], *values: Any, stop: threading.Event
    ) -> Result:
        """Call the function."""
        return function(*shared, *values, stop=stop)

    def close(self) -> None:
        """Nothing is held."""


HERE = Here()


def n_waiting(n_parallel: int, workers: Workers) -> int:
    """Return how many threads should wait for fits of which `n_parallel` run at once."""
    return 2 * n_parallel if workers.is_elsewhere else n_parallel  # so that a worker finds its next fit when it is done
