"""Ctrl-C as a request: what is running ends at a place where nothing is lost. Knows signals; knows nothing of work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_interrupt(action: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `action` (set an event, say), the outer one if two are nested; the second is ordinary."""
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # signals are its
    if not is_main or before is not signal.default_int_handler:
        yield
        return

    def on_signal(_: int, __: object) -> None:
        signal.signal(signal.SIGINT, before)
        action()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
