"""What a prediction goes by: columns shuffled in held rows, and how the prediction moves with a column.

Knows frames and a function that predicts the rows of a fold with models that did not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.config.artifact import Record, Score
from pipeline.metrics import Metric

MOST_PREDICTED = 100_000  # rows that are predicted for the importance of all columns together
FEWEST_ROWS, MOST_ROWS = 200, 5_000  # held rows that are used
MOST_REPEATS = 5
BATCH = 20_000  # rows that are predicted at once
N_BINS, MOST_LEVELS = 16, 8
ROWS_OF_EFFECTS = 1_000

Predict = Callable[[pd.DataFrame, int], FloatArray]  # rows and the fold whose models predict them


@dataclass(frozen=True)
class HeldRows:
    """Rows of a fold that its models have not seen."""

    fold: int
    frame: pd.DataFrame
    target: FloatArray
    metric: Metric  # of these rows


class Importance(Record):
    """How much worse the score is when a column is shuffled: mean over folds and repeats, and its standard error."""

    name: str
    loss: Score
    noise: Score


class Effect(Record):
    """How the prediction moves with a column: mean over the folds, and the spread of the folds' curves."""

    name: str
    is_number: bool
    at: list[float] | list[str]
    mean: list[list[Score]]  # of each output
    spread: list[list[Score]]
    share: list[float]  # of the rows at each value


def sizes(n_rows: int, n_groups: int) -> tuple[int, int]:
    """How many held rows are used, and how often each column is shuffled."""
    rows = int(np.clip(MOST_PREDICTED // max(1, n_groups), FEWEST_ROWS, MOST_ROWS))
    rows = min(rows, n_rows)
    return rows, int(np.clip(MOST_PREDICTED // max(1, n_groups * rows), 1, MOST_REPEATS))


def permutation_importance(
    predict: Predict, held: Sequence[HeldRows], groups: Mapping[str, Sequence[str]], *, n_repeats: int
) -> list[Importance]:
    """Shuffle the columns of each group (of no other) together, within the rows of a fold; most important first."""
    rng = np.random.default_rng(0)
    names = list(groups)
    losses = np.full((len(names), len(held), n_repeats), np.nan)
    for i, rows in enumerate(held):
        base = rows.metric(rows.target, predict(rows.frame, rows.fold))
        for repeat in range(n_repeats):
            orders = {name: rng.permutation(len(rows.frame)) for name in names}
            per_batch = max(1, BATCH // len(rows.frame))
            for start in range(0, len(names), per_batch):
                batch = names[start : start + per_batch]
                predicted = predict(_shuffled(rows.frame, groups, batch, orders), rows.fold)
                for j, part in enumerate(np.split(predicted, len(batch))):
                    losses[start + j, i, repeat] = rows.metric.gain(base, rows.metric(rows.target, part))
    n_known = np.isfinite(losses).sum(axis=2)
    by_fold = np.where(n_known > 0, np.nansum(losses, axis=2) / np.maximum(1, n_known), np.nan)
    found = []
    for name, values in zip(names, by_fold, strict=True):
        known = values[np.isfinite(values)]
        noise = float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else float("nan")
        found.append(Importance(name=name, loss=float(known.mean()) if len(known) else float("nan"), noise=noise))
    return sorted(found, key=lambda one: -np.nan_to_num(one.loss))


def _shuffled(
    frame: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    batch: Sequence[str],
    orders: Mapping[str, NDArray[np.int64]],
) -> pd.DataFrame:
    """The rows once for each group of the batch, with its columns shuffled."""
    n_rows = len(frame)
    plain = np.tile(np.arange(n_rows), len(batch))
    rows_of: dict[str, NDArray[np.int64]] = {}
    for j, name in enumerate(batch):
        rows = plain.copy()
        rows[j * n_rows : (j + 1) * n_rows] = orders[name]
        rows_of |= dict.fromkeys(groups[name], rows)
    columns = {name: frame[name].array.take(rows_of.get(str(name), plain)) for name in frame.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(plain)))


def effect(predict: Predict, held: Sequence[HeldRows], name: str, *, is_number: bool) -> Effect | None:
    """Accumulated local effects of a number (Apley and Zhu, 2020), mean predictions by level of a category.

    None for a column with one value. `predict` gives (rows, outputs).
    """
    values = pd.concat([rows.frame[name] for rows in held], ignore_index=True)
    if is_number:
        known = values.to_numpy(dtype=np.float64)
        known = known[np.isfinite(known)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1))) if len(known) else np.zeros(0)
        if len(edges) < 2:
            return None
        curves = np.array([_accumulated(predict, rows, name, edges) for rows in held])
        shares = np.diff(np.searchsorted(np.sort(known), edges, side="right"), prepend=0) / len(known)
        return _effect(name, True, [float(edge) for edge in edges], curves, shares)
    counts = values.dropna().astype(TEXT).value_counts(normalize=True)
    levels = [str(level) for level in counts.index[:MOST_LEVELS]]
    if len(levels) < 2:
        return None
    curves = np.array([_by_level(predict, rows, name, levels) for rows in held])
    return _effect(name, False, levels, curves, np.asarray(counts, dtype=np.float64)[:MOST_LEVELS])


def _accumulated(predict: Predict, rows: HeldRows, name: str, edges: FloatArray) -> FloatArray:
    """(edges, outputs) of one fold."""
    values = rows.frame[name].to_numpy(dtype=np.float64)
    inside = np.flatnonzero(np.isfinite(values))
    place = np.clip(np.searchsorted(edges, values[inside], side="left") - 1, 0, len(edges) - 2)
    frame = rows.frame.iloc[np.tile(inside, 2)].reset_index(drop=True)
    frame[name] = np.concatenate([edges[place], edges[place + 1]])
    low, high = np.split(predict(frame, rows.fold), 2)
    steps = np.zeros((len(edges) - 1, low.shape[1]))
    number = np.bincount(place, minlength=len(steps))
    np.add.at(steps, place, high - low)
    curve = np.vstack([np.zeros((1, low.shape[1])), np.cumsum(steps / np.maximum(1, number)[:, None], axis=0)])
    middles = (curve[1:] + curve[:-1]) / 2
    centred: FloatArray = curve - (middles * number[:, None]).sum(axis=0) / max(1, number.sum())
    return centred


def _by_level(predict: Predict, rows: HeldRows, name: str, levels: list[str]) -> FloatArray:
    """(levels, outputs): the mean prediction of the fold's rows if all had that level, minus that as they are."""
    plain = predict(rows.frame, rows.fold).mean(axis=0)
    frame = rows.frame.iloc[np.tile(np.arange(len(rows.frame)), len(levels))].reset_index(drop=True)
    frame[name] = pd.Series(np.repeat(levels, len(rows.frame)), dtype=rows.frame[name].dtype)
    parts = np.split(predict(frame, rows.fold), len(levels))
    return np.array([part.mean(axis=0) - plain for part in parts])


def _effect(name: str, is_number: bool, at: list[float] | list[str], curves: FloatArray, shares: FloatArray) -> Effect:
    """From (folds, values, outputs)."""
    spread: FloatArray = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else np.zeros(curves.shape[1:])
    return Effect(
        name=name,
        is_number=is_number,
        at=at,
        mean=curves.mean(axis=0).T.tolist(),
        spread=spread.T.tolist(),
        share=[float(share) for share in shares],
    )
