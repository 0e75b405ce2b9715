"""Which files are tables, by their names, and their bytes unpacked: the one place that knows formats.

Must not know what a table contains.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pipeline.base.errors import DataError

SEPARATOR_OF = {".csv": ",", ".tsv": "\t", ".txt": ","}  # text; the separator that is tried first
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
FORMATS = (PARQUET, ".csv", ".tsv", *JSON_LINES, ".txt")  # in the order in which they stand in for each other
CODECS = {".gz": "gzip", ".zst": "zstd"}  # Arrow's names
ZIP = ".zip"  # of one table, as older competitions have them: `train.csv.zip` or `train.zip`
COMPRESSIONS = ("", *CODECS, ZIP)
MOST_UNPACKED = 32 << 30  # bytes of a zipped table
LARGE_FILE, USUAL_RATIO = (
    1 << 28,
    4,
)  # unpacked bytes of a large text table; a compressed one unpacks to so many times its own
DAMAGED = "The file may be incomplete: download it again."
KINDS = ".csv, .tsv, .txt, .jsonl, .ndjson, .parquet, or one of these compressed as .gz, .zst, .zip"


@dataclass(frozen=True)
class TableName:
    """A table's file name: `train`, `.csv`, `.gz`. A zip may have no format of its own: its member has."""

    stem: str
    format: str
    compression: str

    @property
    def uncompressed(self) -> str:
        """The name to write into a spec."""
        return f"{self.stem}{self.format or '.csv'}"

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """Of the names with one stem, the one of the lowest rank is read: a plain CSV before all."""
        formats = ("", *FORMATS)
        return (
            self.format != ".csv",
            self.format == ".txt",
            formats.index(self.format),
            COMPRESSIONS.index(self.compression),
        )


def table_name(name: str) -> TableName | None:
    """Take a file name apart; None if it is not a table's.

    >>> table_name("train.csv.zip")
    TableName(stem='train', format='.csv', compression='.zip')
    >>> table_name("SAMPLE_DATA.md")
    """
    compression = next((end for end in COMPRESSIONS if end and name.lower().endswith(end)), "")
    rest = name[: len(name) - len(compression)]
    kind = next((end for end in FORMATS if rest.lower().endswith(end)), "")
    stem = rest[: len(rest) - len(kind)]
    return TableName(stem, kind, compression) if stem and (kind or compression == ZIP) else None


def is_table(path: Path) -> bool:
    """Whether the file is a table, by its name; a `.zip` without another ending, by its one member."""
    found = table_name(path.name)
    if found is None or not path.is_file():
        return False
    return bool(found.format) or _format_of_member(path) is not None


def alternatives(name: str) -> list[str]:
    """The names under which a raw file called `name` in a spec may exist, the first of them first."""
    found = table_name(name)
    stem = found.stem if found else name
    own = [name, *(f"{name}{end}" for end in COMPRESSIONS[1:])]
    others = [f"{stem}{kind}{end}" for kind in FORMATS for end in COMPRESSIONS] + [f"{stem}{ZIP}"]
    return list(dict.fromkeys(own + others))


def format_of(path: Path) -> str:
    """The table's format, such as `.csv`; that of a zip's member if the zip has none in its name."""
    found = table_name(path.name)
    return (found.format if found else "") or _format_of_member(path) or ".csv"


def read_bytes(path: Path, n_bytes: int | None = None) -> bytes:
    """The bytes of a file, unpacked, or the first `n_bytes` of them. Raises DataError."""
    with opened(path) as unpacked:
        data: bytes = unpacked.stream.read() if n_bytes is None else unpacked.stream.read(n_bytes)
    return data


def is_large(path: Path) -> bool:
    """Whether the file has so many bytes, when unpacked, that they are not read at once."""
    return path.stat().st_size * (1 if path.suffix.lower() not in COMPRESSIONS else USUAL_RATIO) >= LARGE_FILE


@dataclass(frozen=True)
class Unpacked:
    """The bytes of a file, unpacked while they are read, and how far the file itself is read."""

    stream: Any
    file: IO[bytes]

    @property
    def share(self) -> float:
        """The share of the file that is read."""
        return self.file.tell() / max(1, os.fstat(self.file.fileno()).st_size)


@contextmanager
def opened(path: Path) -> Iterator[Unpacked]:
    """Open a file of any compression. Raises DataError, also while it is read."""
    compression = path.suffix.lower()
    if compression == ZIP:
        with _unzipped(path) as unpacked:
            yield unpacked
        return
    codec = CODECS.get(compression)
    try:
        with path.open("rb") as file:
            if codec is None:
                yield Unpacked(file, file)
                return
            with pa.CompressedInputStream(file, codec) as stream:
                yield Unpacked(stream, file)
    except OSError as error:
        if codec is None:
            raise
        raise DataError(f"is not a complete {codec} file: {error}", where=str(path), hint=DAMAGED) from None


@contextmanager
def _unzipped(path: Path) -> Iterator[Unpacked]:
    try:
        with path.open("rb") as whole, zipfile.ZipFile(whole) as archive:
            members = _members(archive)
            if len(members) != 1:
                raise DataError(
                    f"contains {len(members)} files; a zipped table contains one",
                    where=str(path),
                    hint="Unpack it beside the other files.",
                )
            if members[0].flag_bits & 1:
                raise DataError("is encrypted", where=str(path), hint="Unpack it beside the other files.")
            if members[0].file_size > MOST_UNPACKED:
                raise DataError(f"would have {members[0].file_size / 1e9:.0f} GB when unpacked", where=str(path))
            with archive.open(members[0]) as file:
                yield Unpacked(file, whole)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"is not a complete zip file: {error}", where=str(path), hint=DAMAGED) from None


def _format_of_member(path: Path) -> str | None:
    """The format of a zip's only file; None if there is not one file, or it is no table."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
    except (zipfile.BadZipFile, OSError):
        return None
    found = table_name(members[0].filename) if len(members) == 1 else None
    return found.format or None if found and not found.compression else None


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in an archive, without the notes that macOS adds."""
    return [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
