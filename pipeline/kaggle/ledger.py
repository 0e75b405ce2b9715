"""The ledger: every file that was sent to Kaggle or is being sent, with its cv and Kaggle's scores.

Reads and writes `submissions/<competition>/ledger.csv`; knows nothing of Kaggle's API.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.locks import hold
from pipeline.config.artifact import describe_mistake

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
    status: Literal["sending", "pending", "complete", "error"] = "sending"

    @property
    def tag(self) -> str:
        """The tag that identifies the content in Kaggle's description."""
        return f"sha:{self.sha256[:TAG_DIGITS]}"

    @property
    def description(self) -> str:
        """The text Kaggle shows beside the submission."""
        return f"{self.tag} run:{self.run} cv={self.cv_score:.5f}"


COLUMNS = [field.name for field in fields(Entry)]
ENTRY = TypeAdapter(Entry)


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
                rows = [{name: row[name] or None for name in COLUMNS} for row in csv.DictReader(file)]
            return [ENTRY.validate_python(row) for row in rows]
        except (OSError, ValueError, KeyError) as error:
            mistakes = map(describe_mistake, error.errors()) if isinstance(error, ValidationError) else [repr(error)]
            raise ArtifactError(
                f"cannot be read: {'; '.join(mistakes)}",
                where=str(self.path),
                hint="It records what was sent already: fix the line, or move the file away.",
            ) from error

    def find(self, sha256: str) -> Entry | None:
        """Return the newest entry with this content."""
        return next((entry for entry in reversed(self.entries()) if entry.sha256 == sha256), None)

    def put(self, entry: Entry) -> Entry:
        """Write an entry; it replaces the one with the same content."""
        self._replace(entry, [entry])
        return entry

    def drop(self, entry: Entry) -> None:
        """Remove an entry that was never sent."""
        self._replace(entry, [])

    def _replace(self, old: Entry, new: list[Entry]) -> None:
        """Write `new` in place of the entries with the content of `old`."""
        with hold(self.path.with_name("ledger.lock")):
            others = [entry for entry in self.entries() if entry.sha256 != old.sha256]
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(entry) for entry in sorted([*others, *new], key=lambda entry: entry.time))
            files.write_text(self.path, text.getvalue())
