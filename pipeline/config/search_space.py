"""What tuning may vary: a TOML file beside each model, and the spec's entries over it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.table import Table, validated
from pipeline.metrics import Task


class SpaceEntry(Table):
    """One dimension of a search space: a range, or choices; `when` names the choices of others it depends on."""

    low: float | None = Field(default=None, description="lower end of a range")
    high: float | None = Field(default=None, description="upper end of a range")
    log: bool = Field(default=False, description="sample the range on a log scale")
    whole: bool = Field(default=False, description="whole numbers only")
    choices: list[Any] | None = Field(default=None, description="values to choose from, instead of a range")
    when: dict[str, Any] = Field(default={}, description="sampled only where other parameters have these values")
    most_numbers: int | None = Field(default=None, description="not sampled for tables with more numeric columns")
    tasks: list[Task] = Field(
        default=["regression", "binary", "multiclass"], description="sampled for these tasks only"
    )

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> SpaceEntry:
        is_range = self.low is not None and self.high is not None
        if is_range == (self.choices is not None):
            raise ValueError("wants either low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and (self.low or 0.0) <= 0:
            raise ValueError("a log range must start above 0")
        if self.choices is not None and not self.choices:
            raise ValueError("choices is empty")
        return self


def parse_search_space(
    text: str, model: str, task: Task, own: Mapping[str, SpaceEntry], *, n_numbers: int = 0
) -> dict[str, SpaceEntry]:
    """The search space in `text` for a task and a table of `n_numbers` numeric columns, a spec's `own` entries over it.

    Raises SpecError.
    """
    known = tomllib.loads(text)
    space = {name: validated(SpaceEntry, raw, where=f"search space of {model}, {name}") for name, raw in known.items()}
    space |= own
    for name, entry in space.items():
        for other in entry.when:
            if other not in space:
                raise SpecError(
                    f"{name} depends on {other!r}", where=f"[tune.{model}]", hint=did_you_mean(other, space)
                )
    fitting = {
        name: entry
        for name, entry in space.items()
        if task in entry.tasks and (entry.most_numbers is None or n_numbers <= entry.most_numbers)
    }
    return {name: entry for name, entry in fitting.items() if all(other in fitting for other in entry.when)}
