"""Turns every way a call to Kaggle can fail into a `KaggleError` that says what to do.

Reads HTTP responses and the exceptions of `requests`; does not know what was called.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client.credentials import credential_warnings, find_credentials, found_credentials
from pipeline.kaggle.client.urls import COMPETITION_URL, RULES_URL, SETTINGS_URL

TRANSIENT = {"rate limit", "server", "maintenance", "dropped", "timeout"}  # worth a retry
MAY_HAVE_SUCCEEDED = {"server", "maintenance", "dropped", "timeout", "bad response", "proxy"}  # of a write
EXPIRED = "expired address"
EXPIRED_STATUS = {400, 401, 403, 404, 410}  # how a storage answers an expired signed address
NEVER_CONNECTED = "NewConnectionError|NameResolutionError|Failed to establish|Failed to resolve|ConnectTimeout"
NETWORK_HINT = "Check the network. Set a proxy with https_proxy, your own certificate with REQUESTS_CA_BUNDLE."
DAILY_LIMIT_HINT = "The count restarts at midnight UTC; run the same command then."
DOCTOR_HINT = "`python -m pipeline doctor` shows which credentials are used."


def explain(error: BaseException, response: Any, *, action: str, slug: str) -> KaggleError:
    """Return the KaggleError for an error raised when `action`, e.g. "logging in".

    `response` is the last HTTP response, or None.
    """
    if isinstance(error, KaggleError):
        return error
    own_response = getattr(error, "response", None)
    response = own_response if own_response is not None else response
    connection_error = _connection_error(error, action)
    if connection_error is not None:
        return connection_error
    if isinstance(error, SystemExit):
        return no_credentials()
    if response is not None and response.status_code >= 400:
        return explain_status(response, action=action, slug=slug, message=str(error))
    if response is not None and is_html(response):
        return _maintenance(action)
    return KaggleError(
        f"sent an unexpected response when {action} ({type(error).__name__}: {_short(str(error))})",
        kind="bad response",
        hint="Try again later; if it keeps happening, try a newer client: `pip install -U kaggle`.",
    )


def explain_status(
    response: Any, *, action: str, slug: str, message: str = "", is_storage: bool = False
) -> KaggleError:
    """Return the KaggleError for an HTTP status of 400 or more; shows nothing of the request.

    `is_storage`: the response is from the storage behind a signed address, not from Kaggle itself.
    """
    status = response.status_code
    message = _message_of(response) or message
    quote = f' Kaggle says: "{_short(message)}"' if message and "for url" not in message else ""
    if status in EXPIRED_STATUS and (is_storage or response.history):  # a redirect leads to the storage
        return KaggleError(
            f"the storage refused access ({status}) when {action}",
            kind=EXPIRED,
            where=slug,
            hint="Run the same command again; it asks for a new address.",
        )
    if status == 401:
        return _unauthorized(action, quote)
    if status == 403:
        return _forbidden(action, slug, message, quote)
    if status == 404:
        return KaggleError(
            f"found no {slug!r} when {action} (404).{quote}",
            kind="not found",
            hint=f"Check the spelling against the URL: {COMPETITION_URL.format(slug='<slug>')}",
        )
    if status == 429:
        return KaggleError(
            f"received too many requests (429) when {action}.{quote}",
            kind="rate limit",
            hint="Wait a few minutes and run the same command again.",
            retry_after_s=_retry_after(response),
        )
    if status >= 500:
        if is_html(response):
            return _maintenance(action, _retry_after(response))
        return KaggleError(
            f"failed when {action} ({status}).{quote}",
            kind="server",
            hint="The problem is on Kaggle's side (https://status.kaggle.com): run the same command again later.",
            retry_after_s=_retry_after(response),
        )
    if re.search(r"allowance|daily limit|submission limit|maximum number of submissions", message, re.IGNORECASE):
        return KaggleError(f"accepts no more submissions today.{quote}", kind="daily limit", hint=DAILY_LIMIT_HINT)
    return KaggleError(
        f"refused the request ({status}) when {action}.{quote}", kind="refused", hint=_competition_hint(slug)
    )


def check_storage(response: Any, *, action: str, slug: str) -> None:
    """Raise KaggleError or ValueError unless the storage behind a signed address did what was asked."""
    if response.status_code >= 400:
        raise explain_status(response, action=action, slug=slug, is_storage=True)
    if is_html(response):
        raise ValueError("the storage sent a web page")


def reworded(error: KaggleError, *, what: str = "", hint: str) -> KaggleError:
    """Return the same error with another text."""
    return KaggleError(
        what or error.what, kind=error.kind, where=error.where, hint=hint.strip(), retry_after_s=error.retry_after_s
    )


def rules_not_accepted(slug: str, *, prefix: str = "", suffix: str = "") -> KaggleError:
    """Return the error for a competition whose rules the user has not accepted."""
    return KaggleError(
        f"{prefix}the rules have not been accepted{suffix}",
        kind="rules",
        where=slug,
        hint=f"Accept them once in the browser: {RULES_URL.format(slug=slug)}",
    )


def no_credentials() -> KaggleError:
    """Return the error for a failed login: there are no credentials, or Kaggle accepts none of them."""
    sources = [credential.source for credential in found_credentials()]
    if sources:
        return KaggleError(
            f"accepts none of the credentials found: {', '.join(sources)}",
            kind="unauthorized",
            hint=f"Create a new token at {SETTINGS_URL}; {DOCTOR_HINT}",
        )
    return KaggleError(
        "no valid credentials found",
        kind="no credentials",
        hint=f"Create a token at {SETTINGS_URL} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN; "
        + DOCTOR_HINT,
    )


def is_html(response: Any) -> bool:
    """Return whether the response is a web page, which no call here ever expects."""
    return "text/html" in response.headers.get("Content-Type", "").lower()


def _connection_error(error: BaseException, action: str) -> KaggleError | None:
    """Explain a connection that was refused, dropped or too slow; None for any other error."""
    import requests
    import urllib3

    names = requests.exceptions
    if isinstance(error, names.ProxyError):
        return KaggleError(
            f"the proxy blocked the request when {action}",
            kind="proxy",
            hint="Check https_proxy, http_proxy and no_proxy.",
        )
    if isinstance(error, names.SSLError):
        return KaggleError(f"certificate verification failed when {action}", kind="certificate", hint=NETWORK_HINT)
    text = str(error)
    if isinstance(error, names.Timeout | urllib3.exceptions.TimeoutError) or "timed out" in text.lower():
        return KaggleError(f"timed out when {action}", kind="timeout", hint=NETWORK_HINT)
    if isinstance(error, names.ConnectionError) and re.search(NEVER_CONNECTED, text):
        return KaggleError(f"cannot be reached when {action}", kind="no network", hint=NETWORK_HINT)
    dropped = (names.ConnectionError, names.ChunkedEncodingError, names.ContentDecodingError)
    if isinstance(error, (*dropped, urllib3.exceptions.HTTPError, ConnectionError)):
        return KaggleError(
            f"the connection was dropped when {action}", kind="dropped", hint="Run the same command again."
        )
    return None


def _unauthorized(action: str, quote: str) -> KaggleError:
    warnings = " ".join(f"{warning[0].upper()}{warning[1:]}." for warning in credential_warnings())
    return KaggleError(
        f"does not accept the credentials from {find_credentials()} when {action} (401).{quote}",
        kind="unauthorized",
        hint=f"{warnings} Create a new token at {SETTINGS_URL}; {DOCTOR_HINT}".strip(),
    )


def _forbidden(action: str, slug: str, message: str, quote: str) -> KaggleError:
    lower = message.lower()
    rules = RULES_URL.format(slug=slug)
    if "rules" in lower:
        return rules_not_accepted(slug, prefix=f"{action}: ", suffix=f" (403).{quote}")
    if "phone" in lower or "verif" in lower:
        what, kind = "the account is not verified", "phone"
        hint = f"Verify the phone number at {SETTINGS_URL}, then accept the rules: {rules}"
    elif re.search(r"clos|ended|deadline|no longer|not allowed to (enter|submit)", lower):
        what, kind, hint = "the competition is closed", "closed", _competition_hint(slug)
    else:
        what, kind = "permission denied", "forbidden"
        hint = (
            f"Possible reasons: the rules have not been accepted ({rules}); {slug!r} is misspelled; "
            f"the phone is not verified ({SETTINGS_URL}); the competition is closed to new entrants."
        )
    return KaggleError(f"{action}: {what} (403).{quote}", kind=kind, where=slug, hint=hint)


def _maintenance(action: str, retry_after_s: float | None = None) -> KaggleError:
    return KaggleError(
        f"sent a web page when {action}: either maintenance or a login page of your network",
        kind="maintenance",
        hint="Try again later (https://status.kaggle.com), or open any page in the browser to log in to the network.",
        retry_after_s=retry_after_s,
    )


def _competition_hint(slug: str) -> str:
    return f"See {COMPETITION_URL.format(slug=slug)}"


def _message_of(response: Any) -> str:
    """Return Kaggle's message from an error's JSON body, which has one of two forms; "" if there is none."""
    try:
        body = response.json()
    except (ValueError, RuntimeError, OSError):
        return ""
    if not isinstance(body, dict):
        return ""
    inner = body.get("error")
    found = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
    return found if isinstance(found, str) else ""


def _retry_after(response: Any) -> float | None:
    """Return the seconds requested by Retry-After, which is a number or a date."""
    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "…"
