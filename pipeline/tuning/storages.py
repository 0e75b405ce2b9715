"""Opens the place of a study: a journal file, SQLite, PostgreSQL or another database that Optuna knows.

Turns what is wrong with it into messages. Knows nothing of what studies hold.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.base.errors import ArtifactError, PipelineError
from pipeline.tuning.journal import Journal
from pipeline.tuning.outage import driver_error
from pipeline.tuning.postgresql import PostgresStorage, address_of, explained, is_postgresql

STORAGE_ERRORS: tuple[type[Exception], ...] = (StorageInternalError, SQLAlchemyError, json.JSONDecodeError)
AT_OPENING: tuple[type[Exception], ...] = (OSError, ImportError, ValueError, KeyError, AssertionError, RuntimeError)
URL_HINT = (
    "--storage is an Optuna URL, such as sqlite:///studies.db or postgresql://user@host/database. Databases other than "
    "SQLite need a driver; the extra `cluster` has PostgreSQL's."
)
FILE_HINT = "Move it away; `make tune` then begins a new study."


@contextlib.contextmanager
def storage_errors(storage: str | Path, *others: type[Exception]) -> Iterator[None]:
    """Turn what a broken or unreachable storage raises into an ArtifactError, without the password of a URL."""
    try:
        yield
    except PipelineError:
        raise
    except (*STORAGE_ERRORS, *others) as error:
        raise _as_message(storage, error) from error


def _as_message(storage: str | Path, error: Exception) -> ArtifactError:
    reason = str(driver_error(error) or error).strip()
    what, hint = "", FILE_HINT if isinstance(storage, Path) else URL_HINT
    if isinstance(storage, str) and is_postgresql(storage):
        with contextlib.suppress(SQLAlchemyError, ValueError):
            url = address_of(storage)
            storage = url.set(drivername="postgresql").render_as_string()  # with *** for a password
            what, hint = explained(driver_error(error) or error, url)
            hint = hint or "Is it the right server? Finished trials are kept; the same command continues."
    what = what or f"the study cannot be read or written: {reason.splitlines()[0] if reason else type(error).__name__}"
    return ArtifactError(what, where=str(storage), hint=hint)


def open_storage(storage: str | Path, stop: threading.Event | None = None, *, is_waiting: bool = True) -> BaseStorage:
    """Open a journal file or an Optuna URL with all its studies. Raises ArtifactError.

    PostgreSQL is waited for while it is away, for some seconds at first, unless `is_waiting` is False. `stop` then
    raises Stopped.
    """
    with storage_errors(storage, *AT_OPENING):
        if isinstance(storage, Path):
            storage.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(Journal(storage))
        if not is_postgresql(storage):
            return _storage_at(storage)
        return optuna.storages.get_storage(PostgresStorage(address_of(storage), stop, is_waiting=is_waiting))


def _storage_at(url: str) -> BaseStorage:
    """Open an Optuna URL; a SQLite file is checked for damage first."""
    path = make_url(url).database if url.startswith("sqlite") else None
    if path is not None and Path(path).exists():
        engine = create_engine(url)
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check").scalar()
        engine.dispose()
        if found != "ok":
            raise OSError(f"the database is damaged: {found}")
    return optuna.storages.get_storage(url)
