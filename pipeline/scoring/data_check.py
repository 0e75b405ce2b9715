"""Data checks that tell how far a score can be trusted, computed once per feature set and kept in a file.

Knows feature stores; must not know runs. Extra rows are not looked at: they validate nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.base import mapped
from pipeline.base.arrays import sampled
from pipeline.base.progress import say
from pipeline.base.target_transforms import transform_target
from pipeline.competition import dependencies
from pipeline.competition.far_markers import far_marker
from pipeline.competition.store import FeatureStore
from pipeline.competition.structure import disjoint_keys, time_order
from pipeline.competition.tables.typed import part_of
from pipeline.config.run_report import DataCheck, Finding, Trust
from pipeline.scoring import leaks
from pipeline.scoring.shared_keys import shared_key

FEW_ROWS, FEW_COLUMNS = 2_000, 50  # sampled from each table by a run, in about a second; `check` uses more
ORDERED_BY = "elapsed_days"  # the part of a date that orders it
FEW_PARTS, FEW_ROUNDS = 2, 25  # folds and boosting rounds of that quick check

OnProgress = Callable[[float, str], None]


def known_trust(store: FeatureStore) -> Trust | None:
    """The stored findings for these features; None when they were not checked yet."""
    kept = DataCheck.read_or_none(_path(store), otherwise="the data is checked again")
    return kept.trust if kept is not None and kept.fingerprint == _fingerprint(store) else None


def trust_in(
    store: FeatureStore, *, n_rows: int = FEW_ROWS, n_columns: int = FEW_COLUMNS, on_progress: OnProgress | None = None
) -> Trust:
    """Check the data, unless an earlier check used as many rows of these features, and store the findings."""
    known = known_trust(store)
    if known is not None and known.n_rows >= n_rows:
        return known
    found = _looked(store, n_rows, n_columns, on_progress or (lambda _, __: None))
    DataCheck(fingerprint=_fingerprint(store), trust=found).write(_path(store))
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


def _fingerprint(store: FeatureStore) -> str:
    return dependencies.fingerprint(dependencies.of_check(store.spec, store.manifest))


def _path(store: FeatureStore) -> Path:
    return store.workspace.features / "check.json"


def _looked(store: FeatureStore, n_rows: int, n_columns: int, on_progress: OnProgress) -> Trust:
    own, own_target = store.own(store.train), store.own(store.target)
    repeated = leaks.duplicates_of(own, store.test, own_target)
    rng = np.random.default_rng(0)
    rows, test_rows = (sampled(len(frame), n_rows, rng) for frame in (own, store.test))
    columns = [own.columns[i] for i in sampled(own.shape[1], n_columns, rng)]
    frames = [own.iloc[rows][columns], store.test.iloc[test_rows][columns]]
    train, test = leaks.numbers_of(frames, store.manifest.roles)
    target = own_target.reshape(len(own_target), -1)[rows, 0]
    if store.spec.task == "regression":
        target = transform_target(store.spec.target_transform, target)
    n_parts, n_rounds = (FEW_PARTS, FEW_ROUNDS) if n_rows <= FEW_ROWS else (leaks.N_PARTS, leaks.N_ROUNDS)
    with threadpool_limits(1, user_api="openmp"):  # faster than more threads for so little work
        shift = leaks.shift_of(train, test, seed=0, n_parts=min(n_parts, 3), n_rounds=n_rounds)
        findings = [_of_duplicates(repeated), _of_shift(shift), *_of_structure(store), *_of_shared_keys(store)]
        findings += _of_far_markers(store)
        findings += _of_order(store, rows, target, n_parts)
        findings.append(_of_columns(train, target, len(store.classes), n_parts, on_progress))
    mapped.release()
    return Trust(
        n_rows=n_rows,
        n_columns=len(columns),
        adversarial_auc=shift.auc,
        repeated_train_rows=repeated.within_train,
        contradicting_train_rows=repeated.contradicting,
        test_rows_in_train=repeated.across,
        findings=findings,
    )


def _finding(text: str, advice: str, *, needs_look: bool) -> Finding:
    return Finding("look", text + advice) if needs_look else Finding("ok", text)


def _of_duplicates(found: leaks.Duplicates) -> Finding:
    text = (
        f"{found.within_train} train rows repeat an earlier one ({found.contradicting} with another target), "
        f"{found.across} test rows equal a train row"
    )
    advice = "; equal rows in two folds make the score optimistic: a group fold keeps them together"
    return _finding(text, advice, needs_look=found.within_train > 0 or found.across > 0)


def _of_shift(shift: leaks.Shift) -> Finding:
    told = ", ".join(f"{name} (-{lost:.3f} without)" for name, lost in shift.columns.items())
    return _finding(
        f"a model tells test rows from train rows with an AUC of {shift.auc:.3f} (0.5: not at all)",
        f", using {told or 'many columns together'}: expect a test score that differs from cv",
        needs_look=shift.auc >= leaks.AUC_OF_SHIFT,
    )


def _of_structure(store: FeatureStore) -> list[Finding]:
    """Whether the folds divide the train rows as Kaggle divided test from train."""
    folds, findings = store.spec.folds, []
    is_own = folds.kind in ("file", "column")  # the user divided the rows
    dates = [recipe for recipe in store.manifest.recipes if recipe.kind == "date"]
    date_of = {name: date.source for date in dates for name in date.features if part_of(name) == ORDERED_BY}
    for name, role in store.manifest.roles.items():
        train, test = store.own(store.train)[name], store.test[name]
        if role in ("category", "text") and (keys := disjoint_keys(train, test)) is not None:
            text = f"test has none of the {keys.n_train} values of {name!r} in train, but {keys.n_test} new ones"
            advice = f'; folds that share its values are optimistic: [folds] kind = "group", group = "{name}"'
            findings.append(_finding(text, advice, needs_look=folds.group is None and not is_own))
        elif (
            name in date_of and part_of(name) == ORDERED_BY and (order := time_order(train, test)) and order.is_forecast
        ):
            date = date_of[name]
            text = f"{order.later:.0%} of the test rows are later than all train rows in {date!r}"
            advice = f'; folds that mix times are optimistic: [folds] kind = "time", time = "{date}"'
            findings.append(_finding(text, advice, needs_look=folds.time is None and not is_own))
    return findings


def _of_shared_keys(store: FeatureStore) -> list[Finding]:
    """Columns whose values tie a few rows together, with targets alike: more in valid rows than in test rows?"""
    folds, findings = store.spec.folds, []
    if mapped.is_large(*store.train.shape) or folds.group is not None:
        return []
    has_classes, target = bool(store.classes), store.own(store.target)
    y = target.reshape(len(target), -1)[:, 0]
    y = y if has_classes else transform_target(store.spec.target_transform, y)
    for name, role in store.manifest.roles.items():
        train, test = store.own(store.train)[name], store.test[name]
        if role not in ("category", "text") or disjoint_keys(train, test) is not None:
            continue
        found = shared_key(train, test, store.own(store.fold_of_row), y, has_classes=has_classes)
        if found is not None:
            text = (
                f"{found.across_folds:.0%} of the valid rows share {name!r} with rows of other folds, "
                f"{found.in_test:.0%} of the test rows with train; targets of such rows agree ({found.agreement:.2f})"
            )
            advice = f'; the score is optimistic: [folds] kind = "group", group = "{name}" keeps them together'
            findings.append(_finding(text, advice, needs_look=found.is_optimistic and folds.kind != "file"))
    return findings


def _of_far_markers(store: FeatureStore) -> list[Finding]:
    """Numbers such as -999 that may stand for missing cells."""
    findings = []
    for name, role in store.manifest.roles.items():
        if role == "number" and (marker := far_marker(store.own(store.train)[name].to_numpy())) is not None:
            findings.append(Finding("look", f"{name}: {marker.told}; if it marks missing cells: {marker.key(name)}"))
    return findings


def _of_order(store: FeatureStore, rows: np.ndarray, target: np.ndarray, n_parts: int) -> list[Finding]:
    orders = {"the order of the train rows": rows.astype(np.float64)}
    ids = pd.to_numeric(store.own(store.train_rows)["id"], errors="coerce")
    if ids.notna().all():
        orders["the id"] = ids.to_numpy(dtype=np.float64)[rows]
    findings = []
    for name, values in orders.items():
        shuffled = np.random.default_rng(0).permutation(values)
        told, noise = (
            leaks.told_by(one, target, len(store.classes), seed=0, n_parts=n_parts) for one in (values, shuffled)
        )
        text = f"{name} alone explains {told:.0%} of the target"
        advice = ": rows are sorted or follow time, so shuffled folds may be optimistic"
        findings.append(_finding(text, advice, needs_look=told > leaks.ORDER_TELLS + 2.0 * noise))
    return findings


def _of_columns(
    train: pd.DataFrame, target: np.ndarray, n_classes: int, n_parts: int, on_progress: OnProgress
) -> Finding:
    told = {}
    for number, name in enumerate(train.columns):
        told[name] = leaks.told_by(train[name].to_numpy(), target, n_classes, seed=0, n_parts=n_parts)
        on_progress((number + 1) / train.shape[1], str(name))
    best = sorted(told, key=lambda name: -told[name])
    too_good = [f"{name} ({told[name]:.1%})" for name in best if told[name] > leaks.TOO_GOOD]
    if too_good:
        shown = ", ".join(too_good[:5])
        return Finding("look", f"too good to be true as a single column: {shown}; is it known at prediction time?")
    shown = ", ".join(f"{name} {told[name]:.0%}" for name in best[:3])
    return Finding("ok", f"no single column explains more than {leaks.TOO_GOOD:.0%} of the target; the most: {shown}")
