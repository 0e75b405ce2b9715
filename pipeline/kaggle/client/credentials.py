"""Which Kaggle credentials there are, where, and in which order the official client takes them.

Reads files and variables to say that they are there; a secret never leaves this module.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["access token", "API key", "OAuth login"]
NEW_TOKEN = "KGAT_"  # how access tokens begin; keys do not


@dataclass(frozen=True)
class Credential:
    """One way in: what it is, where it was found, and what is wrong with it. Holds no secret."""

    kind: Kind
    source: str
    warnings: tuple[str, ...] = ()


def find_credentials() -> str | None:
    """Where the credentials that win were found, as words; None when there are none."""
    found = found_credentials()
    return found[0].source if found else None


def found_credentials() -> list[Credential]:
    """All credentials in the order in which the client tries them: access token, API key, OAuth login."""
    return [*_access_tokens(), *_api_keys(), *_oauth()]


def credential_warnings() -> list[str]:
    """Everything about the credentials that will make trouble, in plain words."""
    found = found_credentials()
    warnings = [warning for credential in found for warning in credential.warnings]
    if len(found) > 1 and found[0].kind == "access token" and any(c.kind == "API key" for c in found):
        key = next(credential for credential in found if credential.kind == "API key")
        warnings.append(
            f"{found[0].source} wins over {key.source}: when that token is stale, every call is refused (401) "
            "although the key is good; remove the one that is not needed"
        )
    if os.environ.get("KAGGLE_TOKEN"):
        warnings.append("the variable KAGGLE_TOKEN is no documented one, yet the client sends it: unset it")
    file = config_folder() / "kaggle.json"
    if file.is_file() and _key_file(file) is None:
        warnings.append(f"{file} is not JSON with username and key: the client ignores it without a word")
    return warnings


def config_folder() -> Path:
    """The folder in which the client looks for `kaggle.json`: an existing ~/.kaggle hides ~/.config/kaggle."""
    if given := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(given)
    home = Path.home() / ".kaggle"
    return home if home.is_dir() else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"


def _access_tokens() -> list[Credential]:
    found = []
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and os.environ.get("KAGGLE_DATA_PROXY_URL"):
        file = Path(os.environ.get("KAGGLE_API_V1_TOKEN") or "-")
        if _text_of(file):
            found.append(Credential("access token", "the Kaggle notebook's own token"))
    if given := os.environ.get("KAGGLE_API_TOKEN"):
        file = Path(given)
        if _is_file(file):
            if _text_of(file):
                found.append(Credential("access token", f"{file} (named by KAGGLE_API_TOKEN)", _open_to_others(file)))
        else:
            found.append(Credential("access token", "the variable KAGGLE_API_TOKEN"))
    for name in ("access_token", "access_token.txt"):
        file = Path.home() / ".kaggle" / name
        if _text_of(file):
            found.append(Credential("access token", str(file), _open_to_others(file)))
    return found


def _api_keys() -> list[Credential]:
    file = config_folder() / "kaggle.json"
    from_file = _key_file(file) or {}
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    sources = [*(["the variables KAGGLE_USERNAME and KAGGLE_KEY"] if user and key else [])]
    if (user or key) and not (user and key) and from_file:
        sources.append(f"{file} with {'KAGGLE_USERNAME' if user else 'KAGGLE_KEY'} over it")
    elif from_file:
        sources.append(str(file))
    found = []
    for source in sources:
        used = key if "KAGGLE_KEY" in source and key else from_file.get("key", "")
        warnings = (
            [
                f"{source}: the key is an access token ({NEW_TOKEN}…), which Kaggle refuses as a key (401); "
                "put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token"
            ]
            if used.startswith(NEW_TOKEN)
            else []
        )
        is_file = source.startswith(str(file))
        found.append(Credential("API key", source, (*warnings, *(_open_to_others(file) if is_file else ()))))
    return found


def _oauth() -> list[Credential]:
    file = Path.home() / ".kaggle" / "credentials.json"
    try:
        record = json.loads(_text_of(file))
    except ValueError:
        return []
    if not isinstance(record, dict) or not record.get("refresh_token"):
        return []
    return [Credential("OAuth login", str(file), _open_to_others(file))]


def _key_file(file: Path) -> dict[str, str] | None:
    """`kaggle.json` when it holds what it should."""
    try:
        record = json.loads(_text_of(file))
    except ValueError:
        return None
    if not isinstance(record, dict) or not record.get("username") or not record.get("key"):
        return None
    return {"username": str(record["username"]), "key": str(record["key"])}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a token too long for a path
        return False


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _open_to_others(file: Path) -> tuple[str, ...]:
    if os.name == "nt" or not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ()
    return (f"{file} can be read by other users of this machine: chmod 600 {file}",)
