"""One process at a time: a lock that the system takes back when its holder dies.

Knows files; knows nothing of what is guarded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.base.progress import say


@contextlib.contextmanager
def hold(path: Path, *, is_silent: bool = False) -> Iterator[None]:
    """Hold the lock `path`, waiting for whoever has it; without effect where the system has no such locks.

    To wait is told, unless `is_silent`.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_silent:
                say(f"waiting for another run of the pipeline that holds {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
