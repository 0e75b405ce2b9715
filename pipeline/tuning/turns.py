"""One process of a study at a time: what must not happen in two at once, such as counting trials and starting more.

Knows where storages keep their data; knows nothing of what is done in a turn.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, _CachedStorage
from sqlalchemy import make_url

from pipeline.base.interruption import Stopped
from pipeline.tuning.journal import Journal
from pipeline.tuning.postgresql import PostgresStorage

POLL_S = 0.05


@contextlib.contextmanager
def turn(
    study: optuna.Study,
    what: str,
    stop: threading.Event | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], bool]]:
    """Wait until no other process does `what` with the study; yields a function that tells if that held until now.

    `on_wait` is called once if another one does. Files and PostgreSQL are guarded, other servers are not. A turn ends
    with its process, and turns are not nested. Raises Stopped if `stop` is set while it waits.
    """
    backend = backend_of(study._storage)
    if isinstance(backend, PostgresStorage):
        with backend.alone(f"{study.study_name}: {what}", on_wait) as is_held:
            yield is_held
        return
    with contextlib.ExitStack() as held:
        if isinstance(backend, JournalStorage) and isinstance(backend._backend, Journal):
            held.enter_context(backend._backend.alone())
        elif (path := _file_of(backend)) is not None:
            held.enter_context(_locked(path.with_name(f".{path.name}.{what}.lock"), stop or threading.Event(), on_wait))
        yield lambda: True


def backend_of(storage: BaseStorage) -> BaseStorage:
    """Return what is behind Optuna's cache."""
    return storage._backend if isinstance(storage, _CachedStorage) else storage


def _file_of(backend: BaseStorage) -> Path | None:
    """Return the file of an SQLite database."""
    url = make_url(backend.url) if isinstance(backend, RDBStorage) else None
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database or "")


@contextlib.contextmanager
def _locked(path: Path, stop: threading.Event, on_wait: Callable[[], None]) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        while not lock.is_locked:
            if stop.is_set():
                raise Stopped from None
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=1.0, poll_interval=POLL_S)
    try:
        yield
    finally:
        lock.release()
