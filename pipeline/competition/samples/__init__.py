"""Built-in competitions: complete tables, solution included, for a first run without an account or a network.

Must not know: specs, file layouts, encoders, or how a stage writes these tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from io import BytesIO

import pandas as pd

from pipeline.competition.samples.digits import make_digits_tables
from pipeline.competition.samples.quadrants import make_quadrants_tables
from pipeline.competition.samples.spiral import make_spiral_tables

N_TRAIN_HOUSES = 1460


@dataclass(frozen=True)
class SampleCompetition:
    """Tables of a built-in competition, as pandas would read Kaggle's CSV files.

    `solution` holds the id and the true target of every test row, in the order of `sample_submission`. It only serves
    to score a finished submission; no other stage may read it.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    sample_submission: pd.DataFrame
    solution: pd.DataFrame


def _competition(
    train: pd.DataFrame, labelled_test: pd.DataFrame, id_column: str, target: str, naive_guess: float | str
) -> SampleCompetition:
    solution = labelled_test[[id_column, target]].copy()
    sample_submission = solution.assign(**{target: naive_guess})
    return SampleCompetition(train, labelled_test.drop(columns=target), sample_submission, solution)


def _house_prices() -> SampleCompetition:
    """Simulated houses with Kaggle's column names; benchmarks/make_house_prices_sample.py made the file."""
    import pyarrow.parquet as pq

    file = resources.files("pipeline.competition.samples").joinpath("house_prices.parquet")
    table = pq.read_table(BytesIO(file.read_bytes()))
    # Split before converting: a column of whole numbers becomes float only in the part with gaps, as in a CSV.
    train, labelled_test = table[:N_TRAIN_HOUSES].to_pandas(), table[N_TRAIN_HOUSES:].to_pandas()
    return _competition(train, labelled_test, "Id", "SalePrice", round(float(train["SalePrice"].mean()), 2))


SAMPLES: dict[str, Callable[[], SampleCompetition]] = {
    "house-prices": _house_prices,
    "digits": lambda: _competition(*make_digits_tables(), "id", "label", 0),
    "quadrants": lambda: _competition(*make_quadrants_tables(), "id", "quadrant", "I"),
    "spiral": lambda: _competition(*make_spiral_tables(), "id", "arm", "a"),
}
# the others stand in for a competition on Kaggle
NOT_ON_KAGGLE = frozenset({"digits", "quadrants", "spiral"})


def make_sample(competition: str) -> SampleCompetition:
    """Make the tables of a built-in competition, identical on every call. Raises KeyError unless it is in `SAMPLES`."""
    return SAMPLES[competition]()
