"""A time limit that also ends work early when it is clear that it cannot finish in time.

Knows a clock; must not know the work.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

# (share done, factor): a fit whose projected time exceeds the limit by this factor is given up; of five folds on
# two cores the first finishes after a third of the time
HOPELESS = ((0.35, 1.3), (0.15, 2.0))
UNDER_WAY = 0.15  # share done beyond the reported one: the folds in progress


class TimeLimit:
    """A context that sets `stop` after `seconds`, or earlier when `look_ahead` projects that it will be late."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self.clock, self.begun = seconds, clock, clock()
        self.stop, self.is_late, self._done = threading.Event(), False, 0.0
        self._timer = None if math.isinf(seconds) else threading.Timer(max(0.0, seconds), self._give_up)

    def __enter__(self) -> TimeLimit:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.begun

    @property
    def whole_s(self) -> float | None:
        """Projected seconds of the whole work; None before any of it is done."""
        return self.elapsed_s / min(1.0, self._done + UNDER_WAY) if self._done > 0 else None

    def look_ahead(self, share: float) -> None:
        """Record the share that is done; give up when the projection is hopeless."""
        self._done = share
        times = next((times for least, times in HOPELESS if share >= least), math.inf)
        if share < 1.0 and self.elapsed_s > times * self.seconds * share:
            self._give_up()

    def _give_up(self) -> None:
        self.is_late = True
        self.stop.set()
