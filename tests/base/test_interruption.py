"""Ctrl-C as a request: the first is heard by who asked outermost, the second is an ordinary one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.base.interruption import on_interrupt


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Python's own, whatever the shell that started the tests has set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_is_a_request_and_the_second_an_interruption() -> None:
    heard: list[str] = []
    with on_interrupt(lambda: heard.append("asked")):
        signal.raise_signal(signal.SIGINT)
        assert heard == ["asked"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_of_two_that_are_nested_the_outer_one_hears_it() -> None:
    heard: list[str] = []
    with on_interrupt(lambda: heard.append("outer")), on_interrupt(lambda: heard.append("inner")):
        signal.raise_signal(signal.SIGINT)
    assert heard == ["outer"]


def test_other_threads_leave_signals_alone() -> None:
    def work() -> None:
        with on_interrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
