"""Laws of studies in PostgreSQL: what a server, a network or a client does wrong loses no trial and repeats none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from pipeline.base.errors import ArtifactError, SpecError
from pipeline.base.interruption import Stopped
from pipeline.config.records import TuningResult
from pipeline.metrics import METRICS
from pipeline.tuning import outage
from pipeline.tuning.outage import LONGEST_OUTAGE_S, Patience
from pipeline.tuning.ownership import GRACE_S, Ownership
from pipeline.tuning.postgresql import PostgresStorage
from pipeline.tuning.storages import open_storage
from pipeline.tuning.study import REASON, finished_trials, open_study
from pipeline.tuning.tuner import OOF
from pipeline.tuning.turns import backend_of, turn
from tests.conftest import Toy, toy_in
from tests.tuning.server import LOGIN, PASSWORD, USER, PostgresServer
from tests.tuning.test_tuning import SPACE, TUNE


def opened(url: str, stop: threading.Event | None = None) -> optuna.Study:
    options: dict[str, Any] = {"sampler": "random", "pruner": "none", "epochs": 1, "seed": 0}
    return open_study(url, "study", metric=METRICS["rmse"], stop=stop, **options)[0]


def storage_of(study: optuna.Study) -> PostgresStorage:
    backend = backend_of(study._storage)
    assert isinstance(backend, PostgresStorage)
    return backend


def eventually(is_true: Callable[[], object], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


# --- messages


@pytest.mark.parametrize(
    ("login", "host", "database", "expected"),
    [
        (f"{USER}:not-this-one", "", "postgres", ["refuses the password", "~/.pgpass"]),
        (USER, "", "postgres", ["wants a password", "PGPASSWORD"]),
        (LOGIN, "", "nowhere", ["no database 'nowhere'", "createdb nowhere"]),
        (LOGIN, "127.0.0.1:1", "postgres", ["no server answers at 127.0.0.1, port 1", "firewalls"]),
        (LOGIN, "no-such-host.invalid", "postgres", ["no host 'no-such-host.invalid'"]),
    ],
)
def test_what_is_wrong_with_a_server_is_said_plainly(
    postgresql: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    host: str,
    database: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr(outage, "LONGEST_START_S", 0.0)
    here = f"127.0.0.1:{postgresql.port}"
    url = postgresql.url(database, login).replace(here, host or here)
    with pytest.raises(ArtifactError) as caught:
        opened(url)
    for text in expected:
        assert text in caught.value.message
    for secret in ("not-this-one", PASSWORD, LOGIN):
        assert secret not in caught.value.message


def test_a_user_who_may_create_no_tables_is_told_which_right_is_missing(postgresql: PostgresServer) -> None:
    database = postgresql.database().rpartition("/")[2]
    with postgresql.connect(database) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-password'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(ArtifactError, match="'guest' may not create tables") as caught:
        opened(postgresql.url(database, "guest:guest-password"))
    assert "GRANT CREATE" in caught.value.hint


def test_a_missing_driver_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ArtifactError, match=r"psycopg, is not installed[^$]*\[cluster\]"):
        opened("postgresql://localhost/studies")


def test_a_driver_that_nobody_tested_is_refused() -> None:
    with pytest.raises(SpecError, match="postgresql\\+pg8000"):
        opened("postgresql+pg8000://localhost/studies")


@pytest.mark.slow
def test_the_command_line_shows_no_password(toy: Toy, postgresql: PostgresServer) -> None:
    url = postgresql.url("nowhere")
    for result in (toy.run("tune", *TUNE, "--storage", url), toy.run("dashboard", "--storage", url)):
        assert result.exit_code == 2
        assert "no database 'nowhere'" in result.stderr
        assert "://***@" in result.stderr
        assert not [secret for secret in (PASSWORD, LOGIN) if secret in result.output + result.stderr]


# --- a server that is away


@pytest.mark.slow
@pytest.mark.parametrize("is_crash", [False, True], ids=["restart", "crash"])
def test_a_server_that_restarts_is_waited_for(
    postgresql: PostgresServer, capfd: pytest.CaptureFixture[str], is_crash: bool
) -> None:
    study = opened(postgresql.database())
    trial = study.ask()
    postgresql.stop(is_crash=is_crash)
    threading.Timer(1.0, postgresql.start).start()
    trial.suggest_float("x", 0.0, 1.0)
    study.tell(trial, 1.0)
    assert [one.value for one in study.trials] == [1.0]
    said = capfd.readouterr().err
    assert said.count("waiting for the database 127.0.0.1") == 1
    assert said.count("the database is back after") == 1


@pytest.mark.slow
def test_a_process_that_starts_during_a_restart_waits_for_some_seconds(postgresql: PostgresServer) -> None:
    url = postgresql.database()
    postgresql.stop()
    threading.Timer(1.0, postgresql.start).start()
    assert opened(url).trials == []


@pytest.mark.slow
def test_a_restart_between_two_calls_is_not_noticed(
    postgresql: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    study = opened(postgresql.database())
    postgresql.stop()
    postgresql.start()
    study.tell(study.ask(), 2.0)
    assert "waiting" not in capfd.readouterr().err


@pytest.mark.slow
def test_what_a_restart_cuts_at_any_moment_is_done_once(postgresql: PostgresServer) -> None:
    url = postgresql.database()
    is_over, told, errors = threading.Event(), [0, 0, 0], list[Exception]()

    def work(number: int) -> None:
        study = opened(url)
        while not is_over.is_set():
            try:
                trial = study.ask()
                trial.suggest_float("x", 0.0, 1.0)
                trial.report(1.0, 1)
                study.tell(trial, 1.0)
                told[number] += 1
            except Exception as error:
                errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(told))]
    for worker in workers:
        worker.start()
    for is_crash in (True, False, True, False):
        before = [*told]
        eventually(lambda before=before: all(n > at for n, at in zip(told, before, strict=True)))
        postgresql.stop(is_crash=is_crash)
        postgresql.start()
    is_over.set()
    for worker in workers:
        worker.join()
    assert errors == []
    assert [trial.state for trial in opened(url).trials] == [TrialState.COMPLETE] * sum(told)


def away() -> OperationalError:
    return OperationalError("SELECT 1", None, type("OperationalError", (Exception,), {})("connection refused"))


def test_ctrl_c_ends_the_waiting_and_so_does_a_very_long_outage() -> None:
    def never() -> None:
        raise away()

    stop, now = threading.Event(), 0.0

    def clock() -> float:
        nonlocal now
        now += LONGEST_OUTAGE_S / 3
        return now

    with pytest.raises(OperationalError):
        Patience("there", stop, clock=clock)(never)
    stop.set()
    with pytest.raises(Stopped):
        Patience("there", stop)(never)
    with pytest.raises(OperationalError):
        Patience("there", threading.Event(), is_waiting=False)(never)
    with outage.without_waiting(), pytest.raises(OperationalError):
        Patience("there", threading.Event())(never)


def test_an_answer_that_is_lost_creates_no_second_trial(
    postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, create, n_calls = opened(postgresql.database()), RDBStorage._create_new_trial, 0

    def lossy(*args: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        made = create(*args)
        if n_calls % 2:
            raise away()
        return made

    monkeypatch.setattr(RDBStorage, "_create_new_trial", lossy)
    study.enqueue_trial({"x": 0.5})
    assert study.ask().number == 0
    assert study.ask().number == 1
    assert n_calls == 4
    assert len(study.trials) == 2


def test_a_turn_ends_when_the_server_restarts_and_its_trials_are_given_back(postgresql: PostgresServer) -> None:
    url = postgresql.database()
    here, there = opened(url), opened(url)
    is_in = threading.Event()

    def enter() -> None:
        with turn(there, "trials") as is_held:
            assert is_held()
            is_in.set()

    with turn(here, "trials") as is_held:
        other = threading.Thread(target=enter)
        other.start()
        assert not is_in.wait(0.3)
        assert is_held()
        postgresql.stop()
        postgresql.start()
        assert is_in.wait(60)
        assert not is_held()
    other.join()


def test_silence_while_the_server_was_away_is_nobodys_fault(postgresql: PostgresServer) -> None:
    study = opened(postgresql.database())
    backend = storage_of(study)
    now, up_since = backend.times()
    there = Ownership(study, study._storage, lambda: now, "there:7:a")
    there.beat()
    there.take(study.ask())
    here = Ownership(study, study._storage, lambda: now + 10 * GRACE_S, "here:8:b")
    here.up_since = lambda: now + 10 * GRACE_S - 5.0  # it restarted five seconds ago
    here.reap()
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    here.up_since = lambda: up_since
    here.reap()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


# --- several machines


def of_machine(folder: Path) -> Toy:
    toy = toy_in(folder)
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + SPACE)
    assert toy.run("features").exit_code == 0
    return toy


def tune_on(toy: Toy, url: str, n_trials: int) -> subprocess.Popen[str]:
    where = ["--competition", "toy", "--root", str(toy.workspace.root)]
    options = [*TUNE, "--workers", "1", "--trials", str(n_trials), "--sampler", "random", "--pruner", "none"]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "tune", *where, *options],
        env=os.environ | {"STORAGE": url, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def the_study(url: str) -> optuna.Study:
    storage = open_storage(url)
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


@pytest.mark.slow
def test_two_machines_reach_the_total_exactly_through_a_kill_and_a_restart(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    url, n_trials = postgresql.database(), 24
    machines = [of_machine(tmp_path / name) for name in ("one", "two")]
    processes = [tune_on(toy, url, n_trials) for toy in machines]  # both find an empty database
    eventually(lambda: postgresql.n_complete(url) >= 4, 400.0)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    processes[0] = tune_on(machines[0], url, n_trials)
    postgresql.stop(is_crash=True)
    postgresql.start()
    texts = []
    for process in processes:
        texts.append(process.communicate(timeout=400)[0])
        assert process.returncode == 0, texts
    study = the_study(url)
    finished = finished_trials(study)
    assert len(finished) == n_trials
    assert not [one for one in study.trials if not one.state.is_finished()]
    trained = [json.dumps(one.params, sort_keys=True) for one in finished if REASON not in one.user_attrs]
    assert len(trained) == len(set(trained))
    results = [TuningResult.read(toy.workspace.tuning("mlp") / "best.json") for toy in machines]
    assert results[0] == results[1]
    assert sum("the result is the one that" in text for text in texts) == 1
    kept = [int(path.stem) for toy in machines for path in toy.workspace.tuning("mlp").glob("oof/*/*.npy")]
    assert set(kept) >= {one.number for one in finished if OOF in one.user_attrs}
    left = [path.read_bytes() for toy in machines for path in toy.workspace.root.rglob("*") if path.is_file()]
    dumped = str([(one.user_attrs, one.system_attrs) for one in study.trials] + [study.user_attrs])
    for secret in (PASSWORD, LOGIN.split(":")[1]):
        assert not any(secret in text for text in [*texts, dumped])
        assert not any(secret.encode() in content for content in left)


@pytest.mark.slow
def test_predictions_of_other_machines_are_trained_again_for_the_best_trials(
    tmp_path: Path, postgresql: PostgresServer
) -> None:
    url = postgresql.database()
    one, two = (of_machine(tmp_path / name) for name in ("one", "two"))
    options = [*TUNE, "--pruner", "none", "--sampler", "random", "--storage", url]
    first = one.run("tune", *options, "--trials", "8")
    assert first.exit_code == 0, first.output
    again = two.run("tune", *options, "--trials", "8")
    assert "the result is the one that" in again.stderr
    best = [TuningResult.read(toy.workspace.tuning("mlp") / "best.json") for toy in (one, two)]
    assert best[0] == best[1]
    more = two.run("tune", *options, "--trials", "10")
    assert "8 of 10 trials are on other machines" in " ".join(more.stderr.split()).replace("the predictions of ", "")
    best = [TuningResult.read(toy.workspace.tuning("mlp") / "best.json") for toy in (one, two)]
    assert [one.n_trials for one in best] == [8, 10]


@pytest.mark.slow
def test_the_dashboard_shows_the_study_also_after_a_restart(toy: Toy, postgresql: PostgresServer) -> None:
    pytest.importorskip("optuna_dashboard")
    url = postgresql.database()
    opened(url)
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "dashboard",
        "-c",
        "toy",
        "--root",
        str(toy.workspace.root),
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        command, env=os.environ | {"STORAGE": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]

        def names() -> list[str]:
            with urllib.request.urlopen(f"{address}api/studies", timeout=60) as answer:
                return [one["study_name"] for one in json.load(answer)["study_summaries"]]

        assert names() == ["study"]
        postgresql.stop()
        postgresql.start()
        assert names() == ["study"]
    finally:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert PASSWORD not in stderr
    assert "Traceback" not in stderr
