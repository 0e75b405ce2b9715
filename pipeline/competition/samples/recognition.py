"""Whether raw files are those of a built-in sample, by a mark among them or by their rows, whoever put them there.

Knows files and tables; must not know specs or the record of raw files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.samples import make_sample
from pipeline.competition.tables.formats import PARQUET, is_table
from pipeline.competition.tables.reading import read_head, read_header

MARK_FILE = "SAMPLE_DATA.md"  # written among the raw files, so that they cannot be without it for a moment
MARK_TEXT = """\
The tables in this folder are a built-in sample: SAMPLE DATA, not Kaggle's. What is made of them is never uploaded.
For real data delete the whole folder; the next command fetches Kaggle's files.
"""
# id column, and groups of columns of which each tells nearly all rows apart: editing one leaves the others as they are
BLOCKS: dict[str, tuple[str, list[list[str]]]] = {
    "house-prices": (
        "Id",
        [["LotArea", "YearBuilt"], ["GrLivArea", "YearRemodAdd"], ["1stFlrSF", "MoSold"], ["TotalBsmtSF", "YrSold"]],
    ),
    "digits": ("id", [[f"pixel_{row}_{column}" for column in range(8)] for row in range(2, 6)]),
    "quadrants": ("id", [["x1"], ["x2"]]),
    "spiral": ("id", [["x1"], ["x2"]]),
}
N_ROWS = 300  # compared, from the start of a file
LEAST_SHARE = 0.5  # of equal rows in a block; other data shares rows by chance only


def holds_sample(folder: Path) -> bool:
    """Return whether a folder of raw files is a built-in sample, complete or edited. Unreadable files are passed by."""
    if (folder / MARK_FILE).exists():
        return True
    return any(_is_sample_table(path) for path in _tables(folder))


def _tables(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if is_table(path))


def _is_sample_table(path: Path) -> bool:
    try:
        names = set(read_header(path))
        candidates = [name for name, (key, _) in BLOCKS.items() if key in names and _blocks_in(names, name)]
        rows = _first_rows(path) if candidates else pd.DataFrame()
        return any(_shares_rows(rows, name) for name in candidates)
    except (OSError, ValueError, DataError):  # what reads the table for its content reports these
        return False


def _blocks_in(names: set[str], sample: str) -> list[list[str]]:
    return [block for block in BLOCKS[sample][1] if names.issuperset(block)]


def _first_rows(path: Path) -> pd.DataFrame:
    if path.suffix == PARQUET:
        batches = islice(pq.ParquetFile(path).iter_batches(N_ROWS), 1)
        return pd.DataFrame(pd.concat(batch.to_pandas() for batch in batches))
    return read_head(path, N_ROWS)


def _shares_rows(frame: pd.DataFrame, name: str) -> bool:
    """Return whether most rows equal those of the sample with their id, in at least one block of columns."""
    key, _ = BLOCKS[name]
    sample = make_sample(name)
    known = pd.concat([sample.train, sample.test], ignore_index=True)
    known, frame = known.set_axis(pd.Index(_cells(known[key]))), frame.set_axis(pd.Index(_cells(frame[key])))
    n_rows, frame = len(frame), frame[frame.index.isin(known.index)]
    known = known.loc[frame.index]
    for block in _blocks_in(set(frame.columns), name):
        is_equal = [(_cells(frame[column]) == _cells(known[column])).to_numpy() for column in block]
        if int(np.logical_and.reduce(is_equal).sum()) >= LEAST_SHARE * n_rows > 0:
            return True
    return False


def _cells(series: pd.Series) -> pd.Series:
    """Text that is equal for equal values, whatever type a file gave them; "" if missing."""
    text = series.astype(TEXT).mask(series.isna() | (series == "NA"), "")
    numbers = pd.to_numeric(text, errors="coerce")
    return text.where(numbers.isna(), numbers.astype("float64").map(repr))
