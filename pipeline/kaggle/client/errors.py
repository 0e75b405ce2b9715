"""Turns every way a call to Kaggle can fail into a `KaggleError` that says what to do.

Reads HTTP responses and the exceptions of `requests`; does not know what was called.
"""

from __future__ import annotations

import re
from json import JSONDecodeError
from typing import Any

from pipeline.base.errors import KaggleError
from pipeline.base.redaction import redact
from pipeline.kaggle.client.credentials import credential_warnings, find_credentials, found_credentials
from pipeline.kaggle.client.urls import SETTINGS_URL, page_url, rules_url

SLOW = "slow"
TRANSIENT = {  # worth a retry
    *("rate limit", "server", "maintenance", "dropped", "timeout", SLOW, "no network", "proxy", "bad response"),
}
MAY_HAVE_SUCCEEDED = {"server", "maintenance", "dropped", "timeout", "bad response", "proxy"}  # of a write
EXPIRED = "expired address"
EXPIRED_STATUS = {400, 401, 403, 404, 410}  # how a storage answers an expired signed address
NEVER_CONNECTED = "NewConnectionError|NameResolutionError|Failed to establish|Failed to resolve|ConnectTimeout"
LIMIT_REACHED = "allowance|daily limit|submission limit|maximum number of submissions"
STATUS_URL = "https://status.kaggle.com"
NETWORK_HINT = "Check the network. Set a proxy with https_proxy, your own certificate with REQUESTS_CA_BUNDLE."
DOCTOR_HINT = "`python -m pipeline doctor` shows which credentials are used."
NEW_TOKEN_HINT = f"Create a new token at {SETTINGS_URL}, or log in again with `kaggle auth login`; {DOCTOR_HINT}"
HINTS = {  # for the kinds that determine what to do
    EXPIRED: "Run the same command again; it asks for a new address.",
    "bad response": "Try again later; if it keeps happening, try a newer client: `pip install -U kaggle`.",
    "certificate": NETWORK_HINT,
    "daily limit": "The count restarts at midnight UTC; run the same command then.",
    "dropped": "Run the same command again.",
    "maintenance": f"Try again later ({STATUS_URL}), or open any page in the browser to log in to the network.",
    "no network": NETWORK_HINT,
    "proxy": "Check https_proxy, http_proxy and no_proxy.",
    "rate limit": "Wait a few minutes and run the same command again.",
    SLOW: NETWORK_HINT,
    "server": f"The problem is on Kaggle's side ({STATUS_URL}): run the same command again later.",
    "timeout": NETWORK_HINT,
}


def explain(error: BaseException, response: Any, *, action: str, slug: str) -> KaggleError:
    """Return the KaggleError for an error raised when `action`, e.g. "logging in".

    `response` is the last HTTP response, or None.
    """
    if isinstance(error, KaggleError):
        return error
    own_response = getattr(error, "response", None)
    response = own_response if own_response is not None else response
    problem = _connection_problem(error)
    if problem is not None:
        kind, what = problem
        return _error(f"{what} when {action}", kind)
    if isinstance(error, SystemExit):
        return no_credentials()
    if response is not None and status_of(response) >= 400:
        return explain_status(response, action=action, slug=slug, message=str(error))
    if response is not None and is_html(response):
        return _web_page(action, response)
    return _error(f"sent an unexpected response when {action} ({_described(error)})", "bad response")


def _described(error: BaseException) -> str:
    """Return an error in short, without the text of `requests`, which holds addresses and headers."""
    import requests

    is_of_requests = isinstance(error, requests.exceptions.RequestException) and not isinstance(error, JSONDecodeError)
    name = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return type(error).__name__ if is_of_requests else f"{name}{short(str(error))}"


def explain_status(
    response: Any, *, action: str, slug: str, message: str = "", is_storage: bool = False
) -> KaggleError:
    """Return the KaggleError for an HTTP status of 400 or more; shows nothing of the request.

    `is_storage`: the response is from the storage behind a signed address, not from Kaggle itself.
    """
    status = status_of(response)
    message = _message_of(response) or message
    quote = f' Kaggle says: "{short(message)}"' if message and "for url" not in message else ""
    if status in EXPIRED_STATUS and (is_storage or response.history):  # a redirect leads to the storage
        what = f"the storage refused access ({status}) when {action}"
        return KaggleError(what, kind=EXPIRED, where=slug, hint=HINTS[EXPIRED])
    if status == 401:
        warnings = "".join(f"{warning[0].upper()}{warning[1:]}. " for warning in credential_warnings())
        what = f"does not accept the credentials from {find_credentials()} when {action} (401).{quote}"
        return KaggleError(what, kind="unauthorized", hint=warnings + NEW_TOKEN_HINT)
    if status == 403:
        return _forbidden(action, slug, message, quote)
    if status == 404 and slug:
        hint = f"Check the spelling against the URL: {page_url('<owner>/<name>' if '/' in slug else '<slug>')}"
        return KaggleError(f"found no {slug!r} when {action} (404).{quote}", kind="not found", hint=hint)
    if status == 429:
        return _error(f"received too many requests (429) when {action}.{quote}", "rate limit", response)
    if status >= 500 and is_html(response):
        return _web_page(action, response)
    if status >= 500:
        return _error(f"failed when {action} ({status}).{quote}", "server", response)
    if re.search(LIMIT_REACHED, message, re.IGNORECASE):
        return _error(f"accepts no more submissions today.{quote}", "daily limit")
    what = f"refused the request ({status}) when {action}.{quote}"
    return KaggleError(what, kind="refused", hint=_competition_hint(slug))


def status_of(response: Any) -> int:
    """Return the HTTP status, or the code of an error that came with status 200."""
    if response.status_code != 200 or "application/json" not in response.headers.get("Content-Type", ""):
        return int(response.status_code)
    code = _body_of(response).get("code")
    return code if isinstance(code, int) and code >= 400 else 200


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
    hint = f"Accept them once in the browser: {rules_url(slug)}"
    return KaggleError(f"{prefix}the rules have not been accepted{suffix}", kind="rules", where=slug, hint=hint)


def no_credentials() -> KaggleError:
    """Return the error for a failed login: there are no credentials, or Kaggle accepts none of them."""
    sources = ", ".join(credential.source for credential in found_credentials())
    if sources:
        what = f"accepts none of the credentials found: {sources}"
        return KaggleError(what, kind="unauthorized", hint=NEW_TOKEN_HINT)
    hint = f"Create a token at {SETTINGS_URL} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN; {DOCTOR_HINT}"
    return KaggleError("no valid credentials found", kind="no credentials", hint=hint)


def is_html(response: Any) -> bool:
    """Return whether the response is a web page, which no call here ever expects."""
    return "text/html" in response.headers.get("Content-Type", "").lower()


def short(text: str) -> str:
    """Return a text from elsewhere as one line of at most 300 characters, without secrets that cutting would hide."""
    line = " ".join(redact(text).split())
    return line if len(line) <= 300 else line[:297] + "…"


def _error(what: str, kind: str, response: Any = None) -> KaggleError:
    retry_after_s = None if response is None else _retry_after(response)
    return KaggleError(what, kind=kind, hint=HINTS[kind], retry_after_s=retry_after_s)


def _connection_problem(error: BaseException) -> tuple[str, str] | None:
    """Return the kind and description of a refused, dropped or slow connection; None for any other error."""
    import requests
    import urllib3

    names, text = requests.exceptions, str(error)
    if isinstance(error, names.ProxyError):
        return "proxy", "the proxy blocked the request"
    if isinstance(error, names.SSLError):
        return "certificate", "certificate verification failed"
    if isinstance(error, names.Timeout | urllib3.exceptions.TimeoutError) or "timed out" in text.lower():
        return "timeout", "timed out"
    if isinstance(error, names.ConnectionError) and re.search(NEVER_CONNECTED, text):
        return "no network", "cannot be reached"
    dropped = (names.ConnectionError, names.ChunkedEncodingError, names.ContentDecodingError)
    if isinstance(error, (*dropped, urllib3.exceptions.HTTPError, ConnectionError)):
        return "dropped", "the connection was dropped"
    return None


def _forbidden(action: str, slug: str, message: str, quote: str) -> KaggleError:
    lower = message.lower()
    rules = rules_url(slug)
    if "rules" in lower:
        return rules_not_accepted(slug, prefix=f"{action}: ", suffix=f" (403).{quote}")
    if "phone" in lower or "verif" in lower:
        what, kind = "the account is not verified", "phone"
        hint = f"Verify the phone number at {SETTINGS_URL}, then accept the rules: {rules}"
    elif re.search(r"clos|ended|deadline|no longer|not allowed to (enter|submit)", lower):
        what, kind, hint = "the competition is closed", "closed", _competition_hint(slug)
    else:
        what, kind = "permission denied", "forbidden"
        reasons = f"the phone is not verified ({SETTINGS_URL})"
        if "/" in slug:
            reasons = f"the dataset is private; {slug!r} is misspelled; {reasons}"
        elif slug:
            reasons = (
                f"the rules have not been accepted ({rules}); {slug!r} is misspelled; {reasons}; "
                "the competition is closed to new entrants"
            )
        hint = f"Possible reasons: {reasons}."
    return KaggleError(f"{action}: {what} (403).{quote}", kind=kind, where=slug, hint=hint)


def _web_page(action: str, response: Any) -> KaggleError:
    what = f"sent a web page when {action}: either maintenance or a login page of your network"
    return _error(what, "maintenance", response)


def _competition_hint(slug: str) -> str:
    return f"See {page_url(slug)}" if slug else DOCTOR_HINT


def _message_of(response: Any) -> str:
    """Return Kaggle's message from an error's JSON body, which has one of two forms; "" if there is none."""
    body = _body_of(response)
    inner = body.get("error")
    found = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
    return found if isinstance(found, str) else ""


def _body_of(response: Any) -> dict[str, Any]:
    """Return the JSON object of a response; {} if it has none."""
    try:
        body = response.json()
    except (ValueError, RuntimeError, OSError):
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(response: Any) -> float | None:
    """Return the seconds requested by Retry-After, which is a number or a date."""
    import urllib3

    try:
        return urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", ""))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
