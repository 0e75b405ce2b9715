"""Ctrl-C as a request: the first is heard by who asked outermost, the second is an ordinary one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.base.interruption import SIGNALS, exit_code, interrupt_on_signals, on_interrupt


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Python's own, whatever the shell that started the tests has set."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_to_end_is_a_request_and_the_second_an_interruption(number: signal.Signals) -> None:
    interrupt_on_signals()
    heard: list[str] = []
    with on_interrupt(lambda: heard.append("asked")):
        signal.raise_signal(number)
        assert heard == ["asked"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert exit_code() == 128 + number


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    interrupt_on_signals()
    with on_interrupt(lambda: pytest.fail("it was heard")):
        signal.raise_signal(signal.SIGHUP)


def test_in_a_program_that_a_signal_would_end_it_still_does() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with on_interrupt(lambda: None):
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
