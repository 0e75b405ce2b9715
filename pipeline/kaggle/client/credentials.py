"""Which Kaggle credentials exist, where, and in which order the official client tries them.

Reads files and variables, removes what editors add, and checks them. Must not know what they are used for: secrets
leave this module only as the client's environment, and every one is registered to be redacted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.base.files import decoded
from pipeline.base.redaction import remember, remember_address, remember_login

Kind = Literal["access token", "API key", "OAuth login"]
TOKEN_PREFIX = "KGAT_"  # of access tokens, not of API keys
AROUND = r"[\s\x00-\x1f\x7f\ufeff\u200b\u2060]+"  # what editors and shells leave before and after a secret
NOT_SENT = ("KAGGLE_TOKEN", "VERBOSE", "VERBOSE_OUTPUT")  # an undocumented token; these make the client print secrets


@dataclass(frozen=True)
class Credential:
    """One credential: what it is, where it was found, and what is wrong with it, which says no secret."""

    kind: Kind
    source: str
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)  # a token; user and key; the tokens of a login
    flaw: str = ""

    @property
    def problem(self) -> str:
        """Why the client cannot send it; "" if it can."""
        return self.flaw or next((found for secret in self.secrets if (found := _problem(secret))), "")


def find_credentials() -> str | None:
    """Return a description of where the credentials in use were found; None if there are none."""
    found = found_credentials()
    return found[0].source if found else None


def found_credentials() -> list[Credential]:
    """Return all credentials in the order in which the client tries them: access token, API key, OAuth login."""
    found = [*_access_tokens(), *_api_keys(), *_oauth()]
    for credential in found:
        if credential.kind == "API key":
            remember_login(*credential.secrets)
        else:
            remember(*credential.secrets)
    return found


def remember_secrets() -> None:
    """Register all secrets that are in use, those of proxies included, so that none is ever shown."""
    with contextlib.suppress(OSError, RuntimeError):  # what cannot be read is not shown either
        found_credentials()
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy"):
            remember_address(value)
        elif re.fullmatch(r"KAGGLE_.*(TOKEN|KEY)", name) and not _is_file(Path(clean(value))):
            remember(value)


def client_environment() -> dict[str, str | None]:
    """Return the variables that give the official client these credentials, clean; None removes a variable."""
    variables: dict[str, str | None] = dict.fromkeys(NOT_SENT)
    found = found_credentials()
    token = next((one for one in found if one.kind == "access token"), None)
    key = next((one for one in found if one.kind == "API key"), None)
    variables["KAGGLE_API_TOKEN"] = None if token is None else token.secrets[0]
    if token is not None:
        variables["KAGGLE_API_V1_TOKEN"] = None  # the file of the same token, which the client would read itself
    variables["KAGGLE_USERNAME"], variables["KAGGLE_KEY"] = (None, None) if key is None else key.secrets
    return variables


def credential_warnings() -> list[str]:
    """Return a message for every problem with the credentials."""
    found = found_credentials()
    warnings = [warning for credential in found for warning in credential.warnings]
    key = next((credential for credential in found if credential.kind == "API key"), None)
    if key is not None and found[0].kind == "access token":
        warnings.append(
            f"{found[0].source} takes precedence over {key.source}: if the token is stale, every call fails (401) "
            "even though the key is valid; remove the one you do not need"
        )
    warnings += [f"{one.source}: {one.problem}" for one in found if one.problem]
    file = config_folder() / "kaggle.json"
    if file.is_file() and _key_file(file) is None:
        warnings.append(f"{file} is not JSON with username and key: the client silently ignores it")
    login = Path.home() / ".kaggle" / "credentials.json"
    if login.is_file() and not _oauth():
        warnings.append(f"{login} is not JSON with a refresh_token: the client silently ignores it")
    return warnings


def config_folder() -> Path:
    """Return the folder in which the client looks for `kaggle.json`; an existing ~/.kaggle hides ~/.config/kaggle."""
    if given := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    home = Path.home() / ".kaggle"
    return home if home.is_dir() else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def _access_tokens() -> list[Credential]:
    return [
        Credential("access token", source, () if file is None else _permission_warnings(file), (token,), flaw)
        for source, file, token, flaw in _tokens()
        if token
    ]


def _tokens() -> Iterator[tuple[str, Path | None, str, str]]:
    """Yield (source, file, token, flaw) of every place for a token, in the client's order; "" counts as no token."""
    is_notebook = os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and os.environ.get("KAGGLE_DATA_PROXY_URL")
    if is_notebook:
        file = Path(os.environ.get("KAGGLE_API_V1_TOKEN") or "-")
        yield "the Kaggle notebook's own token", None, _text_of(file), ""
    if given := clean(os.environ.get("KAGGLE_API_TOKEN", "")):
        file = Path(given)
        if _is_file(file):
            yield f"{file} (named by KAGGLE_API_TOKEN)", file, _text_of(file), ""
        else:
            is_path = given.startswith(("/", "~", "./", "../"))
            yield "the variable KAGGLE_API_TOKEN", None, given, "names a file that does not exist" if is_path else ""
    for name in ("access_token", "access_token.txt"):
        file = Path.home() / ".kaggle" / name
        yield str(file), file, _text_of(file), ""


def _api_keys() -> list[Credential]:
    """Return the API keys of the variables and of `kaggle.json`; a single variable overrides its part of the file."""
    file = config_folder() / "kaggle.json"
    from_file = _key_file(file)
    user, key = (clean(os.environ.get(name, "")) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    found = []
    if user and key:
        source = "the variables KAGGLE_USERNAME and KAGGLE_KEY"
        found.append(Credential("API key", source, _key_warnings(source, key), (user, key)))
    if from_file is not None:
        source, used_user, used_key = str(file), *from_file
        if bool(user) != bool(key):
            source += f" with {'KAGGLE_USERNAME' if user else 'KAGGLE_KEY'} over it"
            used_user, used_key = user or used_user, key or used_key
        warnings = (*_key_warnings(source, used_key), *_permission_warnings(file))
        found.append(Credential("API key", source, warnings, (used_user, used_key)))
    return found


def _key_warnings(source: str, key: str) -> tuple[str, ...]:
    if not key.startswith(TOKEN_PREFIX):
        return ()
    return (
        f"{source}: the key is an access token ({TOKEN_PREFIX}…), which Kaggle rejects as a key (401); "
        "put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token",
    )


def _oauth() -> list[Credential]:
    """Return the login of `kaggle auth login`. The client reads this file itself, so nothing is removed here."""
    file = Path.home() / ".kaggle" / "credentials.json"
    record = _json_of(file)
    if not record.get("refresh_token"):
        return []
    tokens = tuple(str(record[name]) for name in ("refresh_token", "access_token") if record.get(name))
    flaw = "" if file.read_bytes().lstrip().startswith(b"{") else "begins with a byte order mark"
    return [Credential("OAuth login", str(file), _permission_warnings(file), tokens, flaw)]


def _key_file(file: Path) -> tuple[str, str] | None:
    """Return username and key from `kaggle.json`; None unless it contains both."""
    record = _json_of(file)
    user, key = (clean(str(record.get(name) or "")) for name in ("username", "key"))
    return (user, key) if user and key else None


def _json_of(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; {} if it has none."""
    try:
        record = json.loads(_text_of(path), strict=False)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def clean(text: str) -> str:
    """Return a secret without blanks, line ends, control characters and byte order marks around it."""
    return re.sub(f"^{AROUND}|{AROUND}$", "", text)


def _problem(secret: str) -> str:
    """Return which character of a secret HTTP cannot send; "" if there is none. Shows nothing of it."""
    found = re.search(r"[^!-~]", secret)
    if found is None:
        return ""
    names = {"\n": "a line end", "\r": "a line end", " ": "a blank", "\t": "a tab", "\ufeff": "a byte order mark"}
    name = names.get(found[0], f"the character U+{ord(found[0]):04X}")
    return f"contains {name} at position {found.start() + 1}, which no token or key has"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a token that is too long for a path, or that contains NUL
        return False


def _text_of(path: Path) -> str:
    """Return a file's text, cleaned; "" if it cannot be read. What is not text has characters that are refused."""
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    try:
        return clean(decoded(content))
    except UnicodeError:
        return clean(content.decode("utf-8", errors="replace"))


def _permission_warnings(file: Path) -> tuple[str, ...]:
    if os.name == "nt" or not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ()
    return (f"{file} is readable by other users of this machine: chmod 600 {file}",)
