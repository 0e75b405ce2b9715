"""The portfolio: the configurations that the race may train, their costs, and their order by kind of table.

Knows `portfolio.toml` and the names of models; must not know data, runs or clocks.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import Field

from pipeline.config.table import MOST_ROWS, Table, validated
from pipeline.metrics import Task


class Cost(Table):
    """Seconds of one seed on the five folds of House Prices with two cores, and how they grow."""

    seconds: float
    rows: float = 0.7  # exponent
    columns: float = 0.3  # exponent
    classes_factor: float = 1.0  # of two classes, relative to regression
    classes: float = 0.0  # exponent of the number of classes minus 1
    characters: float = 5.0  # more seconds for a million characters of sentences: their components are learned


class Smaller(Table):
    """A cheaper version of a variant."""

    set: list[str]  # key=value, after those of the variant
    cost: float = Field(gt=0, lt=1)  # relative to the variant's


class Variant(Table):
    """A configuration of a model, and what it costs."""

    model: str
    set: list[str] = Field(default=[])  # key=value, as of --set
    set_for_classes: list[str] | None = None  # for classification, if different
    seeds: int = 1
    is_probe: bool = False
    follows: str | None = None  # only tried when this variant has much weight in the ensemble
    is_absolute: bool = False  # only for metrics of absolute errors
    max_rows: int = MOST_ROWS
    columns_per_split: int | None = None  # of trees: at most so many are sampled, of a tree or a split
    cost: Cost
    smaller: list[Smaller] = Field(default=[])


class Regime(Table):
    """A kind of table, and the variants to try on it, in order."""

    max_rows: int = MOST_ROWS
    min_columns: int = 0
    tasks: list[Task] = Field(default=["regression", "binary", "multiclass"])
    order: list[str]

    def fits(self, task: Task, n_rows: int, n_columns: int) -> bool:
        """Whether a table is of this kind."""
        return task in self.tasks and n_rows <= self.max_rows and n_columns >= self.min_columns


class Portfolio(Table):
    """All variants by name, and the regimes; the first one that fits is used."""

    texts_first: list[str]
    regimes: list[Regime]
    variants: dict[str, Variant]

    def order_for(
        self, task: Task, n_rows: int, n_columns: int, *, has_sentences: bool, is_absolute: bool
    ) -> list[str]:
        """The names of the variants to try on a table, in order."""
        regime = next(one for one in self.regimes if one.fits(task, n_rows, n_columns))
        names = [*(self.texts_first if has_sentences else ()), *regime.order]
        variants = [(name, self.variants[name]) for name in names]
        return [name for name, one in variants if n_rows <= one.max_rows and (is_absolute or not one.is_absolute)]


@cache
def portfolio() -> Portfolio:
    """The built-in portfolio."""
    text = resources.files("pipeline.best").joinpath("portfolio.toml").read_text("utf-8")
    return validated(Portfolio, tomllib.loads(text), where="portfolio.toml")
