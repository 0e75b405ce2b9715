"""Files -> raw tables: CSV cells as text, exactly as written; parquet columns with their own types.

Must not know: the spec, or what a column means.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.base import mapped
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.competition.tables.formats import (
    JSON_LINES,
    PARQUET,
    SEPARATOR_OF,
    alternatives,
    format_of,
    is_large,
    read_bytes,
)
from pipeline.competition.tables.large_texts import read_large
from pipeline.competition.tables.text_tables import (
    HEADER_BYTES,
    SEPARATORS,
    UTF_16,
    delimited,
    header_of,
    json_lines,
    refuse_duplicates,
    separator_of,
    utf8,
)

MISSING_MARKERS = frozenset({  # the texts that pandas.read_csv reads as missing
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#N/A N/A", "#NA",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
})  # fmt: skip
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
WHOLE_NUMBER = r"^(0|-?[1-9]\d{0,17})$"  # what str(int) writes and int64 holds
LARGEST = 1e37  # of a number in the data: models compute in float32, which ends at 3.4e38
LARGEST_WHOLE = 2.0**53  # up to which float64 holds every whole number
TOO_LARGE = f"beyond {LARGEST:g}, the largest number that models can compute with"


@dataclass(frozen=True)
class RawTable:
    """One raw file: text as written for CSV, numbers or text for parquet. `notes` are for the user."""

    path: Path
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    row_numbers: NDArray[np.int64] | None = None  # in the file, from 0, if some rows were left out

    def taken(self, is_kept: NDArray[np.bool_]) -> RawTable:
        """The rows of which `is_kept` is true; messages go on naming the rows of the file."""
        numbers = np.arange(len(self.frame)) if self.row_numbers is None else self.row_numbers
        if mapped.is_large(*self.frame.shape):
            file = mapped.ColumnFile(self.path.parent)
            for name in self.frame.columns:
                file.add(str(name), self.frame[name][is_kept])
            frame = file.frame()
        else:
            frame = self.frame[is_kept].reset_index(drop=True)
        return replace(self, frame=frame, row_numbers=numbers[is_kept])

    def column(self, name: str, *, markers: Collection[str] = MISSING_MARKERS) -> pd.Series:
        """The column, with NaN for the texts in `markers`."""
        series: pd.Series = self.frame[name]
        return series.mask(series.isin(markers)) if is_text(series) else series

    def row_number(self, index: int) -> int:
        """The number of a row in the file, counted from 1; `index` counts the table's rows from 0."""
        return (index if self.row_numbers is None else int(self.row_numbers[index])) + 1

    def where(self, column: str | None = None, index: int | None = None) -> str:
        """`file, column, row` for an error message; `index` counts data rows from 0, the message from 1."""
        parts = [str(self.path)]
        parts += [] if column is None else [f"column {column!r}"]
        parts += [] if index is None else [f"row {self.row_number(index)}"]
        return ", ".join(parts)


def first_true(flags: pd.Series | NDArray[np.bool_]) -> int | None:
    """The position of the first True, or None."""
    values = np.asarray(flags, dtype=np.bool_)
    return int(values.argmax()) if values.any() else None


def listed(names: Iterable[object], most: int = 10) -> str:
    """`'a', 'b', …` for a message: the first `most` names."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "") or "none"


def is_text(series: pd.Series) -> bool:
    """Whether the series holds text (dtype `str`)."""
    return isinstance(series.dtype, pd.StringDtype)


def find_raw(folder: Path, name: str) -> Path:
    """Find the file `name` in `folder`, or the same table in another format. Raises DataError."""
    for candidate in alternatives(name):
        if (folder / candidate).is_file():
            return folder / candidate
    found = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    hint = did_you_mean(name, found) or "The folder has no files: `python -m pipeline data` fetches them."
    raise DataError("does not exist", where=str(folder / name), hint=f"{hint} [files] in the spec sets the name.")


def read_raw(path: Path) -> RawTable:
    """Read a file of any format without inferring types. Raises DataError."""
    if not path.is_file():
        raise DataError("does not exist", where=str(path))
    kind = format_of(path)
    return _read_parquet(path) if kind == PARQUET else _read_text(path, kind)


def read_table(path: Path, *, as_text: Collection[str] = ()) -> pd.DataFrame:
    """Read a table as int64, float64, bool, or `str` with NaN for missing; ids like 007 stay text.

    Columns in `as_text` keep their text, such as ids of 20 digits; in them only an empty cell is missing.
    """
    raw = read_raw(path)
    columns = {
        name: as_written(raw.column(name, markers=("",))) if name in as_text else inferred(raw.column(name))
        for name in raw.frame.columns
    }
    return pd.DataFrame(columns, index=raw.frame.index)


def inferred(series: pd.Series) -> pd.Series:
    """Text converted to int64, bool or float64 if no value loses anything by it; else unchanged."""
    if not is_text(series) or series.isna().all():
        return series
    whole = whole_numbers(series)
    if whole is not None:
        return whole
    if not series.isna().any() and series.isin(["True", "False"]).all():
        return series == "True"
    numbers = numbers_of(series)
    is_number = (np.isnan(numbers) == series.isna().to_numpy()).all() and not series.str.match(r"^[+-]?0\d").any()
    if is_number and not _loses_digits(series, numbers):
        return pd.Series(numbers, index=series.index, name=series.name)
    return series


def _loses_digits(series: pd.Series, numbers: FloatArray) -> bool:
    """Whether different whole numbers in `series` are the same one in `numbers`, as beyond 2^53 neighbours are."""
    texts = series[np.abs(numbers) >= LARGEST_WHOLE]
    whole = texts[texts.str.fullmatch(r"[+-]?\d+")].drop_duplicates()
    return len(np.unique(numbers_of(whole))) < len(whole)


def whole_numbers(series: pd.Series) -> pd.Series | None:
    """Text as int64 if every value is written as Python writes an int; else None."""
    if not is_text(series):
        return series if pd.api.types.is_integer_dtype(series.dtype) else None
    if series.isna().any() or not series.str.match(WHOLE_NUMBER).all():
        return None
    return series.astype("int64")


def numbers_of(series: pd.Series) -> FloatArray:
    """Values as float64, correctly rounded; NaN where the text is missing or not a number."""
    if not is_text(series):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    text = pa.array(series, type=pa.large_string())
    try:
        numbers = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:  # some are not numbers
        text = pc.utf8_trim_whitespace(text)
        numbers = pc.cast(pc.if_else(pc.match_substring_regex(text, NUMBER), text, None), pa.float64())
    return np.array(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def as_written(series: pd.Series) -> pd.Series:
    """Values as text: CSV text unchanged, parquet numbers as Python prints them, whole floats without `.0`."""
    if is_text(series):
        return series
    if pd.api.types.is_float_dtype(series.dtype):
        present = series.dropna()
        if (present == present.round()).all() and (present.abs() < 2**53).all():
            return present.astype("int64").astype(TEXT).reindex(series.index)
    return series.astype(TEXT).mask(series.isna())


def _read_text(path: Path, kind: str) -> RawTable:
    if kind not in JSON_LINES and is_large(path):
        frame, separator, notes = read_large(path, SEPARATOR_OF[kind])
    else:
        data, notes = utf8(read_bytes(path), path.name, str(path))
        if kind in JSON_LINES:
            return RawTable(path, json_lines(data, str(path)), notes)
        separator = separator_of(data, SEPARATOR_OF[kind])
        frame = delimited(data, separator, str(path))
        del data
    if separator != ",":
        notes.append(f"{path.name}: the cells are separated by {SEPARATORS[separator]}")
    raw = RawTable(path, frame, notes)
    is_blank = _blank_rows(raw.frame)
    if not is_blank.any():
        return raw
    notes.append(f"{path.name}: {int(is_blank.sum())} rows have only empty cells; they are left out")
    return raw.taken(~is_blank)


def _blank_rows(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """The rows in which every cell is empty: of each column only rows are looked at whose cells before are empty."""
    is_blank = (frame.iloc[:, 0] == "").to_numpy(dtype=np.bool_, copy=True)
    rows = np.flatnonzero(is_blank)
    for position in range(1, frame.shape[1]):
        if not len(rows):
            break
        is_empty = (frame.iloc[rows, position] == "").to_numpy(dtype=np.bool_)
        is_blank[rows[~is_empty]] = False
        rows = rows[is_empty]
    return is_blank


def read_header(path: Path) -> list[str]:
    """The names of a table's columns, without reading the rest of it. Raises DataError."""
    kind = format_of(path)
    if kind == PARQUET:
        return list(read_raw(path).frame.columns) if path.suffix != PARQUET else list(pq.read_schema(path).names)
    head = read_bytes(path, HEADER_BYTES)
    head = read_bytes(path) if head[:2] in UTF_16 else head[: head.rfind(b"\n") + 1] or head  # not half a character
    data, _ = utf8(head, path.name, str(path))
    if kind in JSON_LINES:
        return list(json_lines(data[: data.find(b"\n") + 1], str(path)).columns)
    return header_of(data, separator_of(data, SEPARATOR_OF[kind]), str(path))


def read_head(path: Path, n_rows: int) -> pd.DataFrame:
    """The first rows of a table, at most `n_rows`, of a long text without reading the rest. Raises DataError."""
    head = read_bytes(path, HEADER_BYTES) if (kind := format_of(path)) in SEPARATOR_OF else b""
    if len(head) == HEADER_BYTES and head[:2] not in UTF_16:
        try:
            data, _ = utf8(head[: head.rfind(b"\n") + 1], path.name, str(path))
            frame = delimited(data, separator_of(data, SEPARATOR_OF[kind]), str(path))
        except DataError:  # the last line may end within a quoted cell
            frame = pd.DataFrame()
        if len(frame):
            return frame.head(n_rows)
    return read_raw(path).frame.head(n_rows)


def _read_parquet(path: Path) -> RawTable:
    try:
        table = pq.read_table(path if path.suffix.lower() == PARQUET else pa.BufferReader(read_bytes(path)))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot be read as parquet: {error}", where=str(path)) from None
    refuse_duplicates(table.column_names, str(path))
    columns, notes = {}, []
    for name in table.column_names:
        column = _from_arrow(table.column(name))
        if column is None:
            notes.append(
                f"{path.name}: {name!r} is left out: {table.column(name).type} is neither number, text nor date"
            )
        else:
            columns[name] = column
    return RawTable(path, pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows)), notes)


def _from_arrow(values: Any) -> pd.Series | None:
    """Numbers stay numbers (float64 if some are missing); booleans, times and categories become text; else None."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = kind.value_type
    is_whole = pa.types.is_decimal(kind) and kind.scale == 0  # perhaps ids beyond the digits of float64
    if is_whole or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        texts: pd.Series = values.cast(pa.large_string()).to_pandas().astype(TEXT)
        return texts
    if pa.types.is_decimal(kind):
        return pd.Series(values.cast(pa.float64()).to_pandas())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pd.Series(values.to_pandas())
    if pa.types.is_boolean(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        series = values.cast(pa.timestamp("us")).to_pandas() if pa.types.is_date(kind) else values.to_pandas()
        text: pd.Series = series.astype(TEXT).mask(series.isna())
        return text
    return None
