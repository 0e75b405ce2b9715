"""Whether every fold can be fitted and scored, asked before anything is trained.

Knows folds, the target, weights and the metric; must not know features or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray, Split, splits_of, window_of
from pipeline.competition.tables.reading import listed
from pipeline.config.spec import CompetitionSpec
from pipeline.metrics import Metric

HINT = "Choose other folds or another metric in the spec."


def check_folds(
    spec: CompetitionSpec,
    fold_of_row: FoldArray,
    target: FloatArray,
    classes: Sequence[object],
    weight: FloatArray | None,
    metric: Metric,
    moments: FloatArray | None = None,
) -> list[str]:
    """Raise DataError if a fold cannot be fitted, or no row scored; return notes on folds without a score of their own.

    `target` is (rows,) or (rows, targets) numbers or class codes; `weight` that of the loss, `metric` is of these rows,
    `moments` their times if folds follow time.
    """
    where, window = f"[folds] of {spec.name}", window_of(spec.folds, moments)
    splits = splits_of(fold_of_row, is_chained=spec.folds.rules.is_chained, window=window)
    for fold, split in enumerate(splits):
        if not len(split.train_rows):
            raise DataError(
                f"no row is left to train fold {fold}",
                where=where,
                hint="Use a smaller gap, a greater max_train, or fewer folds.",
            )
        if weight is not None and not weight[split.train_rows].any():
            raise DataError(
                f"every sample weight is 0 in the rows that train fold {fold}",
                where=f"{where}, column {spec.columns.sample_weight or spec.scoring.weight!r}",
                hint="Choose folds whose train rows have some weight, such as shuffled ones.",
            )
    validated = fold_of_row != NEVER_VALIDATED
    if not metric.at(validated).is_defined(target[validated], len(classes)):
        raise DataError(f"{_undefined(spec, target[validated], classes)} in the rows to score", where=where, hint=HINT)
    folds = [fold_of_row == fold for fold in range(int(fold_of_row.max()) + 1)]
    if target.ndim == 2 and not metric.is_joint:
        return _notes_of_several(spec, metric, target, classes, splits, [validated, *folds])
    notes = []
    for fold, split in enumerate(splits):
        if classes and len(present := np.unique(target[split.train_rows])) == 1:
            label = classes[int(present[0])]
            notes.append(f"fold {fold}: its train rows all have the class {label!r}, so every model predicts that")
    undefined = [n for n, rows in enumerate(folds) if not metric.at(rows).is_defined(target[rows], len(classes))]
    if undefined:
        why = _undefined(spec, target[folds[undefined[0]]], classes)
        notes.append(f"{why} in {_folds(undefined)}: no score there; the score of all rows together counts")
    return notes


def _notes_of_several(
    spec: CompetitionSpec,
    metric: Metric,
    target: FloatArray,
    classes: Sequence[object],
    splits: Sequence[Split],
    scored: Sequence[NDArray[np.bool_]],
) -> list[str]:
    """One note for each kind of gap; `scored` are the rows of all folds, then those of each."""
    learned, unscored, left_out = {}, [], {}
    for name, column in zip(spec.target, target.T, strict=True):
        if classes:
            learned[name] = [n for n, split in enumerate(splits) if np.ptp(column[split.train_rows]) == 0]
        undefined = [not metric.at(rows).is_defined(column[rows], len(classes)) for rows in scored]
        if undefined[0]:
            unscored.append(name)
        else:
            left_out[name] = [fold for fold, is_missing in enumerate(undefined[1:]) if is_missing]
    notes = []
    if constant := _gaps(learned):
        notes.append(f"the train rows have one class of {constant}, so every model predicts that")
    if unscored:
        notes.append(f"{spec.metric} is undefined for {listed(unscored, 5)}: left out of the mean over the targets")
    if gaps := _gaps(left_out):
        notes.append(f"{spec.metric} is undefined for {gaps}: left out of the mean there; the rows of all folds count")
    return notes


def _gaps(folds_of: Mapping[str, Sequence[int]]) -> str:
    """`'a' in fold 1; 'b' in folds 0, 2; and 3 more`; "" without a gap."""
    gaps = [f"{name!r} in {_folds(numbers)}" for name, numbers in folds_of.items() if numbers]
    return "; ".join([*gaps[:3], *([f"and {len(gaps) - 3} more"] if len(gaps) > 3 else [])])


def _folds(numbers: Sequence[int]) -> str:
    return f"fold{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _undefined(spec: CompetitionSpec, target: FloatArray, classes: Sequence[object]) -> str:
    """`roc_auc is undefined: no row of the class 'yes'`."""
    if spec.metric_file is not None:
        return f"{spec.metric} has no score for right predictions"
    if target.ndim == 2:
        return f"{spec.metric} is undefined for every target"
    if not classes:
        return f"{spec.metric} is undefined: the target is constant"
    lacking = [repr(label) for code, label in enumerate(classes) if not (target == code).any()]
    return f"{spec.metric} is undefined: no row of the class {', '.join(lacking[:3])}"
