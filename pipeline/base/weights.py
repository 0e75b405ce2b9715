"""Weights of pretrained models: files and folders that a user has, found by path. Nothing is fetched here.

Must not know any model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import SpecError

VARIABLE = "PIPELINE_WEIGHTS"  # folders, separated as in PATH; at Kaggle those of the attached data sets
HUGGING_FACE = "huggingface"  # in place of a path: the user asks for a download
SUFFIXES = (".ckpt", ".safetensors", ".pt", ".pth")
MAX_DEPTH = 5  # levels of folders searched below one of VARIABLE
KINDS = {True: "classifier", False: "regressor"}  # what the name of a file for the other task contains


def located(given: str, beside: Path | None = None) -> Path | None:
    """The file or folder `given`, relative to `beside` or the working directory; None if there is none.

    What is not there is looked for by its name below the folders of PIPELINE_WEIGHTS.
    """
    path = (beside or Path()) / Path(given).expanduser()
    if path.exists():
        return path
    found = (inside for folder in _folders() for inside in _walk(folder) if inside.name == path.name)
    return next(found, None)


def checkpoint_of(model: str, given: str, *, is_regression: bool) -> Path | None:
    """The file with a model's weights: `given`, or the one for the task in that folder or in those of PIPELINE_WEIGHTS.

    Files are known by published names, which begin with the model's. None if there is none; raises SpecError if there
    are several.
    """
    place = located(given) if given else None
    if given and (place is None or place.is_file()):
        return place
    places = _folders() if place is None else [place]
    found = {path.name: path for folder in places for path in _walk(folder) if _is_for(path, model, is_regression)}
    if len(found) > 1:
        what = f"several weights of {model} fit: {', '.join(sorted(found))}"
        raise SpecError(what, where=given or VARIABLE, hint=f"Name one: --set weights={min(found)}")
    return next(iter(found.values()), None)


def where_looked() -> str:
    """The places that `located` searches besides the path itself, for a message."""
    folders = ", ".join(map(str, _folders()))
    return f"Below {folders} ({VARIABLE}) there is none either." if folders else f"{VARIABLE} names no folder."


def contents(path: Path) -> dict[str, str]:
    """The files of a folder, or "" for a single file -> sha256. Hidden files are not weights."""
    if path.is_file():
        return {"": files.sha256_of(path)}
    inside = {one.relative_to(path).as_posix(): one for one in sorted(path.rglob("*")) if one.is_file()}
    return {name: files.sha256_of(one) for name, one in inside.items() if not _is_hidden(name)}


def sha256_of(path: Path | None) -> str | None:
    """One hash of a file or of all files of a folder; None for None."""
    if path is None:
        return None
    found = contents(path)
    return found[""] if "" in found else files.sha256_of_json(found)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _is_for(path: Path, model: str, is_regression: bool) -> bool:
    name = path.name.lower()
    return name.startswith(model) and path.suffix in SUFFIXES and KINDS[is_regression] not in name and path.is_file()


def _folders() -> list[Path]:
    named = [Path(name).expanduser() for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    return [folder for folder in named if folder.is_dir()]


def _walk(top: Path) -> Iterator[Path]:
    """Everything below `top`, level by level, down to MAX_DEPTH."""
    level = [top]
    for _ in range(MAX_DEPTH):
        inside = sorted(child for folder in level for child in folder.iterdir() if not child.name.startswith("."))
        yield from inside
        level = [child for child in inside if child.is_dir()]
