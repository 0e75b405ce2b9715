"""How the test rows are split from the train rows: by a key that both share no value of, or by time.

Knows pairs of columns; must not know targets, specs or folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

FEWEST_KEYS = 3  # of train; two can differ from test's by chance
MEAN_ROWS_PER_KEY = 2.0  # at least: a key without repetition is a label of rows
MOST_LATER = 0.5  # share of the test rows after the last train row above which test follows train


@dataclass(frozen=True)
class Keys:
    """A column whose values in test occur nowhere in train."""

    n_train: int
    n_test: int


def disjoint_keys(train: pd.Series, test: pd.Series) -> Keys | None:
    """The numbers of values if train repeats its values and test has none of them; else None."""
    known, asked = train.dropna(), test.dropna()
    values = known.drop_duplicates()
    if len(values) < FEWEST_KEYS or not len(asked) or len(known) < MEAN_ROWS_PER_KEY * len(values):
        return None
    others = asked.drop_duplicates()
    return None if others.isin(values).any() else Keys(len(values), len(others))


@dataclass(frozen=True)
class TimeOrder:
    """Where the test rows lie in time."""

    later: float  # share of the test rows after the last train row
    overlap: str  # the stretch both have, "" for none
    span: float = 0.0  # of the train rows: days of dates, or the unit of numbers
    horizon: float = 0.0  # from the last train row to the last test row; below 0 if that is earlier

    @property
    def is_forecast(self) -> bool:
        """Whether most test rows come after train."""
        return self.later > MOST_LATER


def time_order(train: pd.Series, test: pd.Series) -> TimeOrder | None:
    """Compare two columns of times or numbers; None if one has no value."""
    known, asked = train.dropna(), test.dropna()
    if not len(known) or not len(asked):
        return None
    begin, end = max(known.min(), asked.min()), min(known.max(), asked.max())
    overlap = f"{_short(begin)} to {_short(end)}" if begin <= end else ""
    span, horizon = known.max() - known.min(), asked.max() - known.max()
    return TimeOrder(float((asked > known.max()).mean()), overlap, _in_days(span), _in_days(horizon))


def _in_days(difference: object) -> float:
    return difference / pd.Timedelta(days=1) if isinstance(difference, pd.Timedelta) else float(difference)  # type: ignore[arg-type]


def _short(value: object) -> str:
    return str(value.date()) if isinstance(value, pd.Timestamp) and value == value.normalize() else str(value)
