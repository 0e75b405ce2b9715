"""How every call to Kaggle is made: with time limits, nothing on stdout, retries for reads, and one type of error.

Does not know what is called.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.base.progress import say
from pipeline.base.redaction import remember_address
from pipeline.kaggle.client.credentials import client_environment
from pipeline.kaggle.client.errors import SLOW, TRANSIENT, explain, reworded
from pipeline.kaggle.client.responses import ANSWERS, check_answer
from pipeline.kaggle.client.time_limit import limited

T = TypeVar("T")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 15.0, 60.0  # to connect; between two chunks of a response
ANSWER_LIMIT_S = 90.0  # for a request and its whole answer
SENT_PER_S = 10_000.0  # bytes; a request with a file has this much more time
RATE_WINDOW_S, LEAST_PER_S = 60.0, 1000.0  # a download must bring this many bytes per second in every window
RETRY_DELAYS_S = (1.0, 4.0, 15.0)
MAX_WAIT_S = 60.0  # Kaggle's Retry-After is not reliable
LOOKUP_DELAYS_S = (0.0, 3.0, 7.0)  # Kaggle may list something a moment after it was created


class Clock:
    """The client's clock, which tests replace."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    now: Callable[[], float] = staticmethod(time.time)


class Exchange:
    """What happened in a block of calls: the last HTTP response, and whether the time was over."""

    response: Any = None
    is_overtime = False


def timeouts() -> tuple[float, float]:
    """Return (connect, read) in seconds for `requests`."""
    return CONNECT_TIMEOUT_S, READ_TIMEOUT_S


@contextlib.contextmanager
def guarded(*, is_offline: bool = False) -> Iterator[Exchange]:
    """Run the official client with time limits and clean credentials, without stdout or, if `is_offline`, a network.

    stdout is redirected because the client prints help, warnings and (with VERBOSE) the Authorization header to it.
    """
    import requests
    from requests.adapters import HTTPAdapter

    exchange = Exchange()
    send = HTTPAdapter.send

    def send_with_limits(
        self: Any, request: Any, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if is_offline:
            raise requests.exceptions.ConnectionError("no network access while the client is imported")
        remember_address(request.url or "")
        limit.start(ANSWER_LIMIT_S + float(request.headers.get("Content-Length") or 0) / SENT_PER_S)
        exchange.response = None
        exchange.response = send(self, request, stream, timeout if timeout is not None else timeouts(), *args, **kwargs)
        if stream and not exchange.response.is_redirect:  # of a redirect, `requests` reads the body itself
            limit.stop()  # `blocks_of` limits the body
        return exchange.response

    with limited() as limit, _environment(client_environment()), contextlib.redirect_stdout(io.StringIO()):
        HTTPAdapter.send = send_with_limits  # type: ignore[method-assign]
        try:
            yield exchange
        finally:
            HTTPAdapter.send = send  # type: ignore[method-assign]
            exchange.is_overtime = limit.has_expired


@contextlib.contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    """Set and remove variables in the block."""
    before = {name: os.environ.get(name) for name in variables}

    def put(values: dict[str, str | None]) -> None:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(variables)
    try:
        yield
    finally:
        put(before)


def read(action: str, slug: str, call: Callable[[], T]) -> T:
    """Run `call`, which changes nothing at Kaggle, and retry it after a transient error. Raises KaggleError."""
    return retried(lambda: write(action, slug, call))


def retried(attempt: Callable[[], T], kinds: Collection[str] = TRANSIENT) -> T:
    """Return `attempt()`, made again, after a growing wait, while its error is one of `kinds`. Raises KaggleError."""
    for delay in RETRY_DELAYS_S:
        try:
            return attempt()
        except KaggleError as error:
            if error.kind not in kinds:
                raise
            wait_before_retry(error, delay)
    return attempt()


def write(action: str, slug: str, call: Callable[[], T]) -> T:
    """Run `call` once. Requests that change something are never retried: only the response may have been lost.

    Raises KaggleError, without the original error, whose text may hold secrets.
    """
    exchange = Exchange()
    try:
        with guarded() as exchange:
            try:
                result = call()
            except SystemExit:  # the client found no valid credentials, or did not understand the answer
                _check_shape(exchange.response)
                raise
            _check_shape(exchange.response)
        if exchange.is_overtime:  # headers that were cut off look complete
            raise TimeoutError
        return result
    except (Exception, SystemExit) as error:  # the SDK raises all sorts of errors for an unexpected response
        if exchange.is_overtime and not isinstance(error, KaggleError):
            error = TimeoutError("timed out")
        raise explain(error, exchange.response, action=action, slug=slug) from None


def _check_shape(response: Any) -> None:
    """Raise ValueError if Kaggle's answer lacks what it must have: the SDK would fill it with zeros."""
    if response is None or response.request.method != "POST" or response.status_code != 200:
        return
    endpoint = response.url.partition("?")[0].rsplit("/", 1)[-1]
    if endpoint in ANSWERS or "application/json" in response.headers.get("Content-Type", ""):
        check_answer(endpoint, response.json())


def blocks_of(response: Any, n_bytes: int) -> Iterator[bytes]:
    """Yield a streamed body in the pieces in which it arrives. Raises KaggleError if they arrive too slowly."""
    is_encoded = bool(response.headers.get("Content-Encoding"))
    started, n_received = time.monotonic(), 0
    while block := response.raw.read1(n_bytes, decode_content=is_encoded):
        yield block
        n_received += len(block)
        if (elapsed := time.monotonic() - started) > RATE_WINDOW_S:
            if n_received < LEAST_PER_S * elapsed:
                what = f"sent less than {LEAST_PER_S / 1000:.0f} kB per second for {elapsed:.0f} s"
                raise KaggleError(what, kind=SLOW, hint="Check the network, then run the same command again.")
            started, n_received = time.monotonic(), 0


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
