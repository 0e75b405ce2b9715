"""Laws of a study's file: whole lines are never lost, broken ones are reported and kept aside."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipeline.base.errors import ArtifactError
from pipeline.metrics import METRICS
from pipeline.tuning.ownership import tell_if_mine
from pipeline.tuning.study import finished_trials, open_study


def opened(storage: Path | str) -> optuna.Study:
    options: dict[str, Any] = {"sampler": "random", "pruner": "none", "epochs": 1, "seed": 0}
    return open_study(storage, "study", metric=METRICS["rmse"], **options)[0]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A study of three finished trials."""
    path = tmp_path / "study.log"
    study = opened(path)
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        study.tell(trial, float(number))
    return path


def values(study: optuna.Study) -> list[float | None]:
    return [trial.value for trial in finished_trials(study)]


def test_a_half_line_at_the_end_is_cut_off(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = log.read_bytes()
    for n_bytes in (1, 9, 40):
        log.write_bytes(whole[:-n_bytes])
        study = opened(log)
        assert "was not written to its end" in " ".join(capfd.readouterr().err.split())
        assert values(study) == [0.0, 1.0]
        study.tell(2, 2.0)
        assert values(opened(log)) == [0.0, 1.0, 2.0]
    assert not list(log.parent.glob("*.broken*"))


def test_an_open_study_appends_after_a_half_line(log: Path) -> None:
    study = opened(log)
    with log.open("ab") as file:
        file.write(b'{"op_code":4,"worker')  # of a process that was killed
    study.tell(study.ask(), 3.0)
    assert values(opened(log)) == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("is_in_a_value", [True, False])
def test_a_broken_line_is_reported_and_kept_aside(
    log: Path, capfd: pytest.CaptureFixture[str], is_in_a_value: bool
) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"values":[2.0]' in line)
    lines[last] = lines[last].replace(b"2.0", b"7.0") if is_in_a_value else b"\x00" * 20 + b"\n"
    log.write_bytes(b"".join([*lines, lines[0]]))
    broken = log.read_bytes()
    study = opened(log)
    said = " ".join(capfd.readouterr().err.split())
    assert f"line {last + 1} of {len(lines) + 1} is broken" in said
    assert "study.broken-1" in said
    assert log.with_suffix(".broken-1").read_bytes() == broken
    assert values(study) == [0.0, 1.0]


def test_a_file_of_optuna_is_read(log: Path) -> None:
    plain = []
    for line in log.read_text().splitlines():
        content = json.loads(line)
        assert content.pop("crc")
        plain.append(json.dumps(content) + "\n")
    log.write_text("".join(plain))
    assert values(opened(log)) == [0.0, 1.0, 2.0]
    backend = optuna.storages.journal.JournalFileBackend(str(log))
    assert len(optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend)).trials) == 3


def test_a_file_that_cannot_be_read_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "study.log").mkdir()
    with pytest.raises(ArtifactError, match="Is a directory"):
        opened(tmp_path / "study.log")
    foreign = tmp_path / "foreign.log"
    foreign.write_text('{"op_code": 4, "worker_id": "x"}\n')
    with pytest.raises(ArtifactError, match="begins a new study"):
        opened(foreign)


@pytest.mark.parametrize(
    "url",
    ["foo", "/tmp/x.log", "http://x", "redis://localhost", "sqlite:////nowhere/x.db", "mysql://me:secret@127.0.0.1/x"],
)
def test_a_storage_that_cannot_be_opened_is_a_message(url: str) -> None:
    with pytest.raises(ArtifactError, match="is an Optuna URL") as caught:
        opened(url)
    assert "secret" not in caught.value.message


def test_a_damaged_database_is_a_message(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/my studies.db", tmp_path / "my studies.db"
    study = opened(url)
    tell_if_mine(study, study.ask(), values=1234.5)
    whole = path.read_bytes()
    assert values(opened(url)) == [1234.5]
    value = struct.pack(">d", 1234.5)
    for damaged in (whole[:100], whole[: len(whole) // 2], b"\xff" * 4096 + whole, whole.replace(value, value[::-1])):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="cannot be read or written"):
            opened(url)
