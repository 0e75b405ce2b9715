"""Columns computed from others: arithmetic of numbers, numbers within groups, keys of levels, statistics of a row.

Knows what was learned of the fit rows; must not know targets, or how the columns were chosen (`generating.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.encoders.columns import Fitted, level_codes

Operation = Literal["+", "-", "*", "/"]
OfGroup = Literal["mean", "spread", "difference", "rank"]
OfRow = Literal["missing", "zeros", "sum", "spread", "highest", "lowest"]
Codes = NDArray[np.intp]

RANKS = np.linspace(0.05, 0.95, 19)  # the quantiles of a group that a row's rank is read from
FEWEST_IN_GROUP = 20  # fit rows; the statistics of a smaller group are those of all rows


class Levels(Fitted):
    """What tells groups of rows apart: the texts of a category, or the few values of a number."""

    name: str
    texts: list[str] = Field(default=[])
    values: list[float] = Field(default=[])  # ascending

    def __len__(self) -> int:
        return len(self.texts) + len(self.values)

    def codes(self, frame: pd.DataFrame) -> Codes:
        """(rows,) the position of each row's level; -1 for missing and other ones."""
        if not self.values:
            return level_codes(frame[self.name], self.texts)
        values, known = number_of(frame[self.name]), np.array(self.values)
        found = np.minimum(np.searchsorted(known, values), len(known) - 1)
        return cast(Codes, np.where(known[found] == values, found, -1))


class Source:
    """The columns of one frame, each read once."""

    def __init__(self, frame: pd.DataFrame, levels: Sequence[Levels]) -> None:
        self.frame, by_name = frame, {one.name: one for one in levels}
        self.n_levels = {name: len(one) for name, one in by_name.items()}
        columns: dict[str, pd.Series] = {str(name): frame[name] for name in frame.columns}
        self.number = cache(lambda name: number_of(columns[name]))
        self.codes = cache(lambda name: by_name[name].codes(frame))
        self.numbers = cache(lambda *names: np.stack([self.number(name) for name in names]))


class Arithmetic(Fitted):
    """Two numbers added, subtracted, multiplied or divided."""

    operation: Operation
    left: str
    right: str

    @property
    def label(self) -> str:
        """What the column is called."""
        return f"{self.left} {self.operation} {self.right}"

    def read(self, source: Source) -> FloatArray:
        """(rows,) NaN where a number is missing, and for a division by zero."""
        left, right = source.number(self.left), source.number(self.right)
        with np.errstate(all="ignore"):
            made = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[self.operation](left, right)
        return finite(made)


class GroupStatistic(Fitted):
    """A number against the fit rows with the same level: their mean or spread, or where it lies among them."""

    statistic: OfGroup
    number: str
    group: str
    table: list[list[float]]  # (levels + 1, 1 or RANKS); the last row is for missing and other levels

    @property
    def label(self) -> str:
        """What the column is called."""
        return f"{self.statistic} of {self.number} in {self.group}"

    def read(self, source: Source) -> FloatArray:
        """(rows,) NaN where the number is missing and counts."""
        by_row = np.array(self.table)[source.codes(self.group)]
        if self.statistic in ("mean", "spread"):
            return cast(FloatArray, by_row[:, 0])
        number = source.number(self.number)
        if self.statistic == "difference":
            return finite(number - by_row[:, 0])
        rank = (by_row < number[:, None]).mean(axis=1) + (by_row <= number[:, None]).mean(axis=1)
        return np.where(np.isnan(number), np.nan, rank / 2.0)

    @classmethod
    def fit(cls, statistic: OfGroup, number: str, group: str, source: Source) -> GroupStatistic:
        """Learn from the fit rows."""
        values, codes, n_levels = source.number(number), source.codes(group), source.n_levels[group]
        known = ~np.isnan(values)
        of_all = _statistic(statistic, values[known])
        kept = known & (codes >= 0)
        order = np.flatnonzero(kept)[np.argsort(codes[kept], kind="stable")]
        ends = np.searchsorted(codes[order], np.arange(n_levels + 1))
        table = [
            _statistic(statistic, values[order[start:end]]) if end - start >= FEWEST_IN_GROUP else of_all
            for start, end in pairwise(ends)
        ]
        return cls(statistic=statistic, number=number, group=group, table=[*table, of_all])


class RowStatistic(Fitted):
    """The number of missing cells or zeros of a row, or a statistic of its columns of the same scale."""

    statistic: OfRow
    columns: list[str]

    @property
    def label(self) -> str:
        """What the column is called."""
        return f"{self.statistic} of {len(self.columns)} columns from {self.columns[0]}"

    def read(self, source: Source) -> FloatArray:
        """(rows,) of the cells that are not missing; NaN if all are."""
        if self.statistic == "missing":
            return cast(FloatArray, source.frame[self.columns].isna().to_numpy().sum(axis=1).astype(np.float64))
        numbers = source.numbers(*self.columns)  # (columns, rows)
        if self.statistic == "zeros":
            return cast(FloatArray, (numbers == 0.0).sum(axis=0).astype(np.float64))
        known = ~np.isnan(numbers)
        with np.errstate(all="ignore"):
            if self.statistic == "highest":
                made = np.where(known, numbers, -np.inf).max(axis=0)
            elif self.statistic == "lowest":
                made = np.where(known, numbers, np.inf).min(axis=0)
            else:
                n, total = known.sum(axis=0), np.where(known, numbers, 0.0).sum(axis=0)
                mean = total / n
                made = np.where(n > 0, total, np.nan)
                if self.statistic == "spread":
                    made = np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).sum(axis=0) / n)
        return finite(made)


class Key(Fitted):
    """The levels of one column, or of two together, as a text: becomes counts and target means."""

    columns: list[str]

    @property
    def label(self) -> str:
        """What the key is called."""
        return f"{' & '.join(self.columns)} {'levels' if len(self.columns) > 1 else 'level'}"

    def codes(self, source: Source) -> Codes:
        """(rows,) -1 where a level is missing or was not in the fit rows."""
        made = source.codes(self.columns[0])
        for name in self.columns[1:]:
            codes = source.codes(name)
            made = np.where((made < 0) | (codes < 0), -1, made * source.n_levels[name] + codes)
        return made

    def read(self, source: Source) -> pd.Series:
        """(rows,) texts; missing where `codes` are -1."""
        distinct, positions = np.unique(self.codes(source), return_inverse=True)
        texts = np.array([None if code < 0 else str(code) for code in distinct.tolist()], dtype=object)
        made: pd.Series = pd.Series(texts[positions], index=source.frame.index, dtype=TEXT)
        return made


class Generated(Fitted):
    """The generated columns of a table: how each is computed from a row's own cells."""

    levels: list[Levels] = Field(default=[])
    arithmetic: dict[str, Arithmetic] = Field(default={})  # column -> recipe
    groups: dict[str, GroupStatistic] = Field(default={})
    rows: dict[str, RowStatistic] = Field(default={})
    keys: dict[str, Key] = Field(default={})
    counted: list[str] = Field(default=[])  # keys of which the number of fit rows is a column
    averaged: list[str] = Field(default=[])  # keys whose target means are columns

    @property
    def numbers(self) -> list[str]:
        """The columns that are numbers."""
        return [*self.arithmetic, *self.groups, *self.rows]

    @property
    def columns_read(self) -> set[str]:
        """The columns that are read."""
        read = {name for one in self.arithmetic.values() for name in (one.left, one.right)}
        read |= {name for one in self.groups.values() for name in (one.number, one.group)}
        return read | {name for some in (self.rows, self.keys) for one in some.values() for name in one.columns}

    def read(self, frame: pd.DataFrame) -> dict[str, FloatArray | pd.Series]:
        """Each row's numbers, and its keys as texts."""
        source = Source(frame, self.levels)
        return {
            name: one.read(source)
            for some in (self.arithmetic, self.groups, self.rows, self.keys)
            for name, one in some.items()
        }


def number_of(column: pd.Series) -> FloatArray:
    """(rows,) float64; NaN for missing, infinite, and what is no number."""
    return finite(pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))


def finite(values: FloatArray) -> FloatArray:
    """The values, NaN for infinite ones."""
    return np.where(np.isfinite(values), values, np.nan)


def _statistic(statistic: OfGroup, values: FloatArray) -> list[float]:
    if not len(values):
        return [np.nan] * (len(RANKS) if statistic == "rank" else 1)
    if statistic == "rank":
        return [float(value) for value in np.quantile(values, RANKS)]
    return [float(values.std() if statistic == "spread" else values.mean())]
