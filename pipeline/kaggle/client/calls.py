"""How anything is called at Kaggle: timeouts on every request, nothing on stdout, reads asked again, one kind of error.

Knows nothing of what is called.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.base.progress import say
from pipeline.kaggle.client.faults import PASSING, explain

T = TypeVar("T")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0  # to connect; between two pieces of an answer
RETRY_DELAYS_S = (1.0, 4.0, 15.0)
LONGEST_WAIT_S = 60.0  # Kaggle's Retry-After is not to be relied on


class Clock:
    """Time as the client sees it: one place for tests to stand in."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    now: Callable[[], float] = staticmethod(time.time)


class Seen:
    """The last HTTP answer of a block of calls."""

    response: Any = None


def timeouts() -> tuple[float, float]:
    """(connect, read) for `requests`."""
    return CONNECT_TIMEOUT_S, READ_TIMEOUT_S


@contextlib.contextmanager
def guarded(*, is_offline: bool = False) -> Iterator[Seen]:
    """A block in which the official client has timeouts, cannot write to stdout and, if asked, has no network.

    stdout is taken because the client prints help, warnings and (with VERBOSE) the Authorization header there.
    """
    import requests
    from requests.adapters import HTTPAdapter

    seen = Seen()
    send = HTTPAdapter.send

    def send_in_time(
        self: Any, request: Any, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if is_offline:
            raise requests.exceptions.ConnectionError("no network while the client is imported")
        seen.response = None
        seen.response = send(self, request, stream, timeout if timeout is not None else timeouts(), *args, **kwargs)
        return seen.response

    HTTPAdapter.send = send_in_time  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield seen
    finally:
        HTTPAdapter.send = send  # type: ignore[method-assign]


def read(doing: str, slug: str, call: Callable[[], T]) -> T:
    """`call()`, which changes nothing at Kaggle: asked again after a passing failure. Raises KaggleError."""
    for delay in (*RETRY_DELAYS_S, None):
        try:
            return write(doing, slug, call)
        except KaggleError as error:
            if delay is None or error.kind not in PASSING:
                raise
            wait_before_retry(error, delay)
    raise AssertionError("unreachable")


def write(doing: str, slug: str, call: Callable[[], T]) -> T:
    """`call()` once and never again: it may have been heard though the answer was lost. Raises KaggleError."""
    with guarded() as seen:
        try:
            result = call()
            _check_shape(seen.response)
            return result
        except (Exception, SystemExit) as error:  # the SDK raises whatever a strange answer leads to
            raise explain(error, seen.response, doing=doing, slug=slug) from error


def _check_shape(response: Any) -> None:
    """Raise ValueError where Kaggle answered JSON that is no object: the SDK takes it for an empty answer."""
    if response is None or response.request.method != "POST":
        return
    if "application/json" in response.headers.get("Content-Type", "") and not isinstance(response.json(), dict):
        raise ValueError("the answer is no JSON object")


def wait_before_retry(error: KaggleError, delay: float) -> None:
    """Say why, and wait `delay` or what Kaggle asked for, within bounds."""
    wait = min(LONGEST_WAIT_S, max(delay, error.retry_after_s or 0.0))
    say(f"Kaggle: {error.kind}: {error.what.splitlines()[0]}; trying again in {wait:.0f} s")
    Clock.sleep(wait)
