"""Removes secrets from every text that leaves the program: output, messages, files.

Knows texts; must not know where secrets come from.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from urllib.parse import quote, unquote

MASK = "***"
MIN_LENGTH = 6  # a shorter one would mask parts of ordinary words
MIN_VALUE_LENGTH = 16  # of a query's value: shorter ones are words such as "media"
PATTERNS = (  # secrets that nobody has registered
    (re.compile(r"KGAT_[\w.-]{4,}"), MASK),
    (re.compile(r"(?i)(authorization\W{1,6}(?:b?['\"])?(?:bearer|basic|token)\s+)[^\s'\",}]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{20,}"), rf"\1{MASK}"),
    (re.compile(r"(\b[\w+.-]+://)[^\s/?#'\":]*:[^\s/?#'\"]+@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"(?i)([?&;][\w.%-]*(?:sig|token|credential|secret|passw|key|accessid|policy|upload_id)[\w.%-]*=)[^\s&'\"<>)]+"
        ),
        rf"\1{MASK}",
    ),
)
_known: set[str] = set()


def remember(*secrets: str) -> None:
    """Register secrets that are in use, with the forms in which libraries print them."""
    new = set[str]()
    for secret in secrets:
        forms = {secret, unquote(secret), json.dumps(secret)[1:-1]}
        forms |= {quote(secret, safe=safe) for safe in ("", "/", "!#$%&'()*+,/:;=?@[]~")}  # ways to quote an address
        forms |= set(re.findall(r"[!-~]{8,}", secret))  # the parts around blanks, line ends and other scripts
        new |= {form for form in forms if len(form) >= MIN_LENGTH}
    if not new <= _known:
        _known.update(new)
        _pattern.cache_clear()


def remember_login(user: str, password: str) -> None:
    """Register a password and the form in which HTTP sends it."""
    if password:
        remember(password, base64.b64encode(f"{user}:{password}".encode()).decode())


def remember_address(url: str) -> None:
    """Register a signed address, or that of a proxy, and its parts: libraries print some of them alone."""
    place, _, query = url.partition("?")
    login = place.rpartition("@")[0].rpartition("://")[2]
    user, _, password = login.partition(":")
    remember_login(unquote(user), unquote(password))
    if query:
        values = [pair.partition("=")[2] for pair in query.split("&")]
        remember(url, query, *(value for value in values if len(value) >= MIN_VALUE_LENGTH))


def redact_known(text: str) -> str:
    """Return the text without registered secrets, for a file, whose other content must stay."""
    return _pattern().sub(MASK, text) if _known else text


def redact(text: str) -> str:
    """Return the text without registered secrets and without whatever looks like one."""
    text = redact_known(text)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(_known, key=len, reverse=True))))
