"""A table of classes cut into train and test rows, shuffled and numbered. Must not know what the columns mean."""

from __future__ import annotations

import numpy as np
import pandas as pd


def split_by_class(
    table: pd.DataFrame, target: str, *, n_test_by_class: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(train, test): `n_test_by_class` rows of each class are the test rows; ids count up from 1, test last."""
    from sklearn.model_selection import train_test_split

    n_test = n_test_by_class * table[target].nunique()
    train, test = train_test_split(table, test_size=n_test, stratify=table[target], random_state=seed)
    return with_id(train, first_id=1), with_id(test, first_id=len(train) + 1)


def with_id(table: pd.DataFrame, *, first_id: int) -> pd.DataFrame:
    """The table with a first column `id` that counts up from `first_id`."""
    table = table.reset_index(drop=True)
    table.insert(0, "id", np.arange(first_id, first_id + len(table), dtype=np.int64))
    return table
