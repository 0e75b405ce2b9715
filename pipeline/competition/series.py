"""Time series in a table: what was known of each row's series a horizon before the row, as columns.

Knows times, keys and targets of rows; must not know files, folds or models. A feature of a row reads only targets whose
time is at most the row's time less the horizon, so that it is the same for train, valid and test rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError

Steps = NDArray[np.int64]

WEEK, YEAR = 7.0, 364.0  # days; a year of whole weeks keeps the weekday
WINDOWS = (7.0, 28.0, 91.0, 364.0)  # of running means
HALF_WEEK, SEASON = 3.0, 28.0  # days around the same day of an earlier year
N_WEEKS, N_YEARS = 8, 5  # of the same weekday; of the same day of the year
MOST_STEPS = 100_000  # from the first to the last time
CHUNK = 4_000_000  # series x steps that are computed at once
LAST, YEAR_AGO = "last", "year_ago"  # also predictions by themselves: the baselines


@dataclass(frozen=True)
class SeriesHistory:
    """The targets of every series on a grid of equal steps, on whatever scale they are given.

    `codes` maps a key to its series, `known` (rows,) are sorted cells series x steps and `values` (rows, targets) what
    they hold. `horizon` and `unit` are in days, or in the unit of a numeric time.
    """

    codes: pd.Index
    start: float
    unit: float
    n_steps: int
    horizon: float
    known: NDArray[np.int64]
    values: FloatArray

    @classmethod
    def fit(cls, times: FloatArray, keys: pd.Series, target: FloatArray, horizon: float) -> SeriesHistory:
        """Learn from (rows,) times, (rows,) keys and (rows, targets); equal times of a series are averaged."""
        unit = _unit(times)
        start = float(times.min())
        n_steps = round((float(times.max()) - start) / unit) + 1
        if n_steps > MOST_STEPS:
            raise DataError(
                f"there are {n_steps} steps of {unit:g} from the first to the last time",
                where="[time] date",
                hint=f"At most {MOST_STEPS} are supported: round the times, or remove [time] from the spec.",
            )
        codes = pd.Index(keys.unique())
        steps = np.rint((times - start) / unit).astype(np.int64)
        cells = codes.get_indexer(pd.Index(keys)).astype(np.int64) * n_steps + steps
        means = pd.DataFrame(target).groupby(cells).mean()
        return cls(codes, start, unit, n_steps, horizon, means.index.to_numpy(), means.to_numpy())

    def columns(self, times: FloatArray, keys: pd.Series, names: list[str]) -> pd.DataFrame:
        """(rows, features of each target in `names`) float64; NaN where nothing of a series is known.

        What is not known of a known past is the mean of what is. How much is known is no feature: it grows with time,
        beyond what train rows have.
        """
        series = self.codes.get_indexer(pd.Index(keys)).astype(np.int64)
        exact = (times - self.start) / self.unit
        steps = np.rint(exact).astype(np.int64)
        found = {f"{name}.{feature}": np.full(len(times), np.nan) for name in names for feature in self._features}
        order = np.argsort(series, kind="stable")
        n_per_chunk = max(1, CHUNK // self.n_steps)
        for first in range(0, len(self.codes), n_per_chunk):
            inside = order[slice(*np.searchsorted(series, [first, first + n_per_chunk], sorter=order))]
            if not len(inside):
                continue
            for target, name in enumerate(names):
                grid = self._grid(first, min(first + n_per_chunk, len(self.codes)), target)
                at = _At(series[inside] - first, steps[inside], self._in_steps(self.horizon))
                mean = grid.mean(at.row, np.full_like(at.end, -1), at.end)
                for feature, compute in self._features.items():
                    values = compute(grid, at)
                    found[f"{name}.{feature}"][inside] = np.where(np.isfinite(values), values, mean)
        return pd.DataFrame(found)

    @property
    def _features(self) -> dict[str, Callable[[_Grid, _At], FloatArray]]:
        made: dict[str, Callable[[_Grid, _At], FloatArray]] = {LAST: lambda grid, at: grid.last(at.row, at.end)}
        for days in WINDOWS:
            if (width := self._in_steps(days)) > 1:
                made[f"mean_{days:g}"] = lambda grid, at, w=width: grid.mean(at.row, at.end - w, at.end)  # type: ignore[misc]
        made["mean"] = lambda grid, at: grid.mean(at.row, np.full_like(at.end, -1), at.end)
        if (week := self._whole(WEEK)) > 1:
            made["weekday_mean"] = lambda grid, at: grid.mean_of_every(week, N_WEEKS, at)
        if year := self._whole(YEAR):
            made[YEAR_AGO] = lambda grid, at: grid.value(at.row, at.ago(year))
            for name, around in (("week", self._in_steps(HALF_WEEK)), ("mean", self._in_steps(SEASON))):
                made[f"{YEAR_AGO}_{name}"] = lambda grid, at, n=around: grid.mean(  # type: ignore[misc]
                    at.row, at.ago(year) - n - 1, np.minimum(at.ago(year) + n, at.end)
                )
            made["years_ago_mean"] = lambda grid, at: grid.mean_of_every(year, N_YEARS, at)
        return made

    def _in_steps(self, length: float) -> int:
        """A length as steps, rounded up."""
        return int(np.ceil(length / self.unit - 1e-9))

    def _whole(self, days: float) -> int:
        """The days as steps; 0 if they are not a whole number."""
        steps = days / self.unit
        return round(steps) if abs(steps - round(steps)) < 1e-9 else 0

    def _grid(self, first: int, stop: int, target: int) -> _Grid:
        rows = slice(*np.searchsorted(self.known, [first * self.n_steps, stop * self.n_steps]))
        values = np.full((stop - first) * self.n_steps, np.nan)
        values[self.known[rows] - first * self.n_steps] = self.values[rows, target]
        return _Grid(values.reshape(stop - first, self.n_steps))


@dataclass(frozen=True)
class _At:
    """Where rows are in a grid: their series, their step, and the last step that they may know."""

    row: Steps
    step: Steps
    horizon: int

    @property
    def end(self) -> Steps:
        return self.step - self.horizon

    def ago(self, period: int) -> Steps:
        """The same place in the latest earlier period that may be known."""
        return self.step - period * max(1, -(-self.horizon // period))


class _Grid:
    """(series, steps) targets, NaN for unknown, and running sums of them."""

    def __init__(self, values: FloatArray) -> None:
        self.values = values
        self.is_known = np.isfinite(values)
        self.filled = np.where(self.is_known, values, 0.0)
        self.sums, self.counts = _running(self.filled), _running(self.is_known.astype(np.float64))

    def value(self, row: Steps, step: Steps) -> FloatArray:
        """The targets at the steps."""
        inside = (step >= 0) & (step < self.values.shape[1])
        found: FloatArray = np.where(inside, self.values[row, np.where(inside, step, 0)], np.nan)
        return found

    def last(self, row: Steps, end: Steps) -> FloatArray:
        """The last known targets up to the steps."""
        positions = np.where(self.is_known, np.arange(self.values.shape[1]), -1)
        latest = np.maximum.accumulate(positions, axis=1)
        end = np.minimum(end, self.values.shape[1] - 1)
        at = np.where(end >= 0, latest[row, np.maximum(end, 0)], -1)
        return self.value(row, at)

    def mean(self, row: Steps, before: Steps, end: Steps) -> FloatArray:
        """The mean of the known targets after the steps `before` and up to `end`."""
        low, high = self._clipped(before), self._clipped(end)
        return _ratio(self.sums[row, high] - self.sums[row, low], self.counts[row, high] - self.counts[row, low])

    def mean_of_every(self, period: int, number: int, at: _At) -> FloatArray:
        """The mean of the `number` latest targets that are whole periods before the rows."""
        total, count = np.zeros(len(at.row)), np.zeros(len(at.row))
        first = at.ago(period)
        for back in range(number):
            values = self.value(at.row, first - back * period)
            total += np.nan_to_num(values)
            count += np.isfinite(values)
        return _ratio(total, count)

    def _clipped(self, step: Steps) -> Steps:
        """The position in running sums that includes the steps up to `step`."""
        return np.clip(step + 1, 0, self.values.shape[1])


def _running(values: FloatArray) -> FloatArray:
    """(series, steps + 1) sums of the first 0, 1, ... steps."""
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    found: FloatArray = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return found


def _unit(times: FloatArray) -> float:
    """The largest step of which all distances between times are multiples, to the second."""
    distinct = np.unique(np.rint(times * 86_400.0).astype(np.int64))
    return float(np.gcd.reduce(np.diff(distinct))) / 86_400.0 if len(distinct) > 1 else 1.0
