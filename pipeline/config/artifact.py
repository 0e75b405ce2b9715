"""The base class of JSON files that one stage writes and another reads: one type and one format number each.

Must not know the content of any artifact.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from pipeline.base import files
from pipeline.base.errors import ArtifactError, NewerFormatError
from pipeline.base.progress import say
from pipeline.config.table import shown_value

ArtifactT = TypeVar("ArtifactT", bound="Artifact")

CHECKSUM = "checksum"  # key of the file, not of the object; files without it are not compared
MAX_MISTAKES = 3  # listed in an error message

# A score or a difference of scores, which may be undefined. JSON has no NaN: the file holds null, the object NaN.
Score = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, when_used="json"),
]


class Record(BaseModel):
    """A part of an artifact. It is immutable and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def updated(self, **changes: Any) -> Self:
        """Return a validated copy with other values."""
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)


class Artifact(Record):
    """A JSON file. A subclass declares `format: Literal[N] = N`, which is raised when its content changes.

    `WHAT` names the file in messages; `REMEDY` is the hint for a broken one, with `{path}` and `{folder}` filled in.
    """

    WHAT: ClassVar[str]
    REMEDY: ClassVar[str] = "Delete {path} and run the same command again."

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate the file. Raises ArtifactError."""
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError("does not exist", where=str(path)) from error
        except OSError as error:
            raise ArtifactError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
        return cls.parse(content, where=str(path), hint=cls.REMEDY.format(path=path, folder=path.parent))

    @classmethod
    def read_or_none(cls, path: Path, *, otherwise: str, may_be_newer: bool = False) -> Self | None:
        """Read the file; return None if it does not exist, or is broken, which a message ending in `otherwise` says.

        Raises NewerFormatError for a file of a newer version, which would be replaced, unless it `may_be_newer`.
        """
        return read_or_none(cls.read, path, otherwise=otherwise, may_be_newer=may_be_newer)

    @classmethod
    def parse(cls, content: bytes, *, where: str, hint: str = "") -> Self:
        """Validate a file's content strictly: all keys, no others, values of the exact types. Raises ArtifactError."""

        def broken(what: str) -> ArtifactError:
            return ArtifactError(what, where=where, hint=hint)

        checksums: list[Any] = [None]  # of the artifacts inside this one, then its own

        def unsealed(table: dict[str, Any]) -> dict[str, Any]:
            if "format" in table:
                checksums.append(table.pop(CHECKSUM, None))
            return table

        def outdated(how: str) -> ArtifactError:
            return broken(f"is not {cls.WHAT} of this version: {how}")

        if not content.strip():
            raise broken("is empty")
        try:
            raw = json.loads(content, parse_constant=_refuse, object_hook=unsealed)
        except (ValueError, RecursionError) as error:
            raise broken(f"cannot be read: it is not a complete JSON file ({error})") from error
        current = cls.model_fields["format"].default
        if not isinstance(raw, dict) or "format" not in raw:
            raise outdated("it has no key 'format'")
        if type(raw["format"]) is not int:
            raise outdated(f"its format is {raw['format']!r}, not {current}")
        if raw["format"] > current:
            what = f"was made by a newer version of this program (format {raw['format']}; this version reads {current})"
            raise NewerFormatError(what, where=where, hint=f"Update the program. Or: {hint}" if hint else "")
        if raw["format"] < current:
            raise broken(f"was made by an older version of this program (format {raw['format']}, now {current})")
        try:
            artifact = cls.model_validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            mistakes = [describe_mistake(one) for one in error.errors(include_url=False)]
        else:
            mistakes = _differences(raw, artifact.model_dump(mode="json"))
            if not mistakes and checksums[-1] not in (None, _checksum(raw)):
                raise broken(f"was changed after it was written: its {CHECKSUM} is another one")
        if mistakes:
            more = f" and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
            raise outdated("; ".join(mistakes[:MAX_MISTAKES]) + more)
        return artifact

    def write(self, path: Path) -> None:
        """Write the file atomically, with a checksum of its content. Raises ArtifactError."""
        raw = self.model_dump(mode="json")
        files.write_json(path, raw | {CHECKSUM: _checksum(raw)})


def _checksum(raw: dict[str, Any]) -> str:
    return files.sha256_of_json(raw)[:16]


def read_or_none(
    read: Callable[[Path], ArtifactT], path: Path, *, otherwise: str, may_be_newer: bool = False
) -> ArtifactT | None:
    """Return `read(path)` as `Artifact.read_or_none` does."""
    if not os.path.lexists(path):  # a link to nowhere is a broken file
        return None
    try:
        return read(path)
    except ArtifactError as error:
        if isinstance(error, NewerFormatError) and not may_be_newer:
            raise
        say(f"{error.where}: {error.what}; {otherwise}")
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def describe_mistake(error: Any) -> str:
    """Describe one of a ValidationError's errors: key, rule, value."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"missing key {key!r}"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"{key}: {error['msg']} (it is {shown_value(error['input'])})"


def _differences(raw: Any, kept: Any, key: str = "") -> list[str]:
    """What validation let pass: missing keys with defaults, ignored keys of dataclasses, converted values."""
    if raw == kept:
        return []
    if isinstance(raw, dict) and isinstance(kept, dict):
        prefix = f"{key}." if key else ""
        found = [f"missing key {prefix + name!r}" for name in kept if name not in raw]
        found += [f"unknown key {prefix + name!r}" for name in raw if name not in kept]
        for name in raw.keys() & kept.keys():
            found += _differences(raw[name], kept[name], prefix + name)
        return found
    if isinstance(raw, list) and isinstance(kept, list) and len(raw) == len(kept):
        pairs = enumerate(zip(raw, kept, strict=True))
        return [one for number, (old, new) in pairs for one in _differences(old, new, f"{key}.{number}")]
    return [f"{key}: {shown_value(raw)} is not a valid value"]
