"""Frames with columns of every kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def homes() -> pd.DataFrame:
    """60 rows: numbers, a category of numbers, an ordered category, text, bools, dates; some values are missing."""
    generator = np.random.default_rng(0)
    rows = 60
    frame = pd.DataFrame(
        {
            "area": generator.normal(100.0, 20.0, rows),
            "zone": pd.Categorical(generator.choice([1, 2, 3], rows)),
            "quality": pd.Categorical(generator.choice(["bad", "fair", "good"], rows), ["bad", "fair", "good"], True),
            "roof": generator.choice(["flat", "NA", "gable"], rows),
            "garden": pd.array(generator.choice([True, False], rows), dtype="boolean"),
            "sold": pd.date_range("2020-01-01", periods=rows, freq="W"),
            "rooms": pd.array(generator.integers(1, 9, rows), dtype="Int64"),
        }
    )
    for row, name in enumerate(frame.columns):
        frame.loc[row, name] = None
    return frame


@pytest.fixture
def price(homes: pd.DataFrame) -> pd.Series:
    """What the homes cost: by area, roof and time."""
    days = (homes["sold"] - pd.Timestamp("2020-01-01")).dt.days.fillna(200)
    return homes["area"].fillna(100.0) + 30.0 * (homes["roof"] == "flat") + 0.1 * days
