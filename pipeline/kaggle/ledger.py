"""The ledger: every file that was sent to Kaggle, or is about to be, with its cv and Kaggle's scores.

Knows `submissions/<competition>/ledger.csv`; knows nothing of Kaggle's API.
"""

from __future__ import annotations

import csv
import io
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, cast, get_args

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.locks import hold

Status = Literal["sending", "pending", "complete", "error"]
TAG_DIGITS = 12


@dataclass(frozen=True)
class Entry:
    """One submission. `sending` is written before it is sent: what became of it is asked on the next run."""

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
        """What marks the content in Kaggle's description."""
        return tag_of(self.sha256)

    @property
    def description(self) -> str:
        """What Kaggle shows beside the submission."""
        return f"{self.tag} run:{self.run} cv={self.cv_score:.5f}"


def tag_of(sha256: str) -> str:
    """The mark of a file's content in a description."""
    return f"sha:{sha256[:TAG_DIGITS]}"


class Ledger:
    """The entries of one competition, oldest first; every change is on disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All entries. Raises ArtifactError when the file is not a ledger."""
        if not self.path.exists():
            return []
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                return [_entry_of(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot be read: {error!r}",
                where=str(self.path),
                hint="It says what was sent already: mend the line, or move the file away.",
            ) from error

    def find(self, sha256: str) -> Entry | None:
        """The newest entry of a file's content."""
        return next((entry for entry in reversed(self.entries()) if entry.sha256 == sha256), None)

    def put(self, entry: Entry) -> Entry:
        """Write an entry in the place of the one of the same content, or behind all others."""
        with self._alone():
            kept = [other for other in self.entries() if other.sha256 != entry.sha256]
            self._write(sorted([*kept, entry], key=lambda one: one.time))
        return entry

    def drop(self, entry: Entry) -> None:
        """Take out an entry that was never sent."""
        with self._alone():
            self._write([other for other in self.entries() if other.sha256 != entry.sha256])

    def _alone(self) -> AbstractContextManager[None]:
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

    def number(key: str) -> float | None:
        return float(row[key]) if row[key] else None

    entry = Entry(row["time"], row["run"], row["file"], row["sha256"], row["metric"], float(row["cv_score"]))
    return replace(
        entry,
        public_score=number("public_score"),
        private_score=number("private_score"),
        ref=int(row["ref"]) if row["ref"] else None,
        status=cast("Status", row["status"]),
    )
