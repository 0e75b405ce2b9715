"""The ledger: every file that was sent to Kaggle or is being sent, with its cv and Kaggle's scores.

Reads and writes `submissions/<competition>/ledger.csv`; knows nothing of Kaggle's API.
"""

from __future__ import annotations

import csv
import io
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.locks import hold

Status = Literal["sending", "pending", "complete", "error"]
TAG_DIGITS = 12


@dataclass(frozen=True)
class Entry:
    """One submission. `sending` is written before it is sent; the next run asks Kaggle whether it arrived."""

    time: str  # ISO, UTC
    run: str
    file: str
    sha256: str
    metric: str
    cv_score: float
    public_score: float | None = None
    private_score: float | None = None
    ref: int | None = None
    status: Status = "sending"

    @property
    def tag(self) -> str:
        """The tag that identifies the content in Kaggle's description."""
        return f"sha:{self.sha256[:TAG_DIGITS]}"

    @property
    def description(self) -> str:
        """The text Kaggle shows beside the submission."""
        return f"{self.tag} run:{self.run} cv={self.cv_score:.5f}"


class Ledger:
    """The entries of one competition, oldest first; every change is on disk when the method returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Return all entries. Raises ArtifactError if the file is not a ledger."""
        if not self.path.exists():
            return []
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                return [_entry_of(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot be read: {error!r}",
                where=str(self.path),
                hint="It records what was sent already: fix the line, or move the file away.",
            ) from error

    def find(self, sha256: str) -> Entry | None:
        """Return the newest entry with this content."""
        return next((entry for entry in reversed(self.entries()) if entry.sha256 == sha256), None)

    def put(self, entry: Entry) -> Entry:
        """Write an entry; it replaces the one with the same content."""
        with self._lock():
            self._write(sorted([*self._others(entry), entry], key=lambda one: one.time))
        return entry

    def drop(self, entry: Entry) -> None:
        """Remove an entry that was never sent."""
        with self._lock():
            self._write(self._others(entry))

    def _others(self, entry: Entry) -> list[Entry]:
        return [other for other in self.entries() if other.sha256 != entry.sha256]

    def _lock(self) -> AbstractContextManager[None]:
        return hold(self.path.with_name("ledger.lock"))

    def _write(self, entries: list[Entry]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Entry)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in asdict(one).items()} for one in entries)
        files.write_text(self.path, text.getvalue())


def _entry_of(row: dict[str, str]) -> Entry:
    if row["status"] not in get_args(Status):
        raise ValueError(f"unknown status {row['status']!r}")
    return Entry(
        time=row["time"],
        run=row["run"],
        file=row["file"],
        sha256=row["sha256"],
        metric=row["metric"],
        cv_score=float(row["cv_score"]),
        public_score=float(row["public_score"]) if row["public_score"] else None,
        private_score=float(row["private_score"]) if row["private_score"] else None,
        ref=int(row["ref"]) if row["ref"] else None,
        status=cast("Status", row["status"]),
    )
