"""A PostgreSQL server for the tests of shared studies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tuning.server import PostgresServer, why_not


@pytest.fixture(scope="session")
def _server() -> Iterator[PostgresServer]:
    if reason := why_not():
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.create()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgresql(_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """A server that runs; it is skipped with the reason where none can."""
    for name in ("PGPASSWORD", "PGUSER", "PGHOST", "PGPORT", "PGDATABASE", "PGSERVICE", "PGOPTIONS", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    yield _server
    if _server.process is None:
        _server.start()
