"""An unfinished download on disk, and what the storage says of the file it is a part of.

Knows HTTP headers and files; never talks to the network.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base import files


@dataclass(frozen=True)
class Remote:
    """What the storage says of the archive. `url` is "" where Kaggle sent it without a storage."""

    url: str
    n_bytes: int | None
    validator: str

    @classmethod
    def of(cls, response: Any, url: str) -> Remote:
        """Read off an answer's headers. A weak ETag cannot guard a range (RFC 9110, 13.1.5)."""
        etag = response.headers.get("ETag", "")
        length = response.headers.get("Content-Length", "")
        return cls(
            url=url,
            n_bytes=int(length) if length.isdigit() and not response.headers.get("Content-Encoding") else None,
            validator=etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", ""),
        )


class PartialFile:
    """An unfinished download: its bytes, and beside them what they are a part of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file, self.marker = folder / "archive.part", folder / "archive.json"
        self.was_resumed = False
        self.remote: Remote | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes there are."""
        return self.file.stat().st_size if self.file.exists() else 0

    def validator(self) -> str:
        """What identifies the version the bytes belong to (ETag or date); "" when they cannot be continued."""
        try:
            record = json.loads(self.marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return str(record.get("validator", "")) if self.n_bytes else ""

    def continues(self, remote: Remote) -> bool:
        """Whether the bytes there are a part of just this version, and more can be asked for."""
        return bool(remote.url and remote.validator and remote.validator == self.validator() and remote.n_bytes)

    def begin(self, remote: Remote) -> None:
        """Forget the bytes; those that come now belong to `remote`."""
        self.file.unlink(missing_ok=True)
        files.write_json(self.marker, {"validator": remote.validator, "bytes": remote.n_bytes})
        self.was_resumed = False

    def delete(self) -> None:
        """Leave nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_sound(self) -> bool:
        """Whether every member of the archive has its checksum; a file that is no archive has none to fail."""
        if not zipfile.is_zipfile(self.file):
            with self.file.open("rb") as file:
                return not file.read(4).startswith(b"PK")
        try:
            with zipfile.ZipFile(self.file) as archive:
                return archive.testzip() is None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
            return False
