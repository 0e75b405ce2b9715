"""Candidates for generated columns: every recipe for the most relevant columns, with its values in some fit rows.

Knows columns and the target of the fit rows; must not know how candidates are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.encoders.columns import PRIOR_ROWS
from pipeline.encoders.generated import (
    Arithmetic,
    Codes,
    GroupStatistic,
    Key,
    Levels,
    OfGroup,
    OfRow,
    Operation,
    RowStatistic,
    Source,
)

# 16 numbers and 8 columns with levels: 600 columns of arithmetic, 256 of groups, 72 of keys, 14 of rows
MOST_NUMBERS, MOST_GROUPS, MOST_IN_GROUPS = 16, 8, 8
MOST_VALUES = 30  # of a number that also tells groups apart
MOST_LEVELS = 1000  # of a category; rarer ones are as missing
FEWEST_OF_SCALE, MOST_OF_SCALE, MOST_SCALES = 3, 200, 3  # columns of one scale; such scales
FACTOR_OF_SCALE = 5.0  # between the largest and the smallest spread of columns of one scale
N_PARTS = 5  # that target means are cross-fitted in
LARGEST = 1e30  # so that sums of float32 stay finite

OPERATIONS: tuple[Operation, ...] = ("+", "-", "*", "/")
OF_GROUPS: tuple[OfGroup, ...] = ("mean", "spread", "difference", "rank")
OF_ROWS: tuple[OfRow, ...] = ("sum", "spread", "highest", "lowest")

Recipe = Arithmetic | GroupStatistic | RowStatistic | Key
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """A column, or a key's target means, that may be generated."""

    recipe: Recipe
    parents: Sequence[str]  # the columns it is made of
    values: Values  # (columns, rows)
    is_count: bool = False  # of a key
    is_means: bool = False  # of a key


def levels_of(numbers: Sequence[str], categories: Sequence[str], frame: pd.DataFrame) -> Iterator[Levels]:
    """The levels in the fit rows of categories, and of numbers with few values."""
    for name in categories:
        counts = frame[name].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        texts = sorted(str(level) for level in counts.index[:MOST_LEVELS])
        if len(texts) > 1:
            yield Levels(name=name, texts=texts)
    source = Source(frame, [])
    for name in numbers:
        values = source.number(name)
        few = values[:: max(1, len(values) // 1000)]  # most numbers have too many values in a few rows
        if len(np.unique(few[~np.isnan(few)])) <= MOST_VALUES:
            known = np.unique(values[~np.isnan(values)])
            if 1 < len(known) <= MOST_VALUES:
                yield Levels(name=name, values=known.tolist())


def candidates_of(
    ranked: Sequence[str], numbers: Sequence[str], source: Source, y: FloatArray, rng: np.random.Generator
) -> Iterator[Candidate]:
    """All candidates. `ranked`: the columns, the most relevant first; `y` (rows, outputs)."""
    is_number = set(numbers)
    ranked_numbers = [name for name in ranked if name in is_number]
    many = [name for name in ranked_numbers if source.n_levels.get(name, 3) > 2][:MOST_NUMBERS]
    groups = [name for name in ranked if name in source.n_levels][:MOST_GROUPS]
    of_groups, of_rows = _of_groups(groups, many, source), _of_rows(ranked, ranked_numbers, source)
    numeric: Iterable[tuple[Arithmetic | GroupStatistic | RowStatistic, Sequence[str]]]
    numeric = chain(_arithmetic(many), of_groups, of_rows)
    for recipe, parents in numeric:
        yield Candidate(recipe, parents, float32(recipe.read(source))[None])
    parts = rng.permutation(len(y)) % N_PARTS
    for columns in (*((name,) for name in groups), *combinations(groups, 2)):
        key = Key(columns=list(columns))
        codes = np.unique(key.codes(source), return_inverse=True)[1]
        yield Candidate(key, columns, float32(np.bincount(codes)[codes])[None], is_count=True)
        yield Candidate(key, columns, float32(_cross_fitted_means(codes, y, parts)), is_means=True)


def float32(values: NDArray[np.generic]) -> Values:
    """The values as float32, without overflow."""
    return np.clip(np.asarray(values, dtype=np.float64), -LARGEST, LARGEST).astype(np.float32)


def _arithmetic(names: Sequence[str]) -> Iterator[tuple[Arithmetic, list[str]]]:
    for left, right in combinations(names, 2):
        for operation in OPERATIONS:
            yield Arithmetic(operation=operation, left=left, right=right), [left, right]
        yield Arithmetic(operation="/", left=right, right=left), [left, right]


def _of_groups(
    groups: Sequence[str], numbers: Sequence[str], source: Source
) -> Iterator[tuple[GroupStatistic, list[str]]]:
    for group in groups:
        for number in numbers[:MOST_IN_GROUPS]:
            if number != group:
                for statistic in OF_GROUPS:
                    yield GroupStatistic.fit(statistic, number, group, source), [number, group]


def _of_rows(
    ranked: Sequence[str], numbers: Sequence[str], source: Source
) -> Iterator[tuple[RowStatistic, Sequence[str]]]:
    missing = [name for name in ranked if source.frame[name].isna().any()]
    if len(missing) > 1:
        yield RowStatistic(statistic="missing", columns=missing), missing
    zeros = [name for name in numbers if (source.number(name) == 0.0).any()]
    if len(zeros) > 1:
        yield RowStatistic(statistic="zeros", columns=zeros), zeros
    for columns in _of_one_scale(numbers, source):
        for statistic in OF_ROWS:
            yield RowStatistic(statistic=statistic, columns=columns), columns


def _of_one_scale(numbers: Sequence[str], source: Source) -> list[list[str]]:
    """The largest groups of columns whose spreads differ by less than a factor."""
    spreads = {name: float(np.nan_to_num(np.nanstd(_some(source.number(name))))) for name in numbers}
    groups: list[list[str]] = []
    for name in sorted((name for name in numbers if spreads[name] > 0), key=lambda name: (spreads[name], name)):
        if not groups or spreads[name] > FACTOR_OF_SCALE * spreads[groups[-1][0]]:
            groups.append([])
        groups[-1].append(name)
    large = [one[:MOST_OF_SCALE] for one in groups if len(one) >= FEWEST_OF_SCALE]
    return sorted(large, key=len, reverse=True)[:MOST_SCALES]


def _some(values: FloatArray) -> FloatArray:
    return values if np.isfinite(values).any() else np.zeros(1)


def _cross_fitted_means(codes: Codes, y: FloatArray, parts: Codes) -> FloatArray:
    """(outputs, rows) shrunk means of each row's level in the other parts."""
    n_levels = int(codes.max()) + 1
    cells = parts * n_levels + codes
    n = np.bincount(cells, minlength=N_PARTS * n_levels).reshape(N_PARTS, n_levels)
    n = n.sum(axis=0) - n
    made = []
    for one in y.T:
        sums = np.bincount(cells, weights=one, minlength=n.size).reshape(n.shape)
        sums = sums.sum(axis=0) - sums
        prior = sums.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1)
        made.append(((sums + PRIOR_ROWS * prior) / (n + PRIOR_ROWS))[parts, codes])
    return np.stack(made)
