"""The file of a study: Optuna's journal with a checksum per line, so that damage is seen and mended when it is opened.

Knows lines of JSON; must not know what they mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from pipeline.base import files
from pipeline.base.progress import say

CHECKED_LINE = re.compile(rb'(\{.*),"crc":"([0-9a-f]{8})"\}', re.DOTALL)


class JournalLock(JournalFileOpenLock):
    """A journal's lock that is released when its holder is killed; after Optuna's own, the next start waits 30 s."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock = FileLock(path, poll_interval=0.01)  # held per thread

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


class Journal(JournalFileBackend):
    """Appends whole lines with their CRC-32, which Optuna's own readers ignore."""

    def __init__(self, path: Path) -> None:
        self.path, self._guard = path, JournalLock(path.with_suffix(".guard"))
        with self.alone():
            if path.exists():
                _mend(path)
            super().__init__(str(path), self._guard)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from writing."""
        self._guard.acquire()
        try:
            yield
        finally:
            self._guard.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append a line per log, after cutting off the half line of a writer that was killed."""
        with self.alone(), self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(b"".join(_line(log) for log in logs))
            file.flush()
            os.fsync(file.fileno())


def _line(log: dict[str, Any]) -> bytes:
    body = json.dumps(log, separators=(",", ":")).encode()
    return b'%s,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def _is_whole(line: bytes) -> bool:
    """Return whether a line is what was written; lines of other writers have no checksum."""
    if not line.endswith(b"\n"):
        return False
    if checked := CHECKED_LINE.fullmatch(line.rstrip()):
        return zlib.crc32(checked[1] + b"}") == int(checked[2], 16)
    try:
        log = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(log, dict) and isinstance(log.get("op_code"), int) and "crc" not in log


def _mend(path: Path) -> None:
    """Cut off a half line at the end; from a broken line on, keep the rest in a copy of the file only."""
    lines = path.read_bytes().splitlines(keepends=True)
    n_whole = next((number for number, line in enumerate(lines) if not _is_whole(line)), len(lines))
    if n_whole == len(lines):
        return
    is_half = n_whole == len(lines) - 1 and not lines[-1].endswith(b"\n")
    what = f"the last line was not written to its end and is left out ({n_whole} lines are kept)"
    if not is_half:
        number = next(n for n in range(1, len(lines) + 2) if not path.with_suffix(f".broken-{n}").exists())
        aside = path.with_suffix(f".broken-{number}")
        shutil.copyfile(path, aside)
        n_left_out = len(lines) - n_whole
        what = (
            f"line {n_whole + 1} of {len(lines)} is broken; the {n_left_out} lines from there are in {aside.name} only"
        )
    with files.atomic_write(path) as file:
        file.writelines(lines[:n_whole])
    say(f"tune: {path}: {what}; the study continues from the trials before")
