"""Size and hash of a file, recorded by the stage that writes or reads it and checked when it is used.

Must not know what the files contain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.config.artifact import Record


class FileRecord(Record):
    """Size and hash of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Record a file. Raises ArtifactError if it cannot be read."""
        return cls(bytes=path.stat().st_size, sha256=files.sha256_of(path))

    def fault_of(self, path: Path) -> str:
        """Describe how the file at `path` differs from the recorded one; "" if it is the same."""
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != self.bytes:
            return f"has {path.stat().st_size} bytes instead of {self.bytes}"
        if not files.is_unchanged(path, self.sha256):
            return "was changed after it was written"
        return ""

    def checked(self, path: Path, *, hint: str) -> Path:
        """Return `path` if the file there is the recorded one. Raises ArtifactError."""
        if fault := self.fault_of(path):
            raise ArtifactError(fault, where=str(path), hint=hint)
        return path


def records_in(folder: Path) -> dict[str, FileRecord]:
    """Record every file below `folder` by its relative path; {} without the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): FileRecord.of(path) for path in paths}


def fault_among(folder: Path, records: Mapping[str, FileRecord]) -> str:
    """Describe the first of the recorded files in `folder` that is missing or was changed; "" if there is none."""
    faults = ((name, one.fault_of(folder / name)) for name, one in records.items())
    return next((f"{folder / name} {fault}" for name, fault in faults if fault), "")
