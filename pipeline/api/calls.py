"""What all calls of the API have in common: they leave nothing behind, and settings are given as keywords.

Knows messages and how a run is overridden; must not know what is called.
"""

from __future__ import annotations

import contextvars
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pipeline.base.progress import be_quiet


class _Speaker(Protocol):
    verbose: bool


S = TypeVar("S", bound=_Speaker)
P = ParamSpec("P")
R = TypeVar("R")


def isolated(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run every call in a copy of the context: the mark of its messages ends with it, and so does their silence."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        context = contextvars.copy_context()
        if not self.verbose:
            context.run(be_quiet)
        return context.run(method, self, *args, **kwargs)

    return call


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the `key=value` texts that a run configuration takes; `__` in a key is a dot."""
    return [
        f"{key.replace('__', '.')}={json.dumps(value, default=lambda number: number.item())}"
        for key, value in settings.items()
    ]
