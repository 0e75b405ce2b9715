"""The base class of JSON files that one stage writes and another reads: one type and one format number each.

Must not know the content of any artifact.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.progress import say

MAX_MISTAKES = 3  # listed in an error message
MAX_SHOWN = 60  # characters of a wrong value

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
    def read_or_none(cls, path: Path, *, otherwise: str) -> Self | None:
        """Read the file; return None if it does not exist, or is broken, which a message ending in `otherwise` says."""
        if not path.exists():
            return None
        try:
            return cls.read(path)
        except ArtifactError as error:
            say(f"{error.where}: {error.what}; {otherwise}")
            return None

    @classmethod
    def parse(cls, content: bytes, *, where: str, hint: str = "") -> Self:
        """Validate a file's content strictly: all keys, no others, values of the exact types. Raises ArtifactError."""

        def broken(what: str) -> ArtifactError:
            return ArtifactError(what, where=where, hint=hint)

        def outdated(how: str) -> ArtifactError:
            return broken(f"is not {cls.WHAT} of this version: {how}")

        if not content.strip():
            raise broken("is empty")
        try:
            raw = json.loads(content, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise broken(f"cannot be read: it is not a complete JSON file ({error})") from error
        current = cls.model_fields["format"].default
        if not isinstance(raw, dict) or "format" not in raw:
            raise outdated("it has no key 'format'")
        if type(raw["format"]) is not int or raw["format"] != current:
            raise outdated(f"its format is {raw['format']!r}, not {current}")
        try:
            artifact = cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            mistakes = [describe_mistake(one) for one in error.errors(include_url=False)]
        else:
            mistakes = _differences(raw, artifact.model_dump(mode="json"))
        if mistakes:
            more = f" and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
            raise outdated("; ".join(mistakes[:MAX_MISTAKES]) + more)
        return artifact

    def write(self, path: Path) -> None:
        """Write the file atomically. Raises ArtifactError."""
        files.write_json(path, self.model_dump(mode="json"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def describe_mistake(error: Any) -> str:
    """Describe one of a ValidationError's errors: key, rule, value."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"missing key {key!r}"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"{key}: {error['msg']} (it is {_shown(error['input'])})"


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
    return [f"{key}: {_shown(raw)} is not a valid value"]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
