"""A large delimited file -> its cells as text, in one pass: never in memory as a whole, then used through a map.

Must not know what a column means.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.base.mapped import ColumnFile, release
from pipeline.base.progress import progress_bar
from pipeline.competition.tables.formats import Unpacked, opened, read_bytes
from pipeline.competition.tables.text_tables import (
    BYTE_ORDER_MARK,
    HEADER_BYTES,
    UTF_16,
    Cells,
    header_of,
    incomplete_utf_16,
    refuse_binary,
    refuse_other_formats,
    separator_of,
    told_encoding,
)

ENCODINGS = ("utf-8", "cp1252", "latin-1")  # tried in this order; the last reads any bytes


def read_large(path: Path, expected: str) -> tuple[pd.DataFrame, str, list[str]]:
    """The cells of a delimited file as `str`, mapped; its separator; notes for the user. Raises DataError.

    What is read, and all messages, are those of `utf8` and `delimited` for the whole file.
    """
    where, head = str(path), read_bytes(path, HEADER_BYTES)
    refuse_other_formats(head, where)
    utf_16 = UTF_16.get(head[:2])
    first_line: int | None = None
    for encoding in ENCODINGS if utf_16 is None else (utf_16,):
        start = head.removeprefix(BYTE_ORDER_MARK) if utf_16 is None else head[2:]
        text = start.decode(encoding, errors="ignore").encode("utf-8") + b"\n"
        separator = separator_of(text, expected)
        cells = Cells(header_of(text, separator, where), separator, where)
        try:
            with opened(path) as unpacked, progress_bar(f"reading {path.name}") as update:
                frame = _read(Utf8(unpacked, encoding, where), cells, ColumnFile(path.parent), update)
        except NotDecodableError as error:
            if utf_16 is not None:
                raise incomplete_utf_16(error.reason, where) from None
            first_line = first_line or error.line
        else:
            return frame, separator, told_encoding(path.name, encoding, first_line)
    raise AssertionError("latin-1 reads any bytes")


def _read(texts: Utf8, cells: Cells, file: ColumnFile, update: Callable[[float, str], None]) -> pd.DataFrame:
    def batches(reader: Any) -> Iterator[Any]:
        n_rows = 0
        for batch in reader:
            n_rows += batch.num_rows
            update(texts.unpacked.share, f"{n_rows:,} rows")
            yield batch

    try:
        reader = pacsv.open_csv(pa.PythonFile(texts, "r"), **cells.options)
        frame = file.table(reader.schema, batches(reader))
    except pa.ArrowInvalid as error:
        raise cells.refusal(error) from None
    release()
    return cells.named(frame, texts.last)


class NotDecodableError(Exception):
    """The text has another encoding; `line` is the first that shows it."""

    def __init__(self, line: int, reason: str) -> None:
        self.line, self.reason = line, reason


class Utf8:
    """A file as UTF-8 without a byte order mark and with a line end at its end, read by Arrow.

    Raises DataError for binary data, NotDecodableError for bytes that the encoding lacks.
    """

    closed = False

    def __init__(self, unpacked: Unpacked, encoding: str, where: str) -> None:
        self.unpacked, self._encoding, self._where = unpacked, encoding, where
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._n_lines, self._rest = 0, b""
        self._ahead: bytes | None = None  # what follows; None before the start
        self.last = b""  # byte that is not blank

    def read(self, n_bytes: int) -> bytes:
        """The next bytes: so many, which Arrow takes for a block of whole rows, unless the end comes first."""
        if self._ahead is None:
            self._ahead = self._next(n_bytes)[2 if self._encoding in UTF_16.values() else 0 :]
            self._ahead = self._ahead.removeprefix(BYTE_ORDER_MARK)
        while self._ahead and len(self._rest) < n_bytes:
            data, self._ahead = self._ahead, self._next(n_bytes)
            self._rest += self._text(data, is_last=not self._ahead)
        found, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return found

    def close(self) -> None:
        """Nothing: who opened the file closes it."""

    def _next(self, n_bytes: int) -> bytes:
        data: bytes = self.unpacked.stream.read(n_bytes)
        return data

    def _text(self, data: bytes, *, is_last: bool) -> bytes:
        try:
            text = self._decoder.decode(data, final=is_last)
        except UnicodeDecodeError as error:
            raise NotDecodableError(self._n_lines + data[: error.start].count(b"\n") + 1, error.reason) from None
        self._n_lines += data.count(b"\n")
        data = data if self._encoding == "utf-8" else text.encode("utf-8")
        refuse_binary(data, self._where)
        self.last = data.rstrip()[-1:] or self.last
        return data + b"\n" if is_last and not data.endswith((b"\n", b"\r")) else data
