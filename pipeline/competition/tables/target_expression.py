"""A target that is an expression of train columns, such as a difference: computed before anything reads the target.

Knows raw tables and the spec; must not know features or what is done with the target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.expressions import Expression
from pipeline.base.text import TEXT
from pipeline.competition.tables.deciding import decide_recipe
from pipeline.competition.tables.reading import RawTable, listed
from pipeline.competition.tables.typed import type_new_rows
from pipeline.config.spec import CompetitionSpec


def with_target(train: RawTable, spec: CompetitionSpec) -> tuple[RawTable, list[str]]:
    """Add the target that the spec's expression gives, missing where a part is, and tell of it. Raises DataError."""
    if spec.target_expression is None:
        return train, []
    (target,), expression = spec.target, Expression.parse(spec.target_expression)
    if target in train.frame.columns:
        raise DataError(
            f"there is a column {target!r}, which the spec computes as {spec.target_expression!r}",
            where=train.where(),
            hint="Give the target another name, and [submission] columns that of the sample submission.",
        )
    values = expression.value({name: _numbers(train, name, spec) for name in expression.names})
    frame = pd.concat([train.frame, pd.Series(values, index=train.frame.index, name=target)], axis=1)
    known = values[np.isfinite(values)]
    bounds = f", from {known.min():g} to {known.max():g}" if len(known) else ""
    return replace(train, frame=frame), [f"{target!r} is {spec.target_expression}{bounds}"]


def without_parts_of_target(test: RawTable, spec: CompetitionSpec) -> RawTable:
    """Test rows of the train rows' file without the columns of the expression that they lack, as the target lacks."""
    if spec.target_expression is None:
        return test
    names = [name for name in Expression.parse(spec.target_expression).names if test.column(name).isna().all()]
    return replace(test, frame=test.frame.drop(columns=names))


def _numbers(train: RawTable, name: str, spec: CompetitionSpec) -> FloatArray:
    """A column's numbers, in whatever notation. Raises DataError."""
    if name not in train.frame.columns:
        known = [str(column) for column in train.frame.columns]
        what = f"there is no column {name!r}, which target_expression names"
        raise DataError(what, where=train.where(), hint=did_you_mean(name, known))
    recipe, _ = decide_recipe(name, [train], spec.columns)
    if recipe.kind not in ("number", "flag"):
        examples = listed(train.column(name).dropna().astype(TEXT).unique()[:3])
        raise DataError(f"target_expression needs numbers, not such as {examples}", where=train.where(name))
    numbers: FloatArray = type_new_rows(train, [recipe])[recipe.features[0]].to_numpy(dtype=np.float64)
    return numbers
