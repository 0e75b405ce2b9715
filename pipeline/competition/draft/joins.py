"""What further files are for: the columns by which they join train and test, or why they are left out.

Must not know: targets, tasks, roles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from pipeline.base.errors import DataError
from pipeline.competition.tables.joining import Joined, join
from pipeline.competition.tables.reading import RawTable, as_written, listed, numbers_of, read_header, read_raw
from pipeline.config.sections import JoinedTable

MIN_SHARE = 0.5  # of the rows of train and of test that have a match
MOST_KEYS = 3  # columns of a key
MOST_SHARED = 8  # columns that may be part of a key
N_HEAD = 1000  # rows from which a column of fractions is told


@dataclass(frozen=True)
class FoundTables:
    """The tables to join with the evidence for each, and remarks on files that are left out."""

    joined: list[tuple[JoinedTable, str]]
    remarks: list[str]


def guess_tables(
    files: Mapping[str, Path], train: RawTable, test: RawTable, id_column: str, predicted: list[str]
) -> tuple[FoundTables, list[RawTable]]:
    """Join what can be joined of the files (name for the spec -> path), and return train and test with new columns."""
    found = FoundTables([], [])
    onto = [train, test]
    columns = [str(name) for name in train.frame.columns if name in test.frame.columns and name != ""]
    for name, path in files.items():
        try:
            header = read_header(path)
            shared = [column for column in columns if column in header]
            if reason := _reason_against(header, shared, test, id_column, predicted):
                found.remarks.append(f"{path.name} is not joined: {reason}")
                continue
            other = read_raw(path)
            table, done, why = _best(name, other, [c for c in shared if c in other.frame], onto, id_column)
        except DataError as error:
            found.remarks.append(f"{path.name} is not joined: {error.what}")
            continue
        if table is None or done is None:
            found.remarks.append(f"{path.name} is not joined: {why}")
            continue
        found.joined.append((table, why))
        onto = done.onto
    return found, onto


def _reason_against(header: list[str], shared: list[str], test: RawTable, id_column: str, predicted: list[str]) -> str:
    if not shared:
        return "it shares no column with both train and test"
    if any(name in header for name in predicted):
        is_like_train = set(predicted) <= set(header) and 2 * len(shared) >= len(test.frame.columns)
        more = "; [[extra_rows]] would train on its rows" if is_like_train else ""
        return f"it has {listed([name for name in predicted if name in header])}, which is to be predicted{more}"
    if len(shared) > 1 and set(test.frame.columns) <= {*header, id_column}:
        return f"it has all columns of {test.path.name}: more rows of the same kind"
    return ""


def _best(
    name: str, other: RawTable, shared: list[str], onto: list[RawTable], id_column: str
) -> tuple[JoinedTable | None, Joined | None, str]:
    """The table with its key and the evidence; or None and the reason."""
    train, test = (raw.path.name for raw in onto)
    why = f"no key of {listed(shared)} has one row for each value"
    for by in _keys(other, shared, id_column):
        table = JoinedTable(file=name, by=list(by))
        done = join(other, table, onto)
        shares = f"{done.shares[0]:.0%} of the rows of {train} and {done.shares[1]:.0%} of {test}"
        if min(done.shares) >= MIN_SHARE:
            is_unique = not other.frame.duplicated(list(by)).any()
            kind = "one row" if is_unique else "several rows"
            return table, done, f"{kind} for each {listed(by)}; found for {shares}"
        why = f"its {listed(by)} is that of {shares}"
    return None, None, why


def _keys(other: RawTable, shared: list[str], id_column: str) -> Iterator[tuple[str, ...]]:
    """Keys to try: the id whatever its rows, else the fewest columns of which no two rows are alike."""
    if id_column in shared:
        yield (id_column,)
        return
    parts = [name for name in shared if _may_be_key(other, name)][:MOST_SHARED]
    for size in range(1, min(MOST_KEYS, len(parts)) + 1):
        unique = [key for key in combinations(parts, size) if not other.frame.duplicated(list(key)).any()]
        yield from unique
        if unique:
            return


def _may_be_key(other: RawTable, name: str) -> bool:
    """Whether a column is of texts or whole numbers, not of measurements."""
    cells = other.column(name).head(N_HEAD).dropna()
    numbers = numbers_of(cells)
    numbers = numbers[np.isfinite(numbers)]
    return bool((numbers == np.round(numbers)).all()) and as_written(cells).nunique() > 1
