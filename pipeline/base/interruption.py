"""Ctrl-C, signals to end, and time limits as requests to stop where no work is lost.

Knows signals; must not know the work.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill` and batch systems, a closed terminal


class Stopped(Exception):
    """Work stopped early at its caller's request: a signal or a time limit."""


ENDED_EARLY = (Stopped, KeyboardInterrupt)  # the latter if a signal came outside `on_interrupt`
_received: list[int] = []


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt in the main thread on every signal of `SIGNALS` that is not ignored, as nohup does."""
    _received.clear()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """Leave the signals, which a terminal sends to all processes, to the process that started this one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_code() -> int:
    """Return the exit code of a program that a signal has ended: 130 after Ctrl-C."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


class _Request:
    """A signal handler that acts once and restores the previous ones."""

    def __init__(self, action: Callable[[], None], before: Mapping[signal.Signals, Any]) -> None:
        self.action, self.before = action, before

    def __call__(self, number: int, _: FrameType | None) -> None:
        _received.append(number)
        self.restore()
        self.action()

    def restore(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call `action`, such as setting an event, on the first signal of `SIGNALS`; the second interrupts as usual.

    A signal that would end the process at once or is ignored keeps its effect, except Ctrl-C. Of nested calls only the
    outermost has an effect, and none has outside the main thread.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if threading.current_thread() is not threading.main_thread() or any(
        isinstance(one, _Request) for one in before.values()
    ):
        yield
        return
    request = _Request(action, {number: one for number, one in before.items() if callable(one)})
    for number in request.before:
        signal.signal(number, request)
    try:
        yield
    finally:
        request.restore()
