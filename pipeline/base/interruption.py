"""Ctrl-C and time limits as requests to stop where no work is lost. Knows signals; must not know the work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stopped(Exception):
    """Work stopped early at its caller's request: Ctrl-C or a time limit."""


ENDED_EARLY = (Stopped, KeyboardInterrupt)  # the latter if Ctrl-C came outside `on_interrupt`


class _Request:
    """A signal handler that acts once and restores the previous one."""

    def __init__(self, action: Callable[[], None], before: Any) -> None:
        self.action, self.before = action, before

    def __call__(self, _: int, __: object) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.action()


@contextlib.contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """Call `action`, such as setting an event, on the first Ctrl-C; the second interrupts as usual.

    Of nested calls only the outermost has an effect, and none has outside the main thread.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or isinstance(before, _Request):
        yield
        return
    signal.signal(signal.SIGINT, _Request(action, before))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
