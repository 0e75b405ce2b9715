"""Locks between processes, which the operating system frees when their holder dies.

Knows files; must not know what is guarded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.base.progress import say


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; a message tells the user if another process has it and this one must wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for another run of the pipeline that holds {path}")
        held = lock.acquire()
    with held:
        yield
