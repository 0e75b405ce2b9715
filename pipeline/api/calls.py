"""How API calls handle messages and turn keyword settings into a choice of run; must not know what is called."""

from __future__ import annotations

import contextvars
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pipeline.base.progress import be_quiet
from pipeline.stages.steps import Choice

P = ParamSpec("P")
R = TypeVar("R")


def isolated(method: Callable[P, R]) -> Callable[P, R]:
    """Run each call of a method in a copy of the context, silent unless `self.verbose`: nothing outlasts the call."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        owner: Any = args[0]
        context = contextvars.copy_context()
        if not owner.verbose:
            context.run(be_quiet)
        return context.run(method, *args, **kwargs)

    return call


def choice_of(preset: str, model: str | None, settings: Mapping[str, Any]) -> Choice:
    """The choice of a run; in the keys of `settings`, `__` stands for a dot."""
    values = {key: json.dumps(value, default=lambda number: number.item()) for key, value in settings.items()}
    return Choice(preset, model, [f"{key.replace('__', '.')}={value}" for key, value in values.items()])
