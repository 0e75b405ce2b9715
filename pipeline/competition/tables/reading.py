"""Files -> raw tables: CSV cells as text, exactly as written; parquet columns with their own types.

Must not know: the spec, or what a column means.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.text import TEXT

MISSING_MARKERS = frozenset({  # the texts that pandas.read_csv reads as missing
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#N/A N/A", "#NA",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
})  # fmt: skip
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
WHOLE_NUMBER = r"^(0|-?[1-9]\d{0,17})$"  # what str(int) writes and int64 holds
LARGEST = 1e37  # of a number in the data: models compute in float32, which ends at 3.4e38
TOO_LARGE = f"beyond {LARGEST:g}, the largest number that models can compute with"
DELIMITERS = {";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
CSV_BLOCK = 1 << 24  # bytes; a single row must fit
DAMAGED = "The file may be incomplete: download it again."
NOT_CSV = (  # lower-case first bytes, what they show, what to do
    ((b"<!doctype", b"<html", b"<?xml"), "is a web page, not a CSV", "Log in to Kaggle and download it again."),
    (b"pk\x03\x04", "is a zip archive", "Unpack it."),
    (b"par1", "is a parquet file", "Rename it to end in .parquet."),
    (b"\x1f\x8b", "is a gzip file", "Rename it to end in .csv.gz."),
    ((b"\xff\xfe", b"\xfe\xff"), "is UTF-16 text", "Save it as UTF-8."),
)


@dataclass(frozen=True)
class RawTable:
    """One raw file: text as written for CSV, numbers or text for parquet. `notes` are for the user."""

    path: Path
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def column(self, name: str, *, markers: Collection[str] = MISSING_MARKERS) -> pd.Series:
        """The column, with NaN for the texts in `markers`."""
        series: pd.Series = self.frame[name]
        return series.mask(series.isin(markers)) if is_text(series) else series

    def where(self, column: str | None = None, index: int | None = None) -> str:
        """`file, column, row` for an error message; `index` counts data rows from 0, the message from 1."""
        parts = [str(self.path)]
        parts += [] if column is None else [f"column {column!r}"]
        parts += [] if index is None else [f"row {index + 1}"]
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
    """Find the file `name` in `folder`, or the same table as `.csv.gz` or `.parquet`. Raises DataError."""
    stem = name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    for candidate in (name, f"{name}.gz", f"{stem}.parquet", f"{stem}.csv", f"{stem}.csv.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    found = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    hint = did_you_mean(name, found) or "The folder has no files: `python -m pipeline data` fetches them."
    raise DataError("does not exist", where=str(folder / name), hint=f"{hint} [files] in the spec sets the name.")


def read_raw(path: Path) -> RawTable:
    """Read a `.csv`, `.csv.gz` or `.parquet` file without inferring types. Raises DataError."""
    if not path.is_file():
        raise DataError("does not exist", where=str(path))
    return _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)


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
    if (np.isnan(numbers) == series.isna().to_numpy()).all() and not series.str.match(r"^[+-]?0\d").any():
        return pd.Series(numbers, index=series.index, name=series.name)
    return series


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


def _read_csv(path: Path) -> RawTable:
    data, notes = _utf8_bytes(path)
    header = _header(data, path)
    names = [str(position) for position in range(len(header))]
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=names, skip_rows_after_names=1, block_size=CSV_BLOCK
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if ragged:
            row = ragged[0]
            raise DataError(
                f"row {row.number - 1} has {row.actual_columns} fields, the header has {row.expected_columns}",
                where=str(path),
                hint=f"The row is {row.text[:80]!r}. Text that contains a comma needs double quotes.",
            ) from None
        raise DataError(f"cannot be read as CSV: {error}", where=str(path)) from None
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda _: TEXT)
    frame.columns = pd.Index(header)
    if len(frame) and "\n" in str(frame.iloc[-1, -1]) and not data.rstrip().endswith(b'"'):
        raise DataError(f"row {len(frame)} opens a double quote that is never closed", where=str(path))
    return RawTable(path, frame, notes)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, decompressed if its name ends in `.gz`. Raises DataError."""
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"is not a complete gzip file: {error}", where=str(path), hint=DAMAGED) from None


def _utf8_bytes(path: Path) -> tuple[bytes, list[str]]:
    """The file's text as UTF-8 without BOM, with a line end at its end; notes for the user."""
    data = read_bytes(path)
    start = data[:512].lstrip().lower()
    if not start and not data.strip():
        raise DataError("the file is empty", where=str(path), hint=DAMAGED)
    for magic, what, hint in NOT_CSV:
        if start.startswith(magic):
            raise DataError(what, where=str(path), hint=hint)
    if b"\0" in data:
        raise DataError("is not a CSV: it contains binary data", where=str(path))
    data = data.removeprefix(b"\xef\xbb\xbf")
    notes = []
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        encoding = "cp1252"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            encoding = "latin-1"  # reads any bytes
            text = data.decode(encoding)
        data = text.encode("utf-8")
        notes.append(f"{path.name} is not UTF-8 (line {line}); it was read as {encoding}")
    return (data if data.endswith((b"\n", b"\r")) else data + b"\n"), notes


def _header(data: bytes, path: Path) -> list[str]:
    """The column names, exactly as written."""
    try:
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")))
    except csv.Error as error:
        raise DataError(f"the header cannot be read: {error}", where=str(path)) from None
    if not header:
        raise DataError("the first line is blank; it must name the columns", where=str(path))
    for delimiter, what in DELIMITERS.items():
        if len(header) == 1 and delimiter in header[0]:
            raise DataError(
                f"the fields are separated by {what} ({delimiter!r}), not by a comma",
                where=str(path),
                hint=f"Convert it: pandas.read_csv(path, sep={delimiter!r}).to_csv(path, index=False).",
            )
    _refuse_duplicates(header, path)
    return header


def _refuse_duplicates(header: list[str], path: Path) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(header, start=1):
        if name in seen:
            raise DataError(
                f"two columns are called {name!r}: number {seen[name]} and number {position}",
                where=str(path),
                hint="Rename or remove one of them.",
            )
        seen[name] = position


def _read_parquet(path: Path) -> RawTable:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot be read as parquet: {error}", where=str(path)) from None
    _refuse_duplicates(table.column_names, path)
    columns = {name: _from_arrow(table.column(name), name, path) for name in table.column_names}
    return RawTable(path, pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows)))


def _from_arrow(values: Any, name: str, path: Path) -> pd.Series:
    """Numbers stay numbers (float64 if some are missing); booleans, times and categories become text."""
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
    raise DataError(f"has the type {kind}; expected numbers, text or dates", where=f"{path}, column {name!r}")
