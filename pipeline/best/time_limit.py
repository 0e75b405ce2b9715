"""The time a candidate may take: it is stopped when that is over, or as soon as it cannot be done in it.

Knows a clock; must not know what is timed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

# (share done, times): a fit that at its own pace would take so many times what it may take is given up at once; of five
# folds on two cores the first is done after a third of the time
HOPELESS = ((0.35, 1.3), (0.15, 2.0))
UNDER_WAY = 0.15  # what is done beyond the share that is reported: the folds that are under way


class TimeLimit:
    """A context in which `stop` is set after `seconds`, or earlier by what `look_ahead` is told."""

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
        """Seconds since the begin."""
        return self.clock() - self.begun

    @property
    def whole_s(self) -> float | None:
        """Seconds the whole would take at the pace so far; None before a share of it is done."""
        return self.elapsed_s / min(1.0, self._done + UNDER_WAY) if self._done > 0 else None

    def look_ahead(self, share: float) -> None:
        """Note the share that is done."""
        self._done = share
        times = next((times for least, times in HOPELESS if share >= least), math.inf)
        if share < 1.0 and self.elapsed_s > times * self.seconds * share:
            self._give_up()

    def _give_up(self) -> None:
        self.is_late = True
        self.stop.set()
