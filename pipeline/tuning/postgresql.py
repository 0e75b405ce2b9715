"""PostgreSQL as the place of studies: waits for a server that restarts, lends locks and the server's clock.

Knows Optuna's storage for databases; knows nothing of what studies hold.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline.base.errors import SpecError
from pipeline.base.interruption import Stopped
from pipeline.base.redaction import remember_login
from pipeline.tuning import outage
from pipeline.tuning.outage import Patience, sqlstate_of

DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "postgresql+psycopg": "psycopg"}
DRIVER_HINT = "Install it: pip install -c constraints.txt -e '.[cluster]'; `make tune` does so where STORAGE names it."
CONNECT = {  # of libpq; seconds. A connection whose other end is gone is noticed after about a minute
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "application_name": "pipeline",
}
SERVER_KEEPALIVES = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
TIMES = "SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM pg_postmaster_start_time())"
REQUEST = "request"  # system attribute of trials: the call that created it
FIRST_POLL_S, LONGEST_POLL_S = 0.01, 0.5  # of a lock
REPEATED = (  # what Optuna calls; each is one transaction, and doing it twice is as good as once
    *("create_new_study", "delete_study", "get_all_studies", "get_study_id_from_name", "get_study_name_from_id"),
    *("get_study_directions", "get_study_user_attrs", "get_study_system_attrs"),
    *("set_study_user_attr", "set_study_system_attr"),
    *("get_trial", "get_trial_user_attrs", "get_trial_system_attrs", "get_trial_id_from_study_id_trial_number"),
    *("set_trial_user_attr", "set_trial_system_attr", "set_trial_intermediate_value", "set_trial_state_values"),
    *("_set_trial_param", "_get_trials", "_get_best_trial_id"),
)


def is_postgresql(url: str) -> bool:
    """Return whether an Optuna URL names a PostgreSQL server."""
    return url.partition("://")[0].partition("+")[0] in ("postgresql", "postgres")


def address_of(url: str) -> URL:
    """Parse the URL of a PostgreSQL server, and keep its password out of all that is printed. Raises SpecError."""
    given = make_url(url)
    for password in (given.password, given.query.get("password")):
        remember_login(given.username or "", str(password or ""))
    if given.drivername not in DRIVERS:
        raise SpecError(f"the driver of {given.drivername!r} is not supported", hint="Begin the URL with postgresql://")
    return given.set(drivername="postgresql+psycopg")


class PostgresStorage(RDBStorage):
    """Optuna's storage in a PostgreSQL database that several machines share.

    While the server is away it waits, unless `is_waiting` is False, and raises Stopped if `stop` is set.
    """

    def __init__(self, url: URL, stop: threading.Event | None = None, *, is_waiting: bool = True) -> None:
        place = f"{url.host or 'on this machine'}{f':{url.port}' if url.port else ''}/{url.database or ''}"
        logging.getLogger(RDBStorage.__module__).setLevel(logging.ERROR)  # what a cut connection makes Optuna try
        self.patience = Patience(place, stop or threading.Event(), is_waiting, longest_s=outage.LONGEST_START_S)
        address = url.render_as_string(hide_password=False)
        options = {"connect_args": {name: value for name, value in CONNECT.items() if name not in url.query}}
        self._lenders = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT", **options)
        create = super().__init__
        with self.alone("tables"):  # of several first processes, one creates them
            self.patience(lambda: create(address, options | {"pool_pre_ping": True}))
        self.patience.longest_s = outage.LONGEST_OUTAGE_S

    def times(self) -> tuple[float, float]:
        """Return the server's time in seconds since 1970, and since when it can be reached from here."""

        def read() -> tuple[float, float]:
            with self.engine.connect() as connection:
                now, started = connection.exec_driver_sql(TIMES).one()
            return float(now), float(started)

        now, started = self.patience(read)
        return now, max(started, now - (self.patience.clock() - self.patience.back_at))

    @contextlib.contextmanager
    def alone(self, what: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
        """Hold a lock against all other processes; yields a function that tells whether it was held until now.

        The server frees it when it restarts and when its holder dies. `on_wait` is called once if another process has
        it. Raises Stopped if `stop` is set meanwhile.
        """
        key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)
        connection, session = self.patience(lambda: self._locked(key, on_wait))

        def is_held() -> bool:
            try:
                return bool(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == session)
            except SQLAlchemyError:
                return False

        try:
            yield is_held
        finally:
            with contextlib.suppress(SQLAlchemyError):
                connection.close()

    def _locked(self, key: int, on_wait: Callable[[], None]) -> tuple[Connection, int]:
        connection, wait_s = self._lenders.connect(), FIRST_POLL_S
        try:
            connection.exec_driver_sql(SERVER_KEEPALIVES)
            while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar():
                if wait_s == FIRST_POLL_S:
                    on_wait()
                if self.patience.stop.wait(wait_s):
                    raise Stopped
                wait_s = min(1.5 * wait_s, LONGEST_POLL_S)
            return connection, int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() or 0)
        except BaseException:
            connection.close()
            raise

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Create a trial once, even if the server restarts between doing it and saying so."""
        if template_trial is None:
            trial = FrozenTrial(-1, TrialState.RUNNING, None, datetime.now(), None, {}, {}, {}, {}, {}, -1)
        else:
            trial = copy.copy(template_trial)
        trial.system_attrs = {**trial.system_attrs, REQUEST: uuid.uuid4().hex}
        return self.patience(lambda: super(PostgresStorage, self)._create_new_trial(study_id, trial))

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        """Return the trial that an earlier attempt of the same call has created, or a new one."""
        assert template_trial is not None
        attribute, request = models.TrialSystemAttributeModel, json.dumps(template_trial.system_attrs[REQUEST])
        made = session.query(models.TrialModel).join(attribute).filter(models.TrialModel.study_id == study_id)
        found = made.filter(attribute.key == REQUEST, attribute.value_json == request).one_or_none()
        return found or super()._get_prepared_new_trial(study_id, template_trial, session)


def _repeated(name: str) -> Callable[..., Any]:
    once = getattr(RDBStorage, name)

    @wraps(once)
    def patiently(self: PostgresStorage, *args: Any, **options: Any) -> Any:
        return self.patience(lambda: once(self, *args, **options))

    return patiently


for _name in REPEATED:
    setattr(PostgresStorage, _name, _repeated(_name))


def explained(error: BaseException, url: URL) -> tuple[str, str]:
    """Say what is wrong with a server, a database or a password, and what to do."""
    server, text = f"{url.host or 'this machine'}, port {url.port or 5432}", " ".join(str(error).split())
    if isinstance(error, ImportError):
        return "the driver of PostgreSQL, psycopg, is not installed", DRIVER_HINT
    if sqlstate_of(error) == "42501":
        hint = (
            f'As its owner: GRANT CREATE ON SCHEMA public TO "{url.username}"; or give the user a database of its own.'
        )
        return f"the user {url.username!r} may not create tables in the database {url.database!r}", hint
    if "password authentication failed" in text or "no password supplied" in text:
        what = "wants a password of" if "no password supplied" in text else "refuses the password of"
        hint = "It stands in the URL (@ as %40, / as %2F), in the variable PGPASSWORD or, best, in ~/.pgpass."
        return f"the server {what} the user {url.username!r}", hint
    if f'database "{url.database}" does not exist' in text:
        hint = f"Create it there: createdb {url.database}. The name is the last part of the URL."
        return f"the server has no database {url.database!r}", hint
    if "role" in text and "does not exist" in text:
        return f"the server knows no user {url.username!r}", "Create it there: createuser --pwprompt NAME."
    if "pg_hba.conf" in text:
        return "the server does not let this machine in", "Add a line for its address to the server's pg_hba.conf."
    if "resolve host" in text:
        return f"there is no host {url.host!r}", "Is the name in the URL right, and does this machine know it?"
    if "Connection refused" in text or "timeout expired" in text or "timed out" in text or "unreachable" in text:
        hint = "Does it run, listen on this address (listen_addresses), and do firewalls let this port through?"
        return f"no server answers at {server}", hint
    return "", ""
