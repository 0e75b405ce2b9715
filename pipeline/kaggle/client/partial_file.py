"""An unfinished download on disk, and the storage's description of the complete file.

Handles HTTP headers and files; never touches the network.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline.config.artifact import Artifact


@dataclass(frozen=True)
class Remote:
    """The archive as the storage describes it. `url` is "" if Kaggle sent it directly, without a storage."""

    url: str
    n_bytes: int | None
    validator: str

    @classmethod
    def of(cls, response: Any, url: str) -> Remote:
        """Read a response's headers. A weak ETag cannot guard a range request (RFC 9110, 13.1.5)."""
        etag = response.headers.get("ETag", "")
        length = response.headers.get("Content-Length", "")
        return cls(
            url=url,
            n_bytes=int(length) if length.isdigit() and not response.headers.get("Content-Encoding") else None,
            validator=etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", ""),
        )


class PartialFileMarker(Artifact):
    """`archive.json`: the version that the bytes belong to."""

    WHAT: ClassVar[str] = "a marker of an unfinished download"

    format: Literal[1] = 1
    validator: str
    bytes: int | None  # of the complete file


class PartialFile:
    """An unfinished download: its bytes, and a JSON file with the version they belong to."""

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder, self.name = folder, name  # of the file at Kaggle; "": all files as one archive
        self.file, self.marker = folder / "archive.part", folder / "archive.json"
        self.was_resumed = False
        self.remote: Remote | None = None

    @property
    def n_bytes(self) -> int:
        """Number of bytes downloaded so far."""
        return self.file.stat().st_size if self.file.exists() else 0

    def validator(self) -> str:
        """Return the ETag or date of the version the bytes belong to; "" if the download cannot be resumed."""
        if not self.n_bytes:
            return ""
        marker = PartialFileMarker.read_or_none(self.marker, otherwise="the download begins again")
        return "" if marker is None else marker.validator

    def can_resume(self, remote: Remote) -> bool:
        """Return whether the bytes belong to exactly this version and the rest can be requested."""
        return bool(remote.url and remote.validator and remote.validator == self.validator() and remote.n_bytes)

    def begin(self, remote: Remote) -> None:
        """Discard the bytes and start a download of `remote`."""
        self.file.unlink(missing_ok=True)
        PartialFileMarker(validator=remote.validator, bytes=remote.n_bytes).write(self.marker)
        self.was_resumed = False

    def delete(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
