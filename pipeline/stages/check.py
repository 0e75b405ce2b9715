"""Stage `check`: what in the data would make a score lie, as lines of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.leaks import AUC_OF_SHIFT, ORDER_TELLS, TOO_GOOD, duplicates_of, numbers_of, shift_of, told_by
from pipeline.problems import FeatureStore
from pipeline.progress import progress_bar
from pipeline.targets import transform_target


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    mark: Literal["ok", "look"]
    text: str


def check_data(store: FeatureStore) -> list[Finding]:
    """Look for rows seen twice, orders that tell the target, columns too good, and a test table unlike train."""
    train, test = numbers_of([store.train, store.test], store.manifest["roles"])
    target = store.target if store.target.ndim == 1 else store.target[:, 0]
    if store.spec.task == "regression":
        target = transform_target(store.spec.target_transform, target)
    findings = [_of_duplicates(store), _of_shift(train, test)]
    findings += _of_order(store, target)
    return [*findings, _of_columns(store, train, target)]


def _of_duplicates(store: FeatureStore) -> Finding:
    found = duplicates_of(store.train, store.test, store.target)
    text = (
        f"{found.within_train} train rows repeat an earlier one ({found.contradicting} with another target), "
        f"{found.across} test rows equal a train row"
    )
    if not found.within_train and not found.across:
        return Finding("ok", text)
    return Finding("look", f"{text}; equal rows in two folds flatter the score: a group fold keeps them together")


def _of_shift(train: pd.DataFrame, test: pd.DataFrame) -> Finding:
    shift = shift_of(train, test, seed=0)
    text = f"test rows can be told from train rows with an AUC of {shift.auc:.3f} (0.5 or less: not at all)"
    if shift.auc < AUC_OF_SHIFT:
        return Finding("ok", text)
    told = ", ".join(f"{name} (-{lost:.3f} without)" for name, lost in shift.columns.items())
    return Finding("look", f"{text}, by {told or 'many columns together'}: expect another score there than in cv")


def _of_order(store: FeatureStore, target: np.ndarray) -> list[Finding]:
    n_classes = len(store.classes)
    orders = {"the order of the train rows": np.arange(len(target), dtype=np.float64)}
    ids = pd.to_numeric(store.train_rows["id"], errors="coerce")
    if ids.notna().all():
        orders["the id"] = ids.to_numpy(dtype=np.float64)
    findings = []
    for name, values in orders.items():
        told = told_by(values, target, n_classes, seed=0)
        text = f"{name} alone tells {told:.0%} of the target"
        hint = ": rows are sorted, or follow time; folds of shuffled rows may flatter"
        findings.append(Finding("look", text + hint) if told > ORDER_TELLS else Finding("ok", text))
    return findings


def _of_columns(store: FeatureStore, train: pd.DataFrame, target: np.ndarray) -> Finding:
    told = {}
    with progress_bar("check") as update:
        for number, name in enumerate(train.columns):
            told[name] = told_by(train[name].to_numpy(), target, len(store.classes), seed=0)
            update((number + 1) / train.shape[1], str(name))
    best = sorted(told, key=lambda name: -told[name])
    too_good = [name for name in best if told[name] > TOO_GOOD]
    if too_good:
        shown = ", ".join(f"{name} ({told[name]:.1%})" for name in too_good[:5])
        return Finding("look", f"too good to be true alone: {shown}; is it known when the prediction is made?")
    shown = ", ".join(f"{name} {told[name]:.0%}" for name in best[:3])
    return Finding("ok", f"no single column tells more than {TOO_GOOD:.0%} of the target; the most: {shown}")
