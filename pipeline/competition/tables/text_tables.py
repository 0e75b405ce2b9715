"""The bytes of a text table -> cells as they are written: any encoding, separator, or JSON lines.

Must not know files, or what a column means.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.tables.formats import DAMAGED

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
WORDS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
BLOCK = 1 << 24  # bytes; a single row must fit
HEAD = 1 << 16  # bytes from which the separator is told
N_LINES = 20  # of them
NOT_TEXT = (  # lower-case first bytes, what they show, what to do
    ((b"<!doctype", b"<html", b"<?xml"), "is a web page, not a CSV", "Log in to Kaggle and download it again."),
    (b"pk\x03\x04", "is a zip archive", "Rename it to end in .csv.zip if it has one table, or unpack it."),
    (b"par1", "is a parquet file", "Rename it to end in .parquet."),
    (b"\x1f\x8b", "is a gzip file", "Rename it to end in .csv.gz."),
    (b"\x28\xb5\x2f\xfd", "is a zstandard file", "Rename it to end in .csv.zst."),
)
UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}  # by their byte order marks


def utf8(data: bytes, name: str, where: str) -> tuple[bytes, list[str]]:
    """Text as UTF-8 without a byte order mark, with a line end at its end; notes for the user."""
    start = data[:512].lstrip().lower()
    if not start and not data.strip():
        raise DataError("the file is empty", where=where, hint=DAMAGED)
    for magic, what, hint in NOT_TEXT:
        if start.startswith(magic):
            raise DataError(what, where=where, hint=hint)
    notes = []
    if encoding := UTF_16.get(data[:2]):
        try:
            data = data[2:].decode(encoding).encode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"is not complete UTF-16 text: {error.reason}", where=where, hint=DAMAGED) from None
        notes.append(f"{name} is UTF-16 text; it was read as that")
    if b"\0" in data:
        raise DataError("is not a CSV: it contains binary data", where=where)
    data = data.removeprefix(b"\xef\xbb\xbf")
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
        notes.append(f"{name} is not UTF-8 (line {line}); it was read as {encoding}")
    return (data if data.endswith((b"\n", b"\r")) else data + b"\n"), notes


def separator_of(data: bytes, expected: str = ",") -> str:
    """The separator that divides the header and the first rows into equally many fields; `expected` if none does."""
    is_whole = len(data) <= HEAD
    head = data[:HEAD].decode("utf-8", errors="ignore")
    for separator in dict.fromkeys([expected, *SEPARATORS]):
        try:
            rows = list(islice(csv.reader(io.StringIO(head), delimiter=separator), N_LINES))
        except csv.Error:
            continue
        rows = [row for row in rows if row][: None if is_whole or len(rows) == N_LINES else -1]
        if rows and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows):
            return separator
    return expected


def header_of(data: bytes, separator: str, where: str) -> list[str]:
    """The column names, exactly as written."""
    try:
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="ignore", newline="")
        header = next(csv.reader(text, delimiter=separator))
    except csv.Error as error:
        raise DataError(f"the header cannot be read: {error}", where=where) from None
    if not header:
        raise DataError("the first line is blank; it must name the columns", where=where)
    refuse_duplicates(header, where)
    return header


def refuse_duplicates(header: Iterable[str], where: str) -> None:
    """Raise DataError that names a column that occurs twice, and both its places."""
    seen: dict[str, int] = {}
    for position, name in enumerate(header, start=1):
        if name in seen:
            raise DataError(
                f"two columns are called {name!r}: number {seen[name]} and number {position}",
                where=where,
                hint="Rename or remove one of them.",
            )
        seen[name] = position


def delimited(data: bytes, separator: str, where: str) -> pd.DataFrame:
    """Cells of delimited UTF-8 text as `str`; an empty cell is "". Raises DataError."""
    header = header_of(data, separator, where)
    names = [str(position) for position in range(len(header))]
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=names, skip_rows_after_names=1, block_size=BLOCK
            ),
            parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if ragged:
            row = ragged[0]
            raise DataError(
                f"row {row.number - 1} has {row.actual_columns} fields, the header has {row.expected_columns}",
                where=where,
                hint=f"The row is {row.text[:80]!r}. Text that contains {WORDS[separator]} needs double quotes.",
            ) from None
        raise DataError(f"cannot be read as CSV: {error}", where=where) from None
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda _: TEXT)
    frame.columns = pd.Index(header)
    if len(frame) and "\n" in str(frame.iloc[-1, -1]) and not data.rstrip().endswith(b'"'):
        raise DataError(f"row {len(frame)} opens a double quote that is never closed", where=where)
    return frame


def json_lines(data: bytes, where: str) -> pd.DataFrame:
    """Cells of JSON lines as `str`: numbers as they are written, lists and objects as JSON. Raises DataError."""
    columns: dict[str, list[str]] = {}
    n_rows = 0
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
        except ValueError as error:
            raise DataError(f"line {number} is not JSON: {error}", where=where) from None
        if not isinstance(row, dict):
            raise DataError(
                f'line {number} is not an object, such as {{"id": 1, "x": 2}}',
                where=where,
                hint="JSON lines have one object a line; a file that is one list is another format.",
            )
        for name, value in row.items():
            if name not in columns:
                columns[name] = [""] * n_rows
            columns[name].append(_cell(value))
        n_rows += 1
        for cells in columns.values():
            if len(cells) < n_rows:
                cells.append("")
    if not columns:
        raise DataError("no line has a value", where=where)
    return pd.DataFrame({name: pd.Series(cells, dtype=TEXT) for name, cells in columns.items()})


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return str(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
