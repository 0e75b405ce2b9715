"""Errors of a regression: on the scale of the metric, by groups of rows, the worst rows.

Knows arrays and the metric's scale; must not know columns or competitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.metrics import Metric
from pipeline.report.charts.scales import tick_text
from pipeline.report.words import amount, of_data
from pipeline.scoring.blending import on_scale

N_GROUPS = 10
MOST_LEVELS = 12


@dataclass(frozen=True)
class Group:
    """Rows with something in common, and their errors."""

    name: str
    short: str  # the name where there is little room
    rows: int
    bias: float  # mean error: positive where predictions are too high
    error: float  # root of the mean squared error
    noise: float  # standard error of `error`


def residuals(target: FloatArray, prediction: FloatArray, metric: Metric) -> FloatArray:
    """Prediction minus target, on the metric's scale."""
    return on_scale(prediction, metric) - on_scale(target, metric)


def group_of(name: str, errors: FloatArray, short: str = "") -> Group:
    """The errors of some rows."""
    squares = errors**2
    error = float(np.sqrt(squares.mean()))
    spread = float(squares.std(ddof=1)) / len(squares) ** 0.5 if len(squares) > 1 else float("nan")
    return Group(
        name, short or name, len(errors), float(errors.mean()), error, spread / (2 * error) if error > 0 else 0.0
    )


def by_quantile(values: FloatArray, errors: FloatArray, n_groups: int = N_GROUPS) -> list[Group]:
    """Errors by equally many rows of rising value; a group of its own for missing values."""
    is_known = np.isfinite(values)
    groups = []
    if is_known.any():
        known, of_known = values[is_known], errors[is_known]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, n_groups + 1)))
        place = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, max(0, len(edges) - 2))
        for number in np.unique(place):
            inside = place == number
            low, high = float(known[inside].min()), float(known[inside].max())
            name = amount(low) if low == high else f"{amount(low)} to {amount(high)}"
            groups.append(group_of(name, of_known[inside], tick_text(float(f"{low:.3g}"))))
    if not is_known.all():
        groups.append(group_of("missing", errors[~is_known]))
    return groups


def by_level(values: pd.Series, errors: FloatArray, most: int = MOST_LEVELS) -> list[Group]:
    """Errors by category, the most frequent first; the others together."""
    texts = values.astype(TEXT).fillna("missing").reset_index(drop=True)
    counts = texts.value_counts()
    names = list(counts.index[:most]) if len(counts) > most else list(counts.index)
    groups = [group_of(of_data(name, 60), errors[(texts == name).to_numpy()]) for name in names]
    rest = ~texts.isin(names).to_numpy()
    if rest.any():
        groups.append(group_of("all others", errors[rest]))
    return groups


def unevenness(groups: list[Group]) -> float:
    """How much of the squared error lies in groups that are worse than the average, beyond their share of the rows."""
    rows = np.array([group.rows for group in groups], dtype=np.float64)
    squares = rows * np.array([group.error for group in groups]) ** 2
    if squares.sum() == 0:
        return 0.0
    return float(np.abs(squares / squares.sum() - rows / rows.sum()).sum() / 2)


def worst(errors: FloatArray, number: int = 20) -> NDArray[np.int64]:
    """Positions of the rows with the greatest errors, the greatest first."""
    return np.argsort(-np.abs(errors), kind="stable")[:number].astype(np.int64)
