"""Every way in which a call to Kaggle fails -> one `KaggleError` that says what to do.

Knows HTTP answers and the exceptions of `requests`; knows nothing of what was called for.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client.addresses import COMPETITION_URL, RULES_URL, SETTINGS_URL
from pipeline.kaggle.client.credentials import credential_warnings, find_credentials, found_credentials

PASSING = {"rate limit", "server", "maintenance", "dropped", "timeout"}  # worth asking again
STALE = "stale address"
STALE_STATUS = {400, 401, 403, 404, 410}  # what a storage answers to a signed address that has expired
NEVER_CONNECTED = "NewConnectionError|NameResolutionError|Failed to establish|Failed to resolve|ConnectTimeout"
NETWORK_HINT = "Is there a network? A proxy is named by https_proxy, an own certificate by REQUESTS_CA_BUNDLE."


def explain(error: BaseException, response: Any, *, doing: str, slug: str) -> KaggleError:
    """The KaggleError for what `doing` raised; `response` is the last HTTP answer seen, or None."""
    if isinstance(error, KaggleError):
        return error
    own_response = getattr(error, "response", None)
    response = own_response if own_response is not None else response
    no_answer = _without_answer(error, doing)
    if no_answer is not None:
        return no_answer
    if isinstance(error, SystemExit):
        return no_credentials()
    if response is not None and response.status_code >= 400:
        return explain_status(response, doing=doing, slug=slug, message=str(error))
    if response is not None and is_html(response):
        return _maintenance(doing)
    return KaggleError(
        f"gave an answer to {doing} that cannot be understood ({type(error).__name__}: {_short(str(error))})",
        kind="bad answer",
        hint="Try again later; when it stays, see whether `pip install -U kaggle` brings a newer client.",
    )


def explain_status(response: Any, *, doing: str, slug: str, message: str = "") -> KaggleError:
    """The KaggleError for an HTTP status of 400 or more; nothing of the request is shown."""
    status = response.status_code
    message = _message_of(response) or message
    said = f' Kaggle says: "{_short(message)}"' if message and "for url" not in message else ""
    if status in STALE_STATUS and response.history:  # not Kaggle, but the storage it pointed to
        return KaggleError(
            f"the storage refused {doing} ({status})",
            kind=STALE,
            where=slug,
            hint="Run the same command again; it asks for a new address.",
        )
    if status == 401:
        return _unauthorized(doing, said)
    if status == 403:
        return _forbidden(doing, slug, message, said)
    if status == 404:
        return KaggleError(
            f"knows nothing for {doing} of {slug!r} (404).{said}",
            kind="not found",
            hint=f"Is it spelled as in its address, {COMPETITION_URL.format(slug='<slug>')}?",
        )
    if status == 429:
        return KaggleError(
            f"answers too many requests (429) to {doing}.{said}",
            kind="rate limit",
            hint="Wait some minutes and run the same command again.",
            retry_after_s=_retry_after(response),
        )
    if status >= 500:
        if is_html(response):
            return _maintenance(doing, _retry_after(response))
        return KaggleError(
            f"failed at {doing} ({status}).{said}",
            kind="server",
            hint="That is on Kaggle's side: run the same command again later (https://status.kaggle.com).",
            retry_after_s=_retry_after(response),
        )
    if re.search(r"allowance|daily limit|submission limit|maximum number of submissions", message, re.IGNORECASE):
        return KaggleError(
            f"takes no more submissions today.{said}",
            kind="daily limit",
            hint="The count starts anew at midnight UTC; the same command sends the file then.",
        )
    return KaggleError(f"refused {doing} ({status}).{said}", kind="refused", hint=_competition_hint(slug))


def no_credentials() -> KaggleError:
    """Nobody is logged in: there are no credentials, or Kaggle takes none of them."""
    sources = [credential.source for credential in found_credentials()]
    if sources:
        return KaggleError(
            f"accepts none of the credentials that were found: {', '.join(sources)}",
            kind="unauthorized",
            hint=f"Make a new token at {SETTINGS_URL}; `python -m pipeline doctor` shows what is used.",
        )
    return KaggleError(
        "no valid credentials were found",
        kind="no credentials",
        hint=f"Make a token at {SETTINGS_URL} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN; "
        "`python -m pipeline doctor` shows what is found.",
    )


def is_html(response: Any) -> bool:
    """Whether the answer is a web page, which no call here ever wants."""
    return "text/html" in response.headers.get("Content-Type", "").lower()


def _without_answer(error: BaseException, doing: str) -> KaggleError | None:
    """Connections that were refused, cut or too slow."""
    import requests
    import urllib3

    names = requests.exceptions
    if isinstance(error, names.ProxyError):
        return KaggleError(
            f"the proxy did not let {doing} through", kind="proxy", hint="Look at https_proxy, http_proxy and no_proxy."
        )
    if isinstance(error, names.SSLError):
        return KaggleError(f"the certificate was not accepted at {doing}", kind="certificate", hint=NETWORK_HINT)
    text = str(error)
    if isinstance(error, names.Timeout | urllib3.exceptions.TimeoutError) or "timed out" in text.lower():
        return KaggleError(f"did not answer {doing} in time", kind="timeout", hint=NETWORK_HINT)
    if isinstance(error, names.ConnectionError) and re.search(NEVER_CONNECTED, text):
        return KaggleError(f"cannot be reached for {doing}", kind="no network", hint=NETWORK_HINT)
    is_cut = (names.ConnectionError, names.ChunkedEncodingError, names.ContentDecodingError)
    if isinstance(error, (*is_cut, urllib3.exceptions.HTTPError, ConnectionError)):
        return KaggleError(
            f"the connection broke off at {doing}", kind="dropped", hint="Run the same command again; it goes on."
        )
    return None


def _unauthorized(doing: str, said: str) -> KaggleError:
    source = find_credentials()
    warnings = " ".join(f"{warning[0].upper()}{warning[1:]}." for warning in credential_warnings())
    return KaggleError(
        f"does not accept the credentials from {source} for {doing} (401).{said}",
        kind="unauthorized",
        hint=f"{warnings} Make a new token at {SETTINGS_URL}; `python -m pipeline doctor` shows what is used.".strip(),
    )


def _forbidden(doing: str, slug: str, message: str, said: str) -> KaggleError:
    lower = message.lower()
    rules = RULES_URL.format(slug=slug)
    if "rules" in lower:
        what, kind, hint = "the rules were not accepted yet", "rules", f"Accept them once in the browser: {rules}"
    elif "phone" in lower or "verif" in lower:
        what, kind = "the account is not verified", "phone"
        hint = f"Verify the phone number at {SETTINGS_URL}, then accept the rules: {rules}"
    elif re.search(r"clos|ended|deadline|no longer|not allowed to (enter|submit)", lower):
        what, kind, hint = "the competition takes no more of it", "closed", _competition_hint(slug)
    else:
        what, kind = "Kaggle gives no permission", "forbidden"
        hint = (
            f"One of four: the rules are not accepted ({rules}); {slug!r} is misspelled; "
            f"the phone is not verified ({SETTINGS_URL}); the competition is closed to new entrants."
        )
    return KaggleError(f"{doing}: {what} (403).{said}", kind=kind, where=slug, hint=hint)


def _maintenance(doing: str, retry_after_s: float | None = None) -> KaggleError:
    return KaggleError(
        f"showed a web page instead of answering {doing}: maintenance, or a login page of the network",
        kind="maintenance",
        hint="Try again later (https://status.kaggle.com), or open any page in the browser to log into the network.",
        retry_after_s=retry_after_s,
    )


def _competition_hint(slug: str) -> str:
    return f"Look at {COMPETITION_URL.format(slug=slug)}"


def _message_of(response: Any) -> str:
    """Kaggle's own words in an error's JSON body, in either of its two forms."""
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
    """Seconds asked for by Retry-After, which is a number or a date."""
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
