"""Search spaces of tuning: a TOML file for each model, overridden by the spec. Must not know models or Optuna."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.table import Table, validated
from pipeline.metrics import Task


class SpaceEntry(Table):
    """A parameter in a search space: a range or a list of choices."""

    low: float | None = Field(default=None, description="lower bound of the range")
    high: float | None = Field(default=None, description="upper bound of the range")
    log: bool = Field(default=False, description="sample on a log scale")
    whole: bool = Field(default=False, description="whole numbers only")
    choices: list[Any] | None = Field(default=None, description="values to choose from, instead of a range")
    when: dict[str, Any] = Field(default={}, description="sample only if other parameters have these values")
    most_numbers: int | None = Field(default=None, description="do not sample for tables with more numeric columns")
    tasks: list[Task] = Field(default=["regression", "binary", "multiclass"], description="sample for these tasks only")

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> SpaceEntry:
        is_range = self.low is not None and self.high is not None
        if is_range == (self.choices is not None):
            raise ValueError("needs either low and high, or choices")
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
    """Return the entries of `text`, overridden by the spec's `own`, that suit the task and `n_numbers` numeric columns.

    Raises SpecError.
    """
    space = {
        name: validated(SpaceEntry, raw, where=f"search space of {model}, {name}")
        for name, raw in tomllib.loads(text).items()
    }
    space |= own
    for name, entry in space.items():
        for other in entry.when:
            if other not in space:
                hint = did_you_mean(other, space)
                raise SpecError(f"{name} depends on the unknown {other!r}", where=f"[tune.{model}]", hint=hint)
    fitting = {
        name: entry
        for name, entry in space.items()
        if task in entry.tasks and (entry.most_numbers is None or n_numbers <= entry.most_numbers)
    }
    return {name: entry for name, entry in fitting.items() if all(other in fitting for other in entry.when)}
