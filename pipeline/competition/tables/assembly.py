"""The files of a spec -> train, test and sample submission as raw tables, however they lie in files.

Labels in a file of their own, one file of train and test, ids under other names, further tables. Must not know types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.competition.tables.ids import with_ids
from pipeline.competition.tables.joining import join_tables
from pipeline.competition.tables.reading import RawTable, as_written, find_raw, first_true, listed, read_raw
from pipeline.competition.tables.target_expression import with_target, without_parts_of_target
from pipeline.config.sections import Split
from pipeline.config.spec import CompetitionSpec


@dataclass(frozen=True)
class RawTables:
    """The three tables of a competition, with the id column of the spec in each; notes for the user."""

    train: RawTable
    test: RawTable
    sample: RawTable
    notes: list[str]


def read_tables(raw: Path, spec: CompetitionSpec) -> RawTables:
    """Read the files of `spec` in the folder `raw` and put them together. Raises DataError."""
    named = spec.files
    train, sample = (read_raw(find_raw(raw, name)) for name in (named.train, named.sample_submission))
    notes = list(train.notes)
    labels = read_raw(find_raw(raw, named.labels)) if named.labels is not None else None
    if spec.is_one_file:
        train, said = with_target(train, spec)
        train, test, note = divided(train, spec.target, spec.split)
        test = without_parts_of_target(test, spec)
        notes += [*said, note]
    else:
        test = read_raw(find_raw(raw, named.test))
        notes += test.notes
    notes += sample.notes
    if labels is not None:
        key = spec.ids.train if isinstance(spec.ids.train, str) and spec.ids.train else spec.id
        train, said = with_labels(train, labels, key)
        notes += [*labels.notes, *said]
    if not spec.is_one_file:
        train, said = with_target(train, spec)
        notes += said
    train, test, sample = with_ids(train, test, sample, spec.id, spec.ids)
    (train, test), said = join_tables(raw, spec.tables, [train, test])
    return RawTables(train, test, sample, notes + said)


def divided(whole: RawTable, target: list[str], split: Split) -> tuple[RawTable, RawTable, str]:
    """Divide one file into train and test rows, and say how. Raises DataError if a part has no rows."""
    for key, name in [("split.column", split.column)] if split.column else [("target", name) for name in target]:
        if name not in whole.frame.columns:
            known = [str(column) for column in whole.frame.columns]
            hint = did_you_mean(name, known)
            raise DataError(
                f"there is no column {name!r}, which the spec names as {key}", where=whole.where(), hint=hint
            )
    if split.column is not None:
        is_test = as_written(whole.frame[split.column]).isin(split.test).to_numpy(dtype=np.bool_)
        how = f"{split.column!r} is {' or '.join(map(repr, split.test))}"
    else:
        is_test = np.logical_and.reduce([whole.column(name).isna().to_numpy() for name in target])
        how = f"{listed(target)} {'is' if len(target) == 1 else 'are'} missing"
    for part, what in ((is_test, "test"), (~is_test, "train")):
        if not part.any():
            raise DataError(f"no row is a {what} row: those where {how} are test", where=whole.where())
    dropped = [] if split.column is None else [split.column]
    train, test = whole.taken(~is_test), whole.taken(is_test)
    train = replace(train, frame=train.frame.drop(columns=dropped), notes=[])
    test = replace(test, frame=test.frame.drop(columns=[*dropped, *(n for n in target if n in test.frame)]), notes=[])
    return train, test, f"{whole.path.name}: the {int(is_test.sum())} rows where {how} are test"


def with_labels(train: RawTable, labels: RawTable, key: str) -> tuple[RawTable, list[str]]:
    """Add the columns of a file of labels to train: by the column `key`, else row by row. Raises DataError."""
    new = [name for name in labels.frame.columns if name not in train.frame.columns and name != ""]
    if not new:
        raise DataError(f"has no column that {train.path.name} lacks", where=labels.where())
    if key not in labels.frame.columns or key not in train.frame.columns:
        if len(labels.frame) != len(train.frame):
            n_rows = f"{len(labels.frame)} rows for {len(train.frame)} of {train.path.name}"
            raise DataError(f"has {n_rows}, and no column {key!r} to join by", where=labels.where())
        added = labels.frame[new].set_axis(train.frame.index)
        note = f"{labels.path.name}: {listed(new)} joined row by row"
        return replace(train, frame=pd.concat([train.frame, added], axis=1)), [note]
    ids, own = as_written(labels.frame[key]), as_written(train.frame[key])
    if (second := first_true(ids.duplicated())) is not None:
        raise DataError(
            f"the id {ids.iloc[second]!r} has several rows; labels have one", where=labels.where(key, second)
        )
    place = pd.Index(ids).get_indexer(pd.Index(own))
    if not (place >= 0).any():
        what = (
            f"no id is among those of {train.path.name}; the first are {ids.iloc[0]!r} here and {own.iloc[0]!r} there"
        )
        raise DataError(what, where=labels.where(key))
    added = labels.frame[new].reindex(place).set_axis(train.frame.index)
    notes = [f"{labels.path.name}: {listed(new)} joined by {key!r}"]
    if n_unknown := len(ids) - len(set(place[place >= 0])):
        notes.append(f"{n_unknown} of {len(ids)} rows of {labels.path.name} belong to no row of {train.path.name}")
    return replace(train, frame=pd.concat([train.frame, added], axis=1)), notes


def is_without_target(train: RawTable, target: list[str], markers: dict[str, frozenset[str]]) -> NDArray[np.bool_]:
    """Which rows lack a target; `markers` are the texts that mark a missing one, by target."""
    is_lacking: NDArray[np.bool_] = np.logical_or.reduce(
        [train.column(name, markers=markers[name]).isna().to_numpy() for name in target]
    )
    return is_lacking


def with_known_targets(train: RawTable, spec: CompetitionSpec, markers: frozenset[str]) -> tuple[RawTable, list[str]]:
    """The rows that have a target, and how many lack one; all rows if the spec refuses such. Raises DataError."""
    is_lacking = is_without_target(train, spec.target, dict.fromkeys(spec.target, markers))
    if spec.missing_target == "refuse" or not is_lacking.any():
        return train, []
    if is_lacking.all():
        raise DataError("every row lacks a target", where=train.where(spec.target[0]))
    row = train.row_number(first_true(is_lacking) or 0)
    n_rows = f"{int(is_lacking.sum())} of {len(train.frame)} rows of {train.path.name} lack a target"
    return train.taken(~is_lacking), [f"{n_rows} and are left out (the first is row {row})"]


def respelled(train: RawTable, target: str, spelling: dict[str, str]) -> RawTable:
    """Train with the labels of its target spelled otherwise."""
    labels = as_written(train.frame[target])
    return replace(train, frame=train.frame.assign(**{target: labels.replace(spelling).astype(TEXT)}))
