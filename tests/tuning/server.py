"""A PostgreSQL server in a temporary folder, on a free port of 127.0.0.1, that tests stop and start."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

USER, PASSWORD = "optuna", "s3cret/p@ss:w%rd"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"
LONGEST_START_S = 60.0


def binaries() -> Path | None:
    """Return the folder of the newest server that is installed; Debian keeps it off the PATH."""
    on_path = shutil.which("initdb")
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])],
    )
    return Path(on_path).parent if on_path else found[-1].parent if found else None


def why_not() -> str | None:
    """Say why no server can be started; None if one can."""
    if binaries() is None:
        return "PostgreSQL's server is not installed: apt-get install postgresql"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL's server does not run as root, and there is no user postgres"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "PostgreSQL's driver is not installed: extra cluster"
    return None


def _account() -> pwd.struct_passwd | None:
    """Return the account that the server runs as, if this process is root's."""
    try:
        return pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    except KeyError:
        return None


@dataclass
class PostgresServer:
    """One server; its data survive `stop` and `start`."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pipeline-postgresql-")))
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    n_databases: int = 0

    def create(self) -> None:
        """Make the server's data and start it."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if (account := _account()) is not None:
            for path in (self.folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        self._popen("initdb", "-A", "scram-sha-256", "-U", USER, f"--pwfile={password}", "-N", "-E", "UTF8").wait()
        self.start()

    def _popen(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        folder, account = binaries(), _account()
        assert folder is not None
        who = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [folder / program, "-D", self.folder / "data", *options],
                cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **who,
            )  # fmt: skip

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=60")
        options = [part for setting in settings for part in ("-c", setting)]
        self.process = self._popen("postgres", "-p", str(self.port), *options)
        until = time.monotonic() + LONGEST_START_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "postgres.log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def connect(self, database: str = "postgres"):  # type: ignore[no-untyped-def]
        """Connect as the owner."""
        import psycopg

        where = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}
        return psycopg.connect(**where, autocommit=True, connect_timeout=5)

    def stop(self, *, is_crash: bool = False) -> None:
        """Stop the server, with all connections; a crash leaves it to recover."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if is_crash else signal.SIGINT)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """Stop the server and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """Create an empty database and return its URL."""
        self.n_databases += 1
        name = f"studies{self.n_databases}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def n_complete(self, url: str) -> int:
        """Return the number of complete trials in a database, 0 before there are tables."""
        import psycopg

        with contextlib.suppress(psycopg.errors.UndefinedTable), self.connect(url.rpartition("/")[2]) as connection:
            return int(connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0])
        return 0

    def url(self, database: str, login: str = LOGIN) -> str:
        """Return the URL of a database."""
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"
