"""Files -> raw tables: every CSV cell as the text that stands in the file, parquet with its own types.

Must not know: the spec, or what a column means.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean

MISSING_MARKERS = frozenset({  # the texts pandas.read_csv takes for a missing value
    "", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#N/A N/A", "#NA",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
})  # fmt: skip
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
WHOLE_NUMBER = r"^(0|-?[1-9]\d{0,17})$"  # what str(int) writes and int64 holds
DELIMITERS = {";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
CSV_BLOCK = 1 << 24  # bytes; a single row must fit


@dataclass(frozen=True)
class RawTable:
    """One raw file: text exactly as written for CSV, numbers or text for parquet. `notes` are for the user."""

    path: Path
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def column(self, name: str, *, markers: Collection[str] = MISSING_MARKERS) -> pd.Series:
        """The column with the missing `markers` as NaN."""
        series: pd.Series = self.frame[name]
        return series.mask(series.isin(markers)) if is_text(series) else series

    def where(self, column: str | None = None, index: int | None = None) -> str:
        """`file, column, row` for an error; `index` counts data rows from 0, the user reads them from 1."""
        parts = [str(self.path)]
        parts += [] if column is None else [f"column {column!r}"]
        parts += [] if index is None else [f"row {index + 1}"]
        return ", ".join(parts)


def is_text(series: pd.Series) -> bool:
    """Whether the series holds text (dtype `str`)."""
    return isinstance(series.dtype, pd.StringDtype)


def find_raw(folder: Path, name: str) -> Path:
    """The file `name` in `folder`, or its `.gz`, or the parquet file of the same stem. Raises DataError."""
    stem = name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    for candidate in (name, f"{name}.gz", f"{stem}.parquet", f"{stem}.csv", f"{stem}.csv.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    found = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
    hint = did_you_mean(name, found) or "The folder holds no files: `python -m pipeline data` fetches them."
    raise DataError("the file is not there", where=str(folder / name), hint=f"{hint} [files] in the spec names it.")


def read_raw(path: Path) -> RawTable:
    """Read a `.csv`, `.csv.gz` or `.parquet` file with care; nothing is typed yet. Raises DataError."""
    if not path.is_file():
        raise DataError("the file is not there", where=str(path))
    return _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)


def read_table(path: Path, *, na_is_category: Collection[str] = ()) -> pd.DataFrame:
    """Read a table with plain types: int64, float64, bool, or `str` with NaN for missing; ids like 007 stay text.

    In the `na_is_category` columns only an empty cell is missing, and the column is text.
    """
    raw = read_raw(path)
    columns = {}
    for name in raw.frame.columns:
        keeps_na = name in na_is_category
        series = raw.column(name, markers=("",) if keeps_na else MISSING_MARKERS)
        columns[name] = as_written(series) if keeps_na else plainly_typed(series)
    return pd.DataFrame(columns, index=raw.frame.index)


def plainly_typed(series: pd.Series) -> pd.Series:
    """Text as int64, bool or float64 when every value reads so exactly; else as it is."""
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
    """Text as int64 when each value is written as Python writes an int, else None."""
    if not is_text(series):
        return series if pd.api.types.is_integer_dtype(series.dtype) else None
    if series.isna().any() or not series.str.match(WHOLE_NUMBER).all():
        return None
    return series.astype("int64")


def numbers_of(series: pd.Series) -> FloatArray:
    """Values as float64, correctly rounded; NaN where the text is missing or no number."""
    if not is_text(series):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    text = pa.array(series, type=pa.large_string())
    try:
        numbers = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:  # some are no numbers
        text = pc.utf8_trim_whitespace(text)
        numbers = pc.cast(pc.if_else(pc.match_substring_regex(text, NUMBER), text, None), pa.float64())
    return np.array(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def as_written(series: pd.Series) -> pd.Series:
    """Values as text: CSV text as it stands, parquet numbers as Python prints them, whole floats without `.0`."""
    if is_text(series):
        return series
    if pd.api.types.is_float_dtype(series.dtype):
        present = series.dropna()
        if (present == present.round()).all() and (present.abs() < 2**53).all():
            return present.astype("int64").astype("str").reindex(series.index)
    return series.astype("str").mask(series.isna())


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
                hint=f"The row reads {row.text[:80]!r}: a text with a comma in it must stand in double quotes.",
            ) from None
        raise DataError(f"is not a CSV that can be read: {error}", where=str(path)) from None
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = pd.Index(header)
    if len(frame) and "\n" in str(frame.iloc[-1, -1]) and not data.rstrip().endswith(b'"'):
        raise DataError(f"row {len(frame)} opens a double quote that is never closed", where=str(path))
    return RawTable(path, frame, notes)


def _utf8_bytes(path: Path) -> tuple[bytes, list[str]]:
    """The file's text as UTF-8 bytes without BOM, ending in a line end, and what the user should know of it."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"is no complete gzip file: {error}", where=str(path), hint="Download it again.") from None
    start = data[:512].lstrip().lower()
    if not data.strip():
        raise DataError("the file is empty", where=str(path), hint="Download it again.")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError("is a web page, not a CSV", where=str(path), hint="Log in to Kaggle and download it again.")
    for magic, what in ((b"pk\x03\x04", "a zip archive: unpack it"), (b"par1", "a parquet file: name it so")):
        if start.startswith(magic):
            raise DataError(f"is {what}", where=str(path))
    if start.startswith(b"\x1f\x8b"):
        raise DataError("is a gzip file", where=str(path), hint=f"Name it {path.name}.gz.")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("is UTF-16 text", where=str(path), hint="Save it as UTF-8.")
    if b"\0" in data:
        raise DataError("is not a CSV: it holds bytes that are no text", where=str(path))
    data = data.removeprefix(b"\xef\xbb\xbf")
    notes = []
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        for encoding in ("cp1252", "latin-1"):
            try:
                data = data.decode(encoding).encode("utf-8")
            except UnicodeDecodeError:
                continue
            notes.append(f"{path.name} is not UTF-8 (line {line}); it was read as {encoding}")
            break
    return (data if data.endswith((b"\n", b"\r")) else data + b"\n"), notes


def _header(data: bytes, path: Path) -> list[str]:
    """The column names, exactly as written."""
    try:
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")))
        if not header:
            raise DataError("the first line is blank; it should name the columns", where=str(path))
    except csv.Error as error:
        raise DataError(f"its first line cannot be read: {error}", where=str(path)) from None
    if len(header) == 1:
        for delimiter, what in DELIMITERS.items():
            if delimiter in header[0]:
                raise DataError(
                    f"its fields are separated by {what} ({delimiter!r}), not by a comma",
                    where=str(path),
                    hint="Save it again with commas: pandas.read_csv(path, sep=...).to_csv(path, index=False).",
                )
    _refuse_duplicates(header, path)
    return header


def _refuse_duplicates(header: list[str], path: Path) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(header, start=1):
        if name in seen:
            raise DataError(
                f"two columns have the same name {name!r}: number {seen[name]} and number {position}",
                where=str(path),
                hint="Rename or remove one of them.",
            )
        seen[name] = position


def _read_parquet(path: Path) -> RawTable:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is no parquet file that can be read: {error}", where=str(path)) from None
    _refuse_duplicates(table.column_names, path)
    columns = {name: _from_arrow(table.column(name), name, path) for name in table.column_names}
    return RawTable(path, pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows)), [])


def _from_arrow(values: Any, name: str, path: Path) -> pd.Series:
    """Numbers stay numbers (float64 where some are missing); booleans, times and categories become text."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pd.Series(values.cast(pa.large_string()).to_pandas(), dtype="str")
    if pa.types.is_decimal(kind):
        return pd.Series(values.cast(pa.float64()).to_pandas())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pd.Series(values.to_pandas())
    if pa.types.is_boolean(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        series = values.cast(pa.timestamp("us")).to_pandas() if pa.types.is_date(kind) else values.to_pandas()
        text: pd.Series = series.astype("str").mask(series.isna())
        return text
    raise DataError(f"holds {kind}, which is no number, text or date", where=f"{path}, column {name!r}")
