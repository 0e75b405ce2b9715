"""Scores of what a table of time series says without a model: the last known target, and that of a year ago.

Knows the feature store; must not know runs or models.
"""

from __future__ import annotations

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.base.target_transforms import inverse_transform
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.competition.series import LAST, YEAR_AGO
from pipeline.competition.store import FeatureStore


def series_baselines(store: FeatureStore) -> dict[str, float]:
    """Baseline -> its score on the validated rows, {} without [time]. Where it knows nothing, it is the train mean."""
    rows = store.fold_of_row != NEVER_VALIDATED
    metric = store.metric.at(rows)
    found = {name: _prediction(store, name) for name in (LAST, YEAR_AGO)}
    target = store.target[rows]
    return {name: metric(target, prediction[rows]) for name, prediction in found.items() if prediction is not None}


def _prediction(store: FeatureStore, name: str) -> FloatArray | None:
    """(rows,) or (rows, targets) predictions; None if a target has no such column."""
    columns = [f"{target}.{name}" for target in store.spec.target]
    if store.spec.time is None or not set(columns) <= set(store.train.columns):
        return None
    values = store.train[columns].to_numpy(dtype=np.float64)
    values = inverse_transform(store.spec.target_transform, values)
    mean = store.target[store.fold_of_row == NEVER_VALIDATED].mean(axis=0)
    filled: FloatArray = np.where(np.isfinite(values), values, mean)
    return filled[:, 0] if len(columns) == 1 else filled
