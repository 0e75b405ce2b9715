"""Laws of locks: one holder at a time, a waiting one says so, a killed one keeps nobody waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.base.locks import hold

HOLDER = """
import sys
from pathlib import Path
from pipeline.base.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder_of(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_has_one_holder_and_a_waiting_one_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, is_held = tmp_path / "new folder" / "a.lock", threading.Event()
    process = holder_of(path)

    def wait() -> None:
        with hold(path):
            is_held.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not is_held.wait(0.3)
    process.communicate()
    thread.join()
    assert is_held.is_set()
    assert capsys.readouterr().err == f"waiting for another run of the pipeline that holds {path}\n"


def test_a_killed_holder_keeps_nobody_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.lock"
    process = holder_of(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with hold(path):
        assert path.exists()
    assert path.exists()  # deleting it would let two processes hold two files of one name
    assert capsys.readouterr().err == ""


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    def fail() -> None:
        with hold(tmp_path / "a.lock"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    fail_again = holder_of(tmp_path / "a.lock")
    fail_again.communicate()
    assert fail_again.returncode == 0
