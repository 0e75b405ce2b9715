"""Columns of train and test side by side: missing cells, histograms, drift, what each tells of the target.

Knows frames, roles and arrays; must not know competitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray, sampled
from pipeline.base.text import TEXT
from pipeline.config.types import NUMERIC, Role
from pipeline.scoring import leaks

MOST_ROWS = 20_000  # of each table for histograms and drift
ROWS_OF_ASSOCIATION = 2_000
N_BARS = 18
MOST_LEVELS = 10
MOST_ROWS_COUNTED = 200_000  # for the number of distinct values
WIDEST = 60.0  # a range wider than this many times its middle 98 % is drawn without its ends
SURE = 0.01  # probability that any column counts as drifted where none is


@dataclass(frozen=True)
class ColumnView:
    """One column of the features."""

    name: str
    role: Role
    missing_train: float  # share of all rows
    missing_test: float
    n_distinct: int
    train: FloatArray  # shares of the bars, or of the most frequent levels and the others
    test: FloatArray
    bars: list[str]  # what each bar stands for
    association: float  # share of the target that the column alone explains; NaN if it was not measured
    drift: float  # 0 to 1: the greatest difference of the two distributions
    drift_noise: float  # what equal distributions reach

    @property
    def has_drifted(self) -> bool:
        """Whether test differs from train by more than chance."""
        return self.drift > self.drift_noise


def column_views(
    train: pd.DataFrame, test: pd.DataFrame, roles: Mapping[str, Role], target: FloatArray, n_classes: int
) -> list[ColumnView]:
    """Look at every column. `target` is (rows,) numbers or class codes; rows are sampled if there are many."""
    rng = np.random.default_rng(0)
    rows, test_rows = (sampled(len(frame), MOST_ROWS, rng) for frame in (train, test))
    counted = sampled(len(train), MOST_ROWS_COUNTED, rng)
    some, some_test = train.iloc[rows], test.iloc[test_rows]
    told = associations(train, roles, target, n_classes)
    views = []
    for name in train.columns:
        shares = _number_shares if roles[name] in NUMERIC else _level_shares
        bars, mine, theirs = shares(some[name], some_test[name])
        drift, noise = _drift(some[name], some_test[name], roles[name], len(train.columns))
        views.append(
            ColumnView(
                name=str(name),
                role=roles[name],
                missing_train=float(train[name].isna().mean()),
                missing_test=float(test[name].isna().mean()) if len(test) else math.nan,
                n_distinct=int(train[name].iloc[counted].nunique()),
                train=mine,
                test=theirs,
                bars=bars,
                association=told.get(str(name), math.nan),
                drift=drift,
                drift_noise=noise,
            )
        )
    return views


def associations(
    train: pd.DataFrame, roles: Mapping[str, Role], target: FloatArray, n_classes: int
) -> dict[str, float]:
    """The share of the target that each column explains alone, by a small tree on held-out rows of a sample."""
    rows = sampled(len(train), ROWS_OF_ASSOCIATION, np.random.default_rng(0))
    if len(rows) < 2 * leaks.N_SHIFT:
        return {}
    (numbers,) = leaks.numbers_of([train.iloc[rows].reset_index(drop=True)], roles)
    y = target[rows]
    return {
        str(name): leaks.told_by(numbers[name].to_numpy(), y, n_classes, seed=0, n_parts=2) for name in numbers.columns
    }


def histogram(values: FloatArray, n_bars: int = 30) -> tuple[FloatArray, FloatArray]:
    """Edges and counts over all but far values; those are counted in the first and last bar."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.array([0.0, 1.0]), np.array([0.0])
    edges = _edges(finite, n_bars)
    counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), bins=edges)
    return edges, counts.astype(np.float64)


def _edges(finite: FloatArray, n_bars: int) -> FloatArray:
    low, high = float(finite.min()), float(finite.max())
    inner_low, inner_high = (float(one) for one in np.quantile(finite, [0.01, 0.99]))
    if inner_high > inner_low and (high - low) > WIDEST * (inner_high - inner_low):
        low, high = inner_low, inner_high
    distinct = np.unique(finite)
    if len(distinct) <= n_bars:
        if len(distinct) == 1:
            return np.array([distinct[0] - 0.5, distinct[0] + 0.5])
        gaps = np.diff(distinct)
        if np.allclose(gaps, gaps[0]):
            half = gaps[0] / 2
            return np.append(distinct - half, distinct[-1] + half)
    return np.linspace(low, high, n_bars + 1)


def _number_shares(train: pd.Series, test: pd.Series) -> tuple[list[str], FloatArray, FloatArray]:
    mine, theirs = (pd.to_numeric(one, errors="coerce").to_numpy(dtype=np.float64) for one in (train, test))
    both = np.concatenate([mine, theirs])
    finite = both[np.isfinite(both)]
    if not len(finite):
        return [], np.zeros(1), np.zeros(1)
    edges = _edges(finite, N_BARS)
    shares = []
    for values in (mine, theirs):
        known = values[np.isfinite(values)]
        counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), bins=edges)
        shares.append(counts / max(1, len(known)))
    names = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    return names, shares[0], shares[1]


def _level_shares(train: pd.Series, test: pd.Series) -> tuple[list[str], FloatArray, FloatArray]:
    mine, theirs = (one.dropna().astype(TEXT).value_counts(normalize=True) for one in (train, test))
    levels = list(mine.index[:MOST_LEVELS])
    columns: list[FloatArray] = [
        np.asarray(one.reindex(levels).fillna(0.0), dtype=np.float64) for one in (mine, theirs)
    ]
    if len(mine) > MOST_LEVELS or len(theirs.index.difference(mine.index)):
        levels.append("all others")
        columns = [np.append(one, max(0.0, 1.0 - float(np.sum(one)))) for one in columns]
    return [str(level) for level in levels], columns[0], columns[1] if len(theirs) else np.zeros(len(levels))


def _drift(train: pd.Series, test: pd.Series, role: Role, n_columns: int) -> tuple[float, float]:
    """The greatest difference of the distribution functions of numbers, half the summed one of levels; its noise."""
    if role == "text" or not len(train) or not len(test):  # most texts are in one row only
        return math.nan, math.nan
    if role in NUMERIC:
        mine, theirs = (np.sort(pd.to_numeric(one, errors="coerce").dropna().to_numpy()) for one in (train, test))
        if not len(mine) or not len(theirs):
            return math.nan, math.nan
        both = np.concatenate([mine, theirs])
        gaps = np.searchsorted(mine, both, side="right") / len(mine)
        gaps -= np.searchsorted(theirs, both, side="right") / len(theirs)
        noise = math.sqrt(math.log(2.0 * n_columns / SURE) / 2.0 * (1 / len(mine) + 1 / len(theirs)))
        return float(np.abs(gaps).max()), noise
    counts = [one.astype(TEXT).fillna("").value_counts() for one in (train, test)]
    table = pd.concat(counts, axis=1).fillna(0.0).to_numpy(dtype=np.float64)
    n_mine, n_theirs = table.sum(axis=0)
    both = table.sum(axis=1) / table.sum()
    half = 0.5 * float(np.abs(table[:, 0] / n_mine - table[:, 1] / n_theirs).sum())
    spread = np.sqrt(both * (1 - both) * (1 / n_mine + 1 / n_theirs))
    expected = 0.5 * math.sqrt(2 / math.pi) * float(spread.sum())
    chance = math.sqrt(math.log(n_columns / SURE) / 2.0 * (1 / n_mine + 1 / n_theirs))
    return half, expected + chance
