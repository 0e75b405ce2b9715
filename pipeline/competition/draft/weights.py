"""The column by which a metric such as `wmae` weighs rows.

Must not know: targets, tasks, or how the spec is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.base.errors import SpecError
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.tables.reading import RawTable, as_written, numbers_of

NAME = re.compile(r"(?i)(.*[^a-z])?(weights?|wgt)")
FLAGS = {"true", "false"}
N_HEAD = 1000  # cells that are looked at before a whole column


@dataclass(frozen=True)
class DraftWeights:
    """A train column with the weights, or the values that have some; and the evidence."""

    column: str
    values: list[str]  # [] if the column holds the weights
    evidence: str


def guess_weights(files: DraftFiles, metric: str) -> DraftWeights:
    """Take the one column called a weight, or else the one of True and False. Raises SpecError if there is none."""
    train = files.train
    called = [str(name) for name in train.frame if NAME.fullmatch(str(name)) and _are_weights(train, str(name))]
    if len(called) == 1:
        return DraftWeights(called[0], [], "its name, and numbers of which none is negative")
    flags = [name for name in files.shared_columns if _is_flag(train, name)]
    if len(flags) == 1:
        values = sorted(str(value) for value in as_written(train.column(flags[0])).unique())
        told = f"the one column of {' and '.join(values)}; {metric} weighs rows, and no file tells how much: correct it"
        return DraftWeights(flags[0], values, told)
    raise SpecError(
        f"{metric!r} weighs rows, and no column of {train.path.name} looks like their weights",
        where="--metric",
        hint=f'Draft the spec with another metric. Then set metric = "{metric}" and, in [scoring], weight = "COLUMN" '
        "and, unless it holds numbers, weights = {value = weight}.",
    )


def _are_weights(train: RawTable, name: str) -> bool:
    return bool((numbers_of(train.column(name)) >= 0).all())  # False for a missing one


def _is_flag(train: RawTable, name: str) -> bool:
    cells = train.column(name)
    for part in (cells.head(N_HEAD), cells):
        if part.isna().any() or not {str(value).lower() for value in as_written(part).unique()} <= FLAGS:
            return False
    return cells.nunique() == len(FLAGS)
