"""Ctrl-C and time limits as requests: work ends where nothing is lost. Knows signals; knows nothing of work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stopped(Exception):
    """Work ended early because its caller asked for it; the caller knows whether for Ctrl-C or for want of time."""


ENDED_EARLY = (Stopped, KeyboardInterrupt)  # the second where no handler of `on_interrupt` heard Ctrl-C


class _Request:
    """A handler that acts once and puts back the one before it."""

    def __init__(self, action: Callable[[], None], before: Any) -> None:
        self.action, self.before = action, before

    def __call__(self, _: int, __: object) -> None:
        signal.signal(signal.SIGINT, self.before)
        self.action()


@contextlib.contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `action` (set an event, say), the outer one if two are nested; the second is ordinary."""
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # signals are its
    if not is_main or isinstance(before, _Request):
        yield
        return
    signal.signal(signal.SIGINT, _Request(action, before))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
