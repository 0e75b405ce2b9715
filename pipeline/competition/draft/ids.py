"""Which columns hold the ids: by name and values, joined from columns, or the order of the rows.

Must not know: targets, tasks, roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

import pandas as pd

from pipeline.base.errors import DataError
from pipeline.competition.tables.ids import joined_ids
from pipeline.competition.tables.reading import RawTable, as_written, listed
from pipeline.config.sections import IdColumns

SEPARATORS = ("_", "|", ":", "-", "/", " ")  # of joined ids
MOST_TRIES = 50  # ways to join columns of equal values
NO_HEADER = "Unnamed: 0"  # what the spec calls a column without a header


@dataclass(frozen=True)
class FoundIds:
    """The id as the spec names it, where the files have it, and the evidence."""

    id: str
    columns: IdColumns
    evidence: str
    evidence_of_train: str  # "" if train has the column `id`


def find_ids(train: RawTable, test: RawTable, sample: RawTable) -> FoundIds:
    """Find the ids. Raises DataError that says how the sample's columns differ from test's."""
    test_name, sample_name = test.path.name, sample.path.name
    for of_sample, of_test in _pairs(test, sample):
        if _same_ids(_ids(sample, of_sample), _ids(test, of_test)):
            name = of_test or of_sample
            named: dict[str, str | list[str]] = {} if of_test == name else {"test": NO_HEADER}
            named |= {} if of_sample == name else {"sample_submission": of_sample or NO_HEADER}
            what = "the same values in" if of_sample == of_test else f"{of_test!r} of {test_name} has the values of"
            where = f"{sample_name} and {test_name}" if of_sample == of_test else f"{of_sample!r} in {sample_name}"
            return _with_train(train, test, name, named, f"{what} {where}")
    if (part := _partial(test, sample)) is not None:
        return _with_train(train, test, *part)
    name = str(sample.frame.columns[0])
    ids = _ids(sample, name)
    if ids.is_unique and ids.notna().all():
        for separator in SEPARATORS:
            if columns := _joined(ids, test, separator):
                why = f"{name!r} of {sample_name} joins {listed(columns)} of {test_name}"
                return _with_train(train, test, name, {"test": columns, "separator": separator}, why)
        if len(ids) == len(test.frame) and name not in test.frame.columns and _are_counted(ids):
            why = f"{name!r} is in {sample_name} alone, which counts its rows from {ids.iloc[0]} to {ids.iloc[-1]}"
            why += f": they are the {len(ids)} rows of {test_name} in order"
            return _with_train(train, test, name, {"test": ""}, why)
    raise DataError(f"no column holds the ids of {test_name}", where=sample.where(), hint=_why_none(test, sample))


def _partial(test: RawTable, sample: RawTable) -> tuple[str, dict[str, str | list[str]], str] | None:
    """The id if the sample asks for some test rows only: its first column, called alike in test, where it is unique."""
    of_sample = str(sample.frame.columns[0])
    of_test = next((str(name) for name in test.frame.columns if str(name).lower() == of_sample.lower()), None)
    if of_test is None:
        return None
    asked, known = _ids(sample, of_sample), _ids(test, of_test)
    if not (asked.is_unique and known.is_unique and asked.notna().all() and known.notna().all()):
        return None
    if not asked.isin(known).all():
        return None
    named: dict[str, str | list[str]] = {} if of_sample == of_test else {"sample_submission": of_sample}
    return of_test, named, f"{len(asked)} of the {len(known)} values in {test.path.name} are in {sample.path.name}"


def _pairs(test: RawTable, sample: RawTable) -> Iterator[tuple[str, str]]:
    """Columns of sample and test that may be the id: of the same name first, then any with the sample's first one."""
    of_test = [str(name) for name in test.frame.columns]
    yield from ((str(name), str(name)) for name in sample.frame.columns if name in of_test)
    first = str(sample.frame.columns[0])
    yield from ((first, name) for name in sorted(of_test, key=lambda name: name.lower() != first.lower()))


def _with_train(train: RawTable, test: RawTable, name: str, named: dict[str, str | list[str]], why: str) -> FoundIds:
    column, why_train = _id_of_train(train, test, name, named.get("test"))
    if column is not None:
        named["train"] = column
    return FoundIds(name, IdColumns.model_validate(named), why, why_train)


def _id_of_train(
    train: RawTable, test: RawTable, name: str, of_test: str | list[str] | None
) -> tuple[str | list[str] | None, str]:
    """The id column of train for [ids], None if it is called as everywhere; and the evidence."""
    columns, test_columns = [str(column) for column in train.frame.columns], set(test.frame.columns)
    if isinstance(of_test, list) and set(of_test) <= set(columns):
        return of_test, f"{train.path.name} has the same columns"
    if of_test == NO_HEADER and "" in columns:
        return NO_HEADER, f"{train.path.name} has a column without a header, too"
    if name in columns:
        return None, ""
    own = [column for column in columns if column not in test_columns]
    for column in (*(c for c in own if c.lower() == name.lower()), *filter(_is_called_id, own)):
        ids = _ids(train, column)
        if ids.is_unique and ids.notna().all():
            return column or NO_HEADER, f"{column!r} has another value in each row, and only {train.path.name} has it"
    return "", f"{train.path.name} has no column of ids: its rows are numbered"


def _is_called_id(name: str) -> bool:
    return name == "" or re.search(r"(^|[^a-z])id$|I[dD]$", name) is not None


def _joined(ids: pd.Series, test: RawTable, separator: str) -> list[str]:
    """The columns of test that give the ids when joined; [] if none do."""
    parts = ids.str.split(separator, regex=False, expand=True)
    if parts.shape[1] < 2 or parts.isna().any(axis=None) or len(ids) != len(test.frame):
        return []
    values = {str(name): set(as_written(test.frame[name])) for name in test.frame.columns}
    fitting = [[name for name, known in values.items() if known == set(parts[place])] for place in parts.columns]
    for columns in islice(product(*fitting), MOST_TRIES):
        if _same_ids(ids, joined_ids(test.frame, list(columns), separator)):
            return list(columns)
    return []


def _are_counted(ids: pd.Series) -> bool:
    """Whether the ids count the rows: 1, 2, 3 or row_0, row_1."""
    parts = ids.str.extract(r"^(\D*)(\d+)$")
    if parts.isna().any(axis=None) or parts[0].nunique() > 1:
        return False
    return bool((pd.to_numeric(parts[1]).diff().iloc[1:] == 1).all()) and int(parts[1].iloc[0]) <= 1


def _ids(table: RawTable, name: str) -> pd.Series:
    return as_written(table.column(name, markers=("",)))


def _same_ids(left: pd.Series, right: pd.Series) -> bool:
    if len(left) != len(right) or left.isna().any() or right.isna().any():
        return False
    left_ids = set(left)
    if right.iloc[0] not in left_ids:
        return False
    return left_ids == set(right) and len(left_ids) == len(left)


def _why_none(test: RawTable, sample: RawTable) -> str:
    shared = [str(name) for name in sample.frame.columns if name in test.frame.columns]
    if not shared:
        return f"{test.path.name} has none of its columns: {listed(sample.frame.columns)}, and they do not count rows."
    return "; ".join(_difference(name, sample, test) for name in shared)


def _difference(name: str, sample: RawTable, test: RawTable) -> str:
    values = as_written(sample.column(name)).dropna()
    is_known = values.isin(as_written(test.column(name)))
    missing = "" if is_known.all() else f" (not {values[~is_known].iloc[0]!r})"
    return (
        f"{name!r}: {int(is_known.sum())} of the sample's {len(values)} values ({values.nunique()} distinct) are in "
        f"{test.path.name}{missing}, which has {test.column(name).nunique()} distinct values in {len(test.frame)} rows"
    )
