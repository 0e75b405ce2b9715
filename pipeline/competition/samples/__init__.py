"""Built-in competitions: complete tables, solution included, for a first run with no account and no network.

Must not know: specs, file layouts, encoders, or how a stage writes what it gets from here.
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

__all__ = ["NOT_ON_KAGGLE", "SAMPLES", "SampleCompetition", "make_sample"]

N_HOUSES_IN_TRAIN = 1460


@dataclass(frozen=True)
class SampleCompetition:
    """Tables of a built-in competition, as Kaggle's CSV files would read.

    `solution` holds the id and the true target of every test row, in the order of `sample_submission`.
    It is kept apart: no stage may read it, it only grades a finished submission.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    sample_submission: pd.DataFrame
    solution: pd.DataFrame


def _house_prices() -> SampleCompetition:
    """Simulated houses under Kaggle's column names; benchmarks/make_house_prices_sample.py made the file."""
    import pyarrow.parquet as pq

    file = resources.files("pipeline.competition.samples").joinpath("house_prices.parquet")
    table = pq.read_table(BytesIO(file.read_bytes()))
    # Split before the conversion: a column of whole numbers is float only in the part where it has gaps, as in a CSV.
    train, labelled_test = table[:N_HOUSES_IN_TRAIN].to_pandas(), table[N_HOUSES_IN_TRAIN:].to_pandas()
    naive_guess = round(float(train["SalePrice"].mean()), 2)
    return _competition(train, labelled_test, "Id", "SalePrice", naive_guess)


def _digits() -> SampleCompetition:
    train, labelled_test = make_digits_tables()
    return _competition(train, labelled_test, "id", "label", 0)


def _quadrants() -> SampleCompetition:
    train, labelled_test = make_quadrants_tables()
    return _competition(train, labelled_test, "id", "quadrant", "I")


def _spiral() -> SampleCompetition:
    train, labelled_test = make_spiral_tables()
    return _competition(train, labelled_test, "id", "arm", "a")


def _competition(
    train: pd.DataFrame, labelled_test: pd.DataFrame, id_column: str, target: str, naive_guess: float | str
) -> SampleCompetition:
    solution = labelled_test[[id_column, target]].copy()
    return SampleCompetition(
        train=train,
        test=labelled_test.drop(columns=target),
        sample_submission=solution.assign(**{target: naive_guess}),
        solution=solution,
    )


SAMPLES: dict[str, Callable[[], SampleCompetition]] = {
    "house-prices": _house_prices,
    "digits": _digits,
    "quadrants": _quadrants,
    "spiral": _spiral,
}
# the project's own; the others stand in for Kaggle's files
NOT_ON_KAGGLE = frozenset({"digits", "quadrants", "spiral"})


def make_sample(competition: str) -> SampleCompetition:
    """Make the tables of a built-in competition: the same bits on every call.

    Raises KeyError for a name that is not in `SAMPLES`; callers check that first, for the user's sake.
    """
    return SAMPLES[competition]()
