"""TOML tables as pydantic models. A mistake is a SpecError that names file, table, key and the nearest valid key.

Must not know any table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.base import files
from pipeline.base.errors import SpecError, did_you_mean

MOST_ROWS = 2**31 - 1  # the upper bound of settings that count rows, epochs or seeds: an int32
OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}

ModelT = TypeVar("ModelT", bound=BaseModel)


class Table(BaseModel):
    """A TOML table. It is immutable and refuses unknown keys, infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def bounded(default: Any, *, usual: str, description: str, **bounds: Any) -> Any:
    """Return a field with `bounds` (gt, ge, lt, le); a message about a value beyond them names the `usual` ones."""
    return Field(default=default, description=description, json_schema_extra={"usual": usual}, **bounds)


def read_text(path: Path) -> str:
    """Read a text file that a user wrote. Raises SpecError."""
    try:
        return files.decoded(path.read_bytes())
    except UnicodeError as error:
        raise SpecError("is not UTF-8 text", where=str(path), hint="Save the file as UTF-8.") from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file. Raises SpecError."""
    text = read_text(path)
    try:
        return parse_toml(text)
    except ValueError as error:
        raise SpecError(f"is not valid TOML: {error}", where=str(path)) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises TOMLDecodeError, or another ValueError for values that Python refuses."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def validated(model: type[ModelT], raw: Mapping[str, Any], *, where: str) -> ModelT:
    """Return `raw` as a `model`. Raises SpecError that lists each mistake as `[table] key: what`."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_mistake(model, item) for item in error.errors(include_url=False)]
        raise SpecError("\n  ".join(["the configuration has mistakes:", *lines]), where=where) from None


def _mistake(model: type[BaseModel], item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    table = f"[{'.'.join(location[:-1])}] " if len(location) > 1 else ""
    key = location[-1] if location else "the file"
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"{table}unknown key {key!r}. {did_you_mean(key, known)}"
    if item["type"] == "missing":
        return f"{table}missing key {key!r}"
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], dict | BaseModel):  # the mistake is in the table as a whole
        return f"[{'.'.join(location)}] {message}" if location else message
    usual = _usual_at(model, item["loc"]) if item["type"] in OUT_OF_RANGE else ""
    return f"{table}{key}: {message} (it is {shown_value(item['input'])}){usual}"


def shown_value(value: Any, most: int = 60) -> str:
    """Return the value for a message, cut after `most` characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}…"


def _usual_at(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Return `; usual: ...` for the setting at `location`, if it says what is usual."""
    names = [part for part in location if isinstance(part, str) and "[" not in part]
    for number, name in enumerate(names):
        field = model.model_fields.get(name)
        if field is None:
            return ""
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "usual" in extra:
            return f"; usual: {extra['usual']}"
        inner = field.annotation
        if number == len(names) - 1 or not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ""
        model = inner
    return ""


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Return the keys of the nested table at `location`."""
    annotation: Any = model
    for part in location:
        if get_origin(annotation) is dict:  # a table with free keys
            annotation = get_args(annotation)[1]
            continue
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        field = annotation.model_fields.get(part)
        annotation = field.annotation if field else None
    is_table = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return list(annotation.model_fields) if is_table else []
