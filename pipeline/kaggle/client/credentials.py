"""Which Kaggle credentials exist, where, and in which order the official client tries them.

Reads files and variables only to report that they exist; a secret never leaves this module.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["access token", "API key", "OAuth login"]
TOKEN_PREFIX = "KGAT_"  # of access tokens, not of API keys


@dataclass(frozen=True)
class Credential:
    """One credential: what it is, where it was found, and what is wrong with it. Contains no secret."""

    kind: Kind
    source: str
    warnings: tuple[str, ...] = ()


def find_credentials() -> str | None:
    """Return a description of where the credentials in use were found; None if there are none."""
    found = found_credentials()
    return found[0].source if found else None


def found_credentials() -> list[Credential]:
    """Return all credentials in the order in which the client tries them: access token, API key, OAuth login."""
    return [*_access_tokens(), *_api_keys(), *_oauth()]


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
    if os.environ.get("KAGGLE_TOKEN"):
        warnings.append("the variable KAGGLE_TOKEN is undocumented, but the client sends it: unset it")
    file = config_folder() / "kaggle.json"
    if file.is_file() and _key_file(file) is None:
        warnings.append(f"{file} is not JSON with username and key: the client silently ignores it")
    return warnings


def config_folder() -> Path:
    """Return the folder in which the client looks for `kaggle.json`; an existing ~/.kaggle hides ~/.config/kaggle."""
    if given := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    home = Path.home() / ".kaggle"
    return home if home.is_dir() else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def _access_tokens() -> list[Credential]:
    found = []
    is_notebook = os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and os.environ.get("KAGGLE_DATA_PROXY_URL")
    if is_notebook and _text_of(Path(os.environ.get("KAGGLE_API_V1_TOKEN") or "-")):
        found.append(Credential("access token", "the Kaggle notebook's own token"))
    if given := os.environ.get("KAGGLE_API_TOKEN"):
        file = Path(given)
        if not _is_file(file):
            found.append(Credential("access token", "the variable KAGGLE_API_TOKEN"))
        elif _text_of(file):
            found.append(Credential("access token", f"{file} (named by KAGGLE_API_TOKEN)", _permission_warnings(file)))
    for name in ("access_token", "access_token.txt"):
        file = Path.home() / ".kaggle" / name
        if _text_of(file):
            found.append(Credential("access token", str(file), _permission_warnings(file)))
    return found


def _api_keys() -> list[Credential]:
    """Return the API keys of the variables and of `kaggle.json`; a single variable overrides its part of the file."""
    file = config_folder() / "kaggle.json"
    from_file = _key_file(file)
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    found = []
    if user and key:
        source = "the variables KAGGLE_USERNAME and KAGGLE_KEY"
        found.append(Credential("API key", source, _key_warnings(source, key)))
    if from_file is not None:
        source, used = str(file), from_file["key"]
        if bool(user) != bool(key):
            source += f" with {'KAGGLE_USERNAME' if user else 'KAGGLE_KEY'} over it"
            used = key or used
        found.append(Credential("API key", source, (*_key_warnings(source, used), *_permission_warnings(file))))
    return found


def _key_warnings(source: str, key: str) -> tuple[str, ...]:
    if not key.startswith(TOKEN_PREFIX):
        return ()
    return (
        f"{source}: the key is an access token ({TOKEN_PREFIX}…), which Kaggle rejects as a key (401); "
        "put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token",
    )


def _oauth() -> list[Credential]:
    file = Path.home() / ".kaggle" / "credentials.json"
    if not _json_of(file).get("refresh_token"):
        return []
    return [Credential("OAuth login", str(file), _permission_warnings(file))]


def _key_file(file: Path) -> dict[str, str] | None:
    """Return username and key from `kaggle.json`; None unless it contains both."""
    record = _json_of(file)
    if not record.get("username") or not record.get("key"):
        return None
    return {"username": str(record["username"]), "key": str(record["key"])}


def _json_of(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; {} if it has none."""
    try:
        record = json.loads(_text_of(path))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a token that is too long for a path
        return False


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _permission_warnings(file: Path) -> tuple[str, ...]:
    if os.name == "nt" or not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ()
    return (f"{file} is readable by other users of this machine: chmod 600 {file}",)
