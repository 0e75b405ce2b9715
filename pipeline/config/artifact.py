"""The base of every JSON file that a stage writes and another reads: one type, one format number, checked whole.

Must not know what any artifact holds.
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

MOST_SHOWN = 3  # mistakes of a file that are listed


# A score or a difference of scores, which may be undefined. JSON has no NaN: the file holds null, the object NaN.
Score = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, when_used="json"),
]


class Record(BaseModel):
    """A part of an artifact: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def updated(self, **changes: Any) -> Self:
        """The same with other values, checked."""
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)


class Artifact(Record):
    """A JSON file. A subclass declares `format: Literal[...]` with its number as the default.

    `WHAT` names the file in messages; `REMEDY` says what to do about a broken one (`{path}`, `{folder}`).
    """

    WHAT: ClassVar[str]
    REMEDY: ClassVar[str] = "Delete {path} and run the same command again."

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check the file. Raises ArtifactError."""
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError("is not there", where=str(path)) from error
        except OSError as error:
            raise ArtifactError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
        return cls.parse(content, where=str(path), hint=cls.REMEDY.format(path=path, folder=path.parent))

    @classmethod
    def read_or_none(cls, path: Path, *, otherwise: str) -> Self | None:
        """The file's content; None where there is no file or a broken one, of which one line says what is done."""
        if not path.exists():
            return None
        try:
            return cls.read(path)
        except ArtifactError as error:
            say(f"{error.where}: {error.what}; {otherwise}")
            return None

    @classmethod
    def parse(cls, content: bytes, *, where: str, hint: str = "") -> Self:
        """Check a file's content: every key there, none more, each value of its type. Raises ArtifactError."""

        def broken(what: str) -> ArtifactError:
            return ArtifactError(what, where=where, hint=hint)

        if not content.strip():
            raise broken("is empty")
        try:
            raw = json.loads(content, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise broken(f"cannot be read: it is not a complete JSON file ({error})") from error
        current = cls.model_fields["format"].default
        if not isinstance(raw, dict) or "format" not in raw:
            raise broken(f"is not {cls.WHAT} of this version: it has no key 'format'")
        if type(raw["format"]) is not int or raw["format"] != current:
            raise broken(f"is not {cls.WHAT} of this version: its format is {raw['format']!r}, not {current}")
        try:
            artifact = cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            found = [describe_mistake(one) for one in error.errors(include_url=False)]
        else:
            kept = artifact.model_dump(mode="json")
            found = [] if raw == kept else _differences(raw, kept)
        if found:
            more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
            raise broken(f"is not {cls.WHAT} of this version: {'; '.join(found[:MOST_SHOWN])}{more}")
        return artifact

    def write(self, path: Path) -> None:
        """Write the file atomically. Raises ArtifactError."""
        files.write_json(path, self.model_dump(mode="json"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def describe_mistake(error: Any) -> str:
    """Return one of a ValidationError's errors in words: key, rule, value."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"missing key {key!r}"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"{key}: {error['msg']} (it is {_shown(error['input'])})"


def _differences(raw: Any, kept: Any, key: str = "") -> list[str]:
    """What validation let pass: keys that a default replaced, keys that were ignored, values that were converted."""
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
    return [] if raw == kept else [f"{key}: {_shown(raw)} is not a value it can have"]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
