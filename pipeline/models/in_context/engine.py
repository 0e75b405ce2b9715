"""The contract of a library with a pretrained model: its limits, and how it predicts rows from a context.

Knows arrays and the path of weights; must not know frames, splits or storage.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.base import weights
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import PipelineError, SpecError, TrainingError
from pipeline.base.interruption import Stopped
from pipeline.base.progress import say


@dataclass(frozen=True)
class Limits:
    """What the weights were made for; None: the library names no limit."""

    rows: int | None  # of the context
    columns: int | None
    classes: int | None


@dataclass(frozen=True)
class Context:
    """The rows that a prediction is made from. Missing numbers are NaN, categories are codes."""

    x: NDArray[np.float32]  # (rows, columns)
    y: NDArray[Any]  # (rows,) numbers, or integer codes of at least two classes
    categories: tuple[int, ...]  # positions of the category columns


@dataclass(frozen=True)
class Reading:
    """How a context is read."""

    weights: Path
    is_regression: bool
    wants_median: bool  # of the predicted distribution, instead of its mean
    estimators: int
    seed: int
    device: torch.device


Predict = Callable[[NDArray[np.float32]], FloatArray]  # rows -> (rows,) or (rows, classes of the context)


class Engine(Protocol):
    """A library. `networks` are those whose passes can be interrupted."""

    model: ClassVar[str]  # its name in the registry
    package: ClassVar[str]
    licence: ClassVar[str]  # of the weights, said once; "" for one without conditions

    def limits(self, path: Path, *, is_regression: bool) -> Limits:
        """Read the limits from the weights. Raises any error for a file that holds no such weights."""
        ...

    def published(self, *, is_regression: bool) -> tuple[str, str]:
        """The repository at Hugging Face, and the name of the file."""
        ...

    def reader(self, context: Context, how: Reading, check_stop: Callable[[], None]) -> Predict:
        """What predicts rows from the context."""
        ...


def find_weights(engine: Engine, given: str, *, is_regression: bool) -> Path:
    """The weights' file. Raises SpecError; nothing is fetched unless `given` asks for it."""
    where = f"[params] weights of {engine.model}"
    if importlib.util.find_spec(engine.package) is None:
        hint = "pip install -e '.[foundation]', or choose another model."
        raise SpecError(f"the package {engine.package} is not installed", where=where, hint=hint)
    if given == weights.HUGGING_FACE:
        path = _fetched(engine, is_regression=is_regression)
    else:
        found = weights.checkpoint_of(engine.model, given, is_regression=is_regression)
        if found is None:
            kind = "regression" if is_regression else "classes"
            hint = (
                f"Nothing is downloaded by itself. Name the file or its folder (--set weights=PATH), a folder in "
                f"{weights.VARIABLE}, or --set weights={weights.HUGGING_FACE} to fetch it. {weights.where_looked()}"
            )
            what = f"{given!r} has no weights for {kind}" if given else f"there are no weights for {kind}"
            raise SpecError(what, where=where, hint=hint)
        path = found
    if engine.licence:
        _say_once(f"{engine.model}: {engine.licence}")
    return path


def limits_of(engine: Engine, path: Path, *, is_regression: bool) -> Limits:
    """What the weights were made for. Raises SpecError for a file that holds no weights for the task."""
    try:
        return engine.limits(path, is_regression=is_regression)
    except PipelineError:
        raise
    except Exception as error:  # each library raises its own errors
        kind = "regression" if is_regression else "classes"
        what = f"{path} cannot be read as weights of {engine.model} for {kind}: {_first_line(error)}"
        raise SpecError(what, where=f"[params] weights of {engine.model}") from error


@contextmanager
def told_errors(engine: Engine) -> Iterator[None]:
    """Turn the library's errors into a TrainingError."""
    try:
        yield
    except (PipelineError, Stopped):
        raise
    except Exception as error:
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        hint = "Lower context_rows: --set context_rows=2000" if is_memory else ""
        raise TrainingError(f"{engine.model} failed: {_first_line(error)}", hint=hint) from error


def interruptible(network: torch.nn.Module, check_stop: Callable[[], None]) -> None:
    """Call `check_stop` before each layer of the network, as one pass can take minutes."""
    for layer in network.modules():
        layer.register_forward_pre_hook(lambda *_: check_stop())


def _fetched(engine: Engine, *, is_regression: bool) -> Path:
    from huggingface_hub import hf_hub_download

    repository, name = engine.published(is_regression=is_regression)
    _say_once(f"{engine.model}: {name} of {repository} at Hugging Face, or its copy in the local cache")
    try:
        return Path(hf_hub_download(repo_id=repository, filename=name))
    except Exception as error:
        what = f"{name} cannot be fetched from {repository}: {_first_line(error)}"
        hint = f"See https://huggingface.co/{repository}; or name a file: --set weights=PATH."
        raise SpecError(what, where=f"[params] weights of {engine.model}", hint=hint) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@cache
def _say_once(message: str) -> None:
    say(message)
