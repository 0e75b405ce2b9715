"""The ledger: every submission to a competition, sent from here or not, with its cv and Kaggle's scores.

Reads and writes `submissions/<competition>/ledger.csv`; makes no request to Kaggle. No method removes a submission
that Kaggle may have: rows are matched by ref, and a ref is never replaced by another.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.locks import hold
from pipeline.base.progress import say
from pipeline.config.artifact import describe_mistake
from pipeline.kaggle.client.responses import SubmissionStatus

TAG_DIGITS = 12
OUR_DESCRIPTION = re.compile(rf"sha:([0-9a-f]{{{TAG_DIGITS}}}) run:(\S+) cv=(\S+)")


def _check_time(text: str) -> str:
    """Return an ISO time with its time zone, or "". Raises ValueError."""
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("has no time zone")
    return text


Text = Annotated[str, BeforeValidator(lambda cell: cell or "")]  # an empty cell is read as None
Time = Annotated[str, BeforeValidator(lambda cell: cell or ""), AfterValidator(_check_time)]


@dataclass(frozen=True)
class Entry:
    """One submission, or one attempt at it.

    `status` is Kaggle's, with two more words. `sending` is written before the request and stays until its outcome is
    known: such a row is in doubt. `lost` means that Kaggle gave a ref but does not know it.
    """

    time: Time  # ISO, UTC
    run: Text  # "" if it was not made here
    file: Text
    sha256: Text  # only the digits in the tag if it was sent from another folder; "" if it was sent by hand
    metric: Text
    cv_score: float | None
    public_score: float | None = None
    private_score: float | None = None
    ref: int | None = None
    status: Literal["sending", "pending", "complete", "error", "lost"] = "sending"
    n_today: int | None = None  # Kaggle's count of the day's submissions before it was sent
    submitted_by: Text = ""
    note: Text = ""  # Kaggle's description of one that was sent by hand

    @property
    def tag(self) -> str:
        """The tag that identifies the content in Kaggle's description."""
        return f"sha:{self.sha256[:TAG_DIGITS]}"

    @property
    def description(self) -> str:
        """The text Kaggle shows beside the submission."""
        return f"{self.tag} run:{self.run} cv={self.cv_score:.5f}"

    def is_tagged_in(self, shown: SubmissionStatus) -> bool:
        """Return whether the description at Kaggle has the tag of this content."""
        return bool(self.sha256) and self.tag in shown.description.split()

    @property
    def is_sent(self) -> bool:
        """Whether Kaggle has it, scored or waiting for its score."""
        return self.status in ("pending", "complete")

    def has_content(self, sha256: str) -> bool:
        """Return whether this is a submission of the content with that sha256, or with that beginning of it."""
        return bool(self.sha256) and self.sha256[:TAG_DIGITS] == sha256[:TAG_DIGITS]

    def updated(self, shown: SubmissionStatus) -> Entry:
        """Return the entry with what Kaggle shows. A known score is kept where Kaggle shows none."""
        known = shown.model_dump(include={"public_score", "private_score", "submitted_by"})
        entry = replace(
            self, ref=shown.ref, **{name: value for name, value in known.items() if value not in (None, "")}
        )
        is_older = self.status in ("complete", "error") and shown.status == "pending"
        return entry if is_older else replace(entry, status=shown.status)


COLUMNS = [field.name for field in fields(Entry)]
LATER_COLUMNS = {"n_today", "submitted_by", "note"}  # a ledger of an earlier version lacks them
DEFAULTS = {field.name: None if field.default is MISSING else field.default for field in fields(Entry)}
ENTRY = TypeAdapter(Entry)


class Ledger:
    """The entries of one competition, oldest first; every change is on disk when the method returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Return all entries. Raises ArtifactError if the file is not a ledger."""
        return self._read()[0]

    def of(self, sha256: str) -> list[Entry]:
        """Return the entries with this content, oldest first."""
        return [entry for entry in self.entries() if entry.has_content(sha256)]

    def find(self, sha256: str) -> Entry | None:
        """Return the newest entry with this content that Kaggle has and has not failed to score."""
        return next((entry for entry in reversed(self.of(sha256)) if entry.is_sent), None)

    def put(self, entry: Entry) -> Entry:
        """Write an entry. It replaces the one with its ref; without one, the same attempt without a ref."""

        def change(entries: list[Entry]) -> list[Entry]:
            same = [old for old in entries if old.ref is not None and old.ref == entry.ref]
            same = same or [old for old in entries if _is_attempt(old, entry)]
            return [*(old for old in entries if old not in same[:1]), entry]

        self._change(change)
        return entry

    def drop(self, entry: Entry) -> None:
        """Remove an attempt that Kaggle refused or never received."""
        self._change(lambda entries: [old for old in entries if not _is_attempt(old, entry)])

    def merge(self, shown: Iterable[SubmissionStatus], *, own: Entry | None = None) -> None:
        """Enter the submissions that Kaggle shows, each once; `own` describes the ones with its tag.

        One is matched by its ref, then by its tag to an attempt that has no ref; it is added if neither is known.
        """
        self._change(lambda entries: _merged(entries, shown, own))

    def _read(self) -> tuple[list[Entry], set[str]]:
        """Return the entries, and the columns that an older file lacks."""
        if not self.path.exists():
            return [], set()
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                missing = LATER_COLUMNS - set(reader.fieldnames or ())
                rows = [{n: DEFAULTS[n] if n in missing else row[n] or None for n in COLUMNS} for row in reader]
            return [ENTRY.validate_python(row) for row in rows], missing
        except (OSError, ValueError, KeyError, csv.Error) as error:
            mistakes = map(describe_mistake, error.errors()) if isinstance(error, ValidationError) else [repr(error)]
            raise ArtifactError(
                f"cannot be read: {'; '.join(mistakes)}",
                where=str(self.path),
                hint="It records what was sent already: fix the line, or move the file away.",
            ) from error

    def _change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        """Write the entries that `change` makes of the current ones."""
        with hold(self.path.with_name("ledger.lock")):
            old, missing = self._read()
            new = sorted(change(old), key=lambda entry: entry.time)
            if new == old:
                return
            if missing:
                say(f"{self.path}: written by an earlier version; adds the columns {', '.join(sorted(missing))}")
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(entry) for entry in new)
            files.write_text(self.path, text.getvalue())


def _is_attempt(old: Entry, entry: Entry) -> bool:
    """Return whether `old` is the attempt that `entry` began with, its outcome still unknown."""
    return old.ref is None and (old.sha256, old.time) == (entry.sha256, entry.time)


def _merged(entries: list[Entry], shown: Iterable[SubmissionStatus], own: Entry | None) -> list[Entry]:
    rows = list(entries)
    for one in sorted(shown, key=lambda one: one.ref):
        place = next((i for i, row in enumerate(rows) if row.ref == one.ref), None)
        if place is None:
            place = next((i for i, row in enumerate(rows) if row.ref is None and row.is_tagged_in(one)), None)
        if place is None:
            rows.append(_entry_of(one, [*rows, own] if own is not None else rows))
        else:
            rows[place] = rows[place].updated(one)
    return rows


def _entry_of(shown: SubmissionStatus, known: Iterable[Entry]) -> Entry:
    """Return the entry for a submission that was not sent from this folder, or whose entry was deleted."""
    time = "" if shown.date is None else shown.date.isoformat(timespec="seconds")
    ours = OUR_DESCRIPTION.search(shown.description)
    same = next((row for row in known if row.is_tagged_in(shown)), None)
    if same is not None:
        entry = Entry(time or same.time, same.run, same.file, same.sha256, same.metric, same.cv_score)
    elif ours is not None:
        entry = Entry(time, ours[2], shown.file_name, ours[1], "", _number(ours[3]))
    else:
        entry = Entry(time, "", shown.file_name, "", "", None, note=shown.description)
    return entry.updated(shown)


def _number(text: str) -> float | None:
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None
