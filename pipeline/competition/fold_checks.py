"""Whether every fold can be fitted and scored, asked before anything is trained.

Knows folds, the target, weights and the metric; must not know features or models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray, splits_of, window_of
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

    `target` is (rows,) or (rows, targets) numbers, or (rows,) class codes; `weight` that of the loss, `metric` is of
    these rows, `moments` their times if folds follow time.
    """
    where, notes = f"[folds] of {spec.name}", []
    window = window_of(spec.folds, moments)
    for fold, split in enumerate(splits_of(fold_of_row, is_chained=spec.folds.rules.is_chained, window=window)):
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
        if classes and len(present := np.unique(target[split.train_rows])) == 1:
            label = classes[int(present[0])]
            notes.append(f"fold {fold}: its train rows all have the class {label!r}, so every model predicts that")
    validated = fold_of_row != NEVER_VALIDATED
    if not metric.at(validated).is_defined(target[validated], len(classes)):
        raise DataError(f"{_undefined(spec, target[validated], classes)} in the rows to score", where=where, hint=HINT)
    folds = [fold_of_row == fold for fold in range(int(fold_of_row.max()) + 1)]
    undefined = [n for n, rows in enumerate(folds) if not metric.at(rows).is_defined(target[rows], len(classes))]
    if undefined:
        why = _undefined(spec, target[folds[undefined[0]]], classes)
        shown = f"fold{'s' if len(undefined) > 1 else ''} {', '.join(map(str, undefined))}"
        notes.append(f"{why} in {shown}: no score there; the score of all rows together counts")
    return notes


def _undefined(spec: CompetitionSpec, target: FloatArray, classes: Sequence[object]) -> str:
    """`roc_auc is undefined: no row of the class 'yes'`."""
    if spec.metric_file is not None:
        return f"{spec.metric} has no score for right predictions"
    if not classes:
        return f"{spec.metric} is undefined: the target is constant"
    lacking = [repr(label) for code, label in enumerate(classes) if not (target == code).any()]
    return f"{spec.metric} is undefined: no row of the class {', '.join(lacking[:3])}"
