"""Two commands on one competition at once, and what killed ones leave: one waits or says so, nothing piles up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.base import files
from pipeline.competition.workspace import Workspace
from tests.conftest import TINY, Toy

PREPARING = """
import sys
from pathlib import Path
from pipeline.competition.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]), "toy")
with workspace.in_use(), getattr(workspace, sys.argv[2])() if len(sys.argv) == 3 else workspace.run(sys.argv[3]).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_command(toy: Toy, *what: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that is amid `what`."""
    command = [sys.executable, "-c", PREPARING, str(toy.workspace.root), *what]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.communicate()


def test_clean_refuses_beside_a_running_command(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    with other_command(toy, "in_use"):
        refused = toy.run("clean")
        assert refused.exit_code == 2
        assert "cannot clean: another command uses the folder" in refused.output
        assert toy.workspace.manifest.exists()
    assert toy.run("clean").exit_code == 0
    assert not toy.workspace.features.exists()
    assert toy.workspace.source.exists()


def test_a_clean_that_was_killed_is_finished_by_the_next(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    toy.workspace.features.rename(toy.workspace.folder / ".features.partial")
    assert toy.run("features").exit_code == 0
    (toy.workspace.folder / ".features.partial").mkdir()
    (toy.workspace.folder / ".features.partial" / "half.npy").touch()
    assert toy.run("clean").exit_code == 0
    assert not toy.workspace.features.exists()
    assert not list(toy.workspace.folder.glob(".features*"))


def test_clean_of_a_competition_that_is_not_there_leaves_nothing(toy: Toy) -> None:
    toy.workspace = Workspace(toy.workspace.root, "typo")
    assert toy.run("clean").exit_code == 0
    assert toy.run("features").exit_code == 2
    assert not toy.workspace.folder.exists()


@pytest.mark.parametrize(("command", "what"), [("features", ("preparing",)), ("train", ("held", "RUN"))])
def test_the_second_waits_and_says_so(toy: Toy, command: str, what: tuple[str, ...]) -> None:
    options = TINY if command == "train" else []
    assert toy.run(command, *options).exit_code == 0
    name = toy.only_run().name if command == "train" else ""
    done, outputs = threading.Event(), list[str]()

    def second() -> None:
        outputs.append(toy.run(command, *options).output)
        done.set()

    thread = threading.Thread(target=second)
    with other_command(toy, *(name if one == "RUN" else one for one in what)):
        thread.start()
        assert not done.wait(1.0)
    thread.join()
    assert "waiting for another run of the pipeline" in outputs[0]


def test_what_a_killed_write_leaves_is_cleared_by_the_next_command(toy: Toy) -> None:
    toy.submit("--no-upload")
    places = [toy.workspace.features, toy.only_run().path, toy.workspace.submissions, toy.workspace.raw]
    for folder in places:
        (folder / ".a.json.0123.partial").write_text("half")
    (toy.workspace.folder / ".raw.0123.partial").mkdir()
    checkpoints = toy.only_run().checkpoints
    files.write_text(checkpoints / "left.txt", "killed after the report was written")
    toy.submit("--no-upload")
    assert not list(toy.workspace.root.rglob("*.partial"))
    assert not checkpoints.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_a_message_and_its_exit_code(toy: Toy, number: signal.Signals) -> None:
    with other_command(toy, "preparing"):
        command = [sys.executable, "-m", "pipeline", "features", "-c", "toy", "--root", str(toy.workspace.root)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        first = process.stderr.readline()
        assert "waiting for another run" in first, first
        process.send_signal(number)
        assert process.wait() == 128 + number
        assert process.stderr.read().endswith(
            "interrupted; finished work is kept, and the same command continues from there\n"
        )
        process.stderr.close()


def test_a_full_disk_is_a_message_wherever_it_is_met(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), str(self))

    monkeypatch.setattr(Path, "mkdir", full)
    result = toy.run("features")
    assert result.exit_code == 2
    assert "The disk is full" in result.output
    monkeypatch.undo()
    assert toy.run("features").exit_code == 0
