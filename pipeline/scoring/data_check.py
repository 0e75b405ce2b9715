"""Data checks that tell how far a score can be trusted, computed once per feature set and kept in a file.

Knows feature stores; must not know runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.config.run_report import DataCheck, Finding, Trust
from pipeline.encoders.target import transform_target
from pipeline.scoring.leaks import (
    AUC_OF_SHIFT,
    N_PARTS,
    N_ROUNDS,
    ORDER_TELLS,
    TOO_GOOD,
    Duplicates,
    Shift,
    duplicates_of,
    numbers_of,
    shift_of,
    told_by,
)

FEW_ROWS, FEW_COLUMNS = 2_000, 50  # sampled from each table by a run, in about a second; `check` uses more
FEW_PARTS, FEW_ROUNDS = 2, 25  # folds and boosting rounds of that quick check

OnProgress = Callable[[float, str], None]


def known_trust(store: FeatureStore) -> Trust | None:
    """The stored findings for these features; None when they were not checked yet."""
    kept = DataCheck.read_or_none(_path(store), otherwise="the data is checked again")
    return kept.trust if kept is not None and kept.fingerprint == store.manifest.fingerprint else None


def trust_in(
    store: FeatureStore, *, n_rows: int = FEW_ROWS, n_columns: int = FEW_COLUMNS, on_progress: OnProgress | None = None
) -> Trust:
    """Check the data, unless an earlier check used as many rows of these features, and store the findings."""
    known = known_trust(store)
    if known is not None and known.n_rows >= n_rows:
        return known
    found = _looked(store, n_rows, n_columns, on_progress or (lambda _, __: None))
    DataCheck(fingerprint=store.manifest.fingerprint, trust=found).write(_path(store))
    return found


def say_trust(trust: Trust) -> None:
    """Print a summary and the findings that need attention."""
    say(
        f"check: adversarial AUC (test against train) {trust.adversarial_auc:.2f}, {trust.repeated_train_rows} "
        f"repeated train rows, {trust.test_rows_in_train} test rows that equal a train row"
    )
    for finding in trust.findings:
        if finding.mark == "look":
            say(f"check: look: {finding.text}")


def _path(store: FeatureStore) -> Path:
    return store.workspace.features / "check.json"


def _looked(store: FeatureStore, n_rows: int, n_columns: int, on_progress: OnProgress) -> Trust:
    repeated = duplicates_of(store.train, store.test, store.target)
    rng = np.random.default_rng(0)
    rows, test_rows = (_some(len(frame), n_rows, rng) for frame in (store.train, store.test))
    columns = [store.train.columns[i] for i in _some(store.train.shape[1], n_columns, rng)]
    frames = [store.train.iloc[rows][columns], store.test.iloc[test_rows][columns]]
    train, test = numbers_of(frames, store.manifest.roles)
    target = (store.target if store.target.ndim == 1 else store.target[:, 0])[rows]
    if store.spec.task == "regression":
        target = transform_target(store.spec.target_transform, target)
    is_quick = n_rows <= FEW_ROWS
    n_parts = FEW_PARTS if is_quick else N_PARTS
    with threadpool_limits(1, user_api="openmp"):  # faster than more threads for so little work
        n_rounds = FEW_ROUNDS if is_quick else N_ROUNDS
        shift = shift_of(train, test, seed=0, n_parts=min(n_parts, 3), n_rounds=n_rounds)
        findings = [_of_duplicates(repeated), _of_shift(shift), *_of_order(store, rows, target, n_parts)]
        findings.append(_of_columns(train, target, len(store.classes), n_parts, on_progress))
    return Trust(
        n_rows=n_rows,
        n_columns=len(columns),
        adversarial_auc=shift.auc,
        repeated_train_rows=repeated.within_train,
        contradicting_train_rows=repeated.contradicting,
        test_rows_in_train=repeated.across,
        findings=findings,
    )


def _some(number: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted positions of a sample of at most `most` of `number` items."""
    return np.arange(number) if number <= most else np.sort(rng.choice(number, most, replace=False))


def _of_duplicates(found: Duplicates) -> Finding:
    text = (
        f"{found.within_train} train rows repeat an earlier one ({found.contradicting} with another target), "
        f"{found.across} test rows equal a train row"
    )
    if not found.within_train and not found.across:
        return Finding("ok", text)
    return Finding(
        mark="look", text=f"{text}; equal rows in two folds make the score optimistic: a group fold keeps them together"
    )


def _of_shift(shift: Shift) -> Finding:
    text = f"a model tells test rows from train rows with an AUC of {shift.auc:.3f} (0.5: not at all)"
    if shift.auc < AUC_OF_SHIFT:
        return Finding("ok", text)
    told = ", ".join(f"{name} (-{lost:.3f} without)" for name, lost in shift.columns.items())
    return Finding(
        mark="look", text=f"{text}, using {told or 'many columns together'}: expect a test score that differs from cv"
    )


def _of_order(store: FeatureStore, rows: np.ndarray, target: np.ndarray, n_parts: int) -> list[Finding]:
    orders = {"the order of the train rows": rows.astype(np.float64)}
    ids = pd.to_numeric(store.train_rows["id"], errors="coerce")
    if ids.notna().all():
        orders["the id"] = ids.to_numpy(dtype=np.float64)[rows]
    findings = []
    for name, values in orders.items():
        told = told_by(values, target, len(store.classes), seed=0, n_parts=n_parts)
        shuffled = np.random.default_rng(0).permutation(values)
        noise = told_by(shuffled, target, len(store.classes), seed=0, n_parts=n_parts)
        text = f"{name} alone explains {told:.0%} of the target"
        hint = ": rows are sorted or follow time, so shuffled folds may be optimistic"
        findings.append(Finding("look", text + hint) if told > ORDER_TELLS + 2.0 * noise else Finding("ok", text))
    return findings


def _of_columns(
    train: pd.DataFrame, target: np.ndarray, n_classes: int, n_parts: int, on_progress: OnProgress
) -> Finding:
    told = {}
    for number, name in enumerate(train.columns):
        told[name] = told_by(train[name].to_numpy(), target, n_classes, seed=0, n_parts=n_parts)
        on_progress((number + 1) / train.shape[1], str(name))
    best = sorted(told, key=lambda name: -told[name])
    too_good = [name for name in best if told[name] > TOO_GOOD]
    if too_good:
        shown = ", ".join(f"{name} ({told[name]:.1%})" for name in too_good[:5])
        return Finding(
            mark="look", text=f"too good to be true as a single column: {shown}; is it known at prediction time?"
        )
    shown = ", ".join(f"{name} {told[name]:.0%}" for name in best[:3])
    return Finding("ok", f"no single column explains more than {TOO_GOOD:.0%} of the target; the most: {shown}")
