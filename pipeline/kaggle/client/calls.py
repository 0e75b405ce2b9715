"""How every call to Kaggle is made: with timeouts, nothing on stdout, retries for reads, and one type of error.

Does not know what is called.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.base.progress import say
from pipeline.kaggle.client.errors import TRANSIENT, explain, reworded

T = TypeVar("T")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0  # to connect; between two chunks of a response
RETRY_DELAYS_S = (1.0, 4.0, 15.0)
MAX_WAIT_S = 60.0  # Kaggle's Retry-After is not reliable
LOOKUP_DELAYS_S = (0.0, 3.0, 7.0)  # Kaggle may list something a moment after it was created


class Clock:
    """The client's clock, which tests replace."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    now: Callable[[], float] = staticmethod(time.time)


class LastResponse:
    """The last HTTP response in a block of calls."""

    response: Any = None


def timeouts() -> tuple[float, float]:
    """Return (connect, read) in seconds for `requests`."""
    return CONNECT_TIMEOUT_S, READ_TIMEOUT_S


@contextlib.contextmanager
def guarded(*, is_offline: bool = False) -> Iterator[LastResponse]:
    """Run the official client with timeouts, without stdout and, if `is_offline`, without network access.

    stdout is redirected because the client prints help, warnings and (with VERBOSE) the Authorization header to it.
    """
    import requests
    from requests.adapters import HTTPAdapter

    last = LastResponse()
    send = HTTPAdapter.send

    def send_with_timeout(
        self: Any, request: Any, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if is_offline:
            raise requests.exceptions.ConnectionError("no network access while the client is imported")
        last.response = None
        last.response = send(self, request, stream, timeout if timeout is not None else timeouts(), *args, **kwargs)
        return last.response

    HTTPAdapter.send = send_with_timeout  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield last
    finally:
        HTTPAdapter.send = send  # type: ignore[method-assign]


def read(action: str, slug: str, call: Callable[[], T]) -> T:
    """Run `call`, which changes nothing at Kaggle, and retry it after a transient error. Raises KaggleError."""
    for delay in (*RETRY_DELAYS_S, None):
        try:
            return write(action, slug, call)
        except KaggleError as error:
            if delay is None or error.kind not in TRANSIENT:
                raise
            wait_before_retry(error, delay)
    raise AssertionError("unreachable")


def write(action: str, slug: str, call: Callable[[], T]) -> T:
    """Run `call` once. Requests that change something are never retried: only the response may have been lost.

    Raises KaggleError.
    """
    with guarded() as last:
        try:
            result = call()
            _check_shape(last.response)
            return result
        except (Exception, SystemExit) as error:  # the SDK raises all sorts of errors for an unexpected response
            raise explain(error, last.response, action=action, slug=slug) from error


def _check_shape(response: Any) -> None:
    """Raise ValueError if Kaggle sent JSON that is not an object: the SDK would treat it as an empty response."""
    if response is None or response.request.method != "POST":
        return
    if "application/json" in response.headers.get("Content-Type", "") and not isinstance(response.json(), dict):
        raise ValueError("the response is not a JSON object")


def wait_before_retry(error: KaggleError, delay: float) -> None:
    """Print the reason, then wait for `delay` or for as long as Kaggle asked, up to `MAX_WAIT_S`."""
    wait = min(MAX_WAIT_S, max(delay, error.retry_after_s or 0.0))
    say(f"Kaggle: {error.kind}: {error.what.splitlines()[0]}; trying again in {wait:.0f} s")
    Clock.sleep(wait)


def recover(error: KaggleError, stage: str, thing: str, find: Callable[[], T | None]) -> T:
    """Return what `find` finds at Kaggle after `error` left open whether a write succeeded. Raises KaggleError."""
    say(f"{stage}: {error.what}; asking Kaggle whether it accepted the {thing}")
    try:
        for delay in LOOKUP_DELAYS_S:
            Clock.sleep(delay)
            found = find()
            if found is not None:
                return found
    except KaggleError as lookup_error:
        say(f"{stage}: {lookup_error.what}")
    what = f"{error.what}; whether Kaggle accepted the {thing} is not known yet"
    hint = "Run the same command again: it asks Kaggle first and sends nothing twice."
    raise reworded(error, what=what, hint=hint) from error
