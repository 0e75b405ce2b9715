"""A table of classes -> shuffled, numbered train and test rows. Must not know what the columns mean."""

from __future__ import annotations

import numpy as np
import pandas as pd


def split_by_class(table: pd.DataFrame, target: str, *, n_test: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, test), stratified by `target`; ids count up from 1, first in train, then in test."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(table, test_size=n_test, stratify=table[target], random_state=seed)
    return with_id(train, first_id=1), with_id(test, first_id=len(train) + 1)


def with_id(table: pd.DataFrame, *, first_id: int) -> pd.DataFrame:
    """Insert a first column `id` that counts up from `first_id`."""
    table = table.reset_index(drop=True)
    table.insert(0, "id", np.arange(first_id, first_id + len(table), dtype=np.int64))
    return table
