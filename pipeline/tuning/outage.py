"""Waiting for a database server that is away for a while: it restarts, or the network is cut.

Knows the errors of databases; knows nothing of studies.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from pipeline.base.interruption import Stopped
from pipeline.base.progress import say
from pipeline.base.redaction import redact

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0  # between two attempts; twice as long after each
LONGEST_OUTAGE_S = 30 * 60.0  # longer ones end the command, which can be started again
LONGEST_START_S = 10.0  # for a server that has not answered this process yet: it restarts, or its address is wrong
PASSING = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")  # SQLSTATEs: cut off, stopping, full, deadlock
REFUSALS = ("password", "does not exist", "no pg_hba.conf entry", "not permitted", "permission denied", "SSL")

_is_hasty = ContextVar("is_hasty", default=False)


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Let an operation that meets an absent server fail at once."""
    token = _is_hasty.set(True)
    try:
        yield
    finally:
        _is_hasty.reset(token)


def driver_error(error: BaseException | None) -> BaseException | None:
    """Return the database driver's own error among those that led to an error; None if there is none."""
    found = _of_driver(error)
    return None if found is None else found.orig


def sqlstate_of(error: BaseException) -> str | None:
    """Return the server's code of an error; None if no server was reached."""
    return getattr(driver_error(error) or error, "sqlstate", None)


def is_away(error: BaseException) -> bool:
    """Return whether the same operation can succeed in a while: the server is stopped, cut off or full."""
    found, code = _of_driver(error), sqlstate_of(error)
    if found is None or code is not None:
        return (code or "").startswith(PASSING)
    is_cut = found.connection_invalidated or isinstance(found, OperationalError | InterfaceError)
    return is_cut and not any(word in str(found.orig) for word in REFUSALS)


def _of_driver(error: BaseException | None) -> DBAPIError | None:
    """Return the first error of the driver; Optuna raises others while it handles one, which then are no causes."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__ or error.__context__
    return error


@dataclass
class Patience:
    """Repeats operations while the server is away, and says so once; `stop` ends the waiting."""

    place: str  # for messages
    stop: threading.Event
    is_waiting: bool = True  # False: every error is the caller's at once
    clock: Callable[[], float] = time.monotonic
    longest_s: float = LONGEST_OUTAGE_S
    back_at: float = field(default=-float("inf"), init=False)  # by the clock: when the server was back the last time

    def __call__(self, operation: Callable[[], T]) -> T:
        """Return the operation's result. Raises Stopped while the server is away if `stop` is set."""
        began, wait_s, is_said = self.clock(), FIRST_WAIT_S, False
        n_failures = 0
        while True:
            try:
                found = operation()
            except (SQLAlchemyError, StorageInternalError) as error:
                n_failures += 1
                is_over = self.clock() - began > self.longest_s
                if not self.is_waiting or _is_hasty.get() or is_over or not is_away(error):
                    raise
                if self.stop.is_set():
                    raise Stopped from error
                if n_failures > 1 and not is_said:  # the first may be a connection that a restart has cut
                    is_said = True
                    say(f"tune: waiting for the database {self.place}: {_reason(error)}")
            else:
                if n_failures:
                    self.back_at = self.clock()
                if is_said:
                    say(f"tune: the database is back after {self.back_at - began:.0f} s")
                return found
            self.stop.wait(wait_s * random.uniform(0.5, 1.0))  # not all at once
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _reason(error: BaseException) -> str:
    lines = str(driver_error(error) or error).strip().splitlines()
    return redact(lines[0].removeprefix("connection failed: ")) if lines else type(error).__name__
