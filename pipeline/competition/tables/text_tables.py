"""The bytes of a text table -> cells as they are written: any encoding, separator, or JSON lines.

Must not know files, or what a column means.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
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
HEADER_BYTES = 1 << 20  # in which a header lies
HEAD = 1 << 16  # bytes from which the separator is told
N_LINES = 20  # of them
NOT_TEXT = (  # lower-case first bytes, what they show, what to do
    ((b"<!doctype", b"<html", b"<?xml"), "is a web page, not a CSV", "Log in to Kaggle and download it again."),
    (b"pk\x03\x04", "is a zip archive", "Rename it to end in .csv.zip if it has one table, or unpack it."),
    (b"par1", "is a parquet file", "Rename it to end in .parquet."),
    (b"\x1f\x8b", "is a gzip file", "Rename it to end in .csv.gz."),
    (b"\x28\xb5\x2f\xfd", "is a zstandard file", "Rename it to end in .csv.zst."),
)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8
UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}  # by their byte order marks


def utf8(data: bytes, name: str, where: str) -> tuple[bytes, list[str]]:
    """Text as UTF-8 without a byte order mark, with a line end at its end; notes for the user."""
    refuse_other_formats(data, where)
    if utf_16 := UTF_16.get(data[:2]):
        try:
            data = data[2:].decode(utf_16).encode("utf-8")
        except UnicodeDecodeError as error:
            raise incomplete_utf_16(error.reason, where) from None
    refuse_binary(data, where)
    data = data.removeprefix(BYTE_ORDER_MARK)
    encoding, line = utf_16 or "utf-8", None
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
    return (data if data.endswith((b"\n", b"\r")) else data + b"\n"), told_encoding(name, encoding, line)


def told_encoding(name: str, encoding: str, line: int | None) -> list[str]:
    """What the user is told of a text's encoding; `line` is the first that is not UTF-8."""
    if encoding in UTF_16.values():
        return [f"{name} is UTF-16 text; it was read as that"]
    return [] if line is None else [f"{name} is not UTF-8 (line {line}); it was read as {encoding}"]


def incomplete_utf_16(reason: str, where: str) -> DataError:
    """The error to raise for UTF-16 text that ends within a character."""
    return DataError(f"is not complete UTF-16 text: {reason}", where=where, hint=DAMAGED)


def refuse_other_formats(data: bytes, where: str) -> None:
    """Raise DataError if these first bytes of a file are not those of a text."""
    start = data[:512].lstrip().lower()
    if not start and not data.strip():
        raise DataError("the file is empty", where=where, hint=DAMAGED)
    for magic, what, hint in NOT_TEXT:
        if start.startswith(magic):
            raise DataError(what, where=where, hint=hint)


def refuse_binary(data: bytes, where: str) -> None:
    """Raise DataError if these bytes of a text hold a zero."""
    if b"\0" in data:
        raise DataError("is not a CSV: it contains binary data", where=where)


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
    cells = Cells(header_of(data, separator, where), separator, where)
    try:
        table = pacsv.read_csv(pa.BufferReader(data), **cells.options)
    except pa.ArrowInvalid as error:
        raise cells.refusal(error) from None
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda _: TEXT)
    return cells.named(frame, data.rstrip()[-1:])


@dataclass
class Cells:
    """How Arrow reads the cells of delimited UTF-8 text as they are written, and what its errors mean."""

    header: list[str]
    separator: str
    where: str
    _ragged: list[Any] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """The options of Arrow's readers."""
        names = [str(position) for position in range(len(self.header))]
        return {
            "read_options": pacsv.ReadOptions(
                use_threads=False, column_names=names, skip_rows_after_names=1, block_size=BLOCK
            ),
            "parse_options": pacsv.ParseOptions(
                delimiter=self.separator, newlines_in_values=True, invalid_row_handler=self._refuse
            ),
            "convert_options": pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False
            ),
        }

    def _refuse(self, row: Any) -> str:
        self._ragged.append(row)
        return "error"

    def refusal(self, error: Exception) -> DataError:
        """What the user is told of an error of Arrow."""
        if not self._ragged:
            return DataError(f"cannot be read as CSV: {error}", where=self.where)
        row = self._ragged[0]
        return DataError(
            f"row {row.number - 1} has {row.actual_columns} fields, the header has {row.expected_columns}",
            where=self.where,
            hint=f"The row is {row.text[:80]!r}. Text that contains {WORDS[self.separator]} needs double quotes.",
        )

    def named(self, frame: pd.DataFrame, last: bytes) -> pd.DataFrame:
        """The cells under their names; `last` is the last byte of the text that is not blank. Raises DataError."""
        frame.columns = pd.Index(self.header)
        if len(frame) and last != b'"' and "\n" in str(frame.iloc[-1, -1]):
            raise DataError(f"row {len(frame)} opens a double quote that is never closed", where=self.where)
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
