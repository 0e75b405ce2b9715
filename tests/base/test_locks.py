"""Laws of locks: one holder at a time, a waiting one says so, a killed one keeps nobody waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.base.locks import InUseError, exclusively, hold, in_use

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


USER = HOLDER.replace("import hold", "import in_use").replace(
    "hold(Path(sys.argv[1]))", "in_use(Path(sys.argv[1]), list)"
)


def user_of(folder: Path) -> subprocess.Popen[str]:
    """Another process that uses the folder until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_thread_may_hold_a_lock_twice(tmp_path: Path) -> None:
    with hold(tmp_path / "a.lock"), hold(tmp_path / "a.lock"):
        pass
    holder_of(tmp_path / "a.lock").communicate()


def test_a_folder_in_use_is_nobodys_alone_until_its_last_user_is_gone(tmp_path: Path) -> None:
    (tmp_path / "content").touch()
    users = [user_of(tmp_path), user_of(tmp_path)]
    for user, how in zip(users, (signal.SIGKILL, signal.SIGTERM), strict=True):
        with (
            pytest.raises(InUseError, match="cannot clean: another command uses"),
            exclusively(tmp_path, wanted="clean"),
        ):
            pass
        user.send_signal(how)
        user.communicate()
    with exclusively(tmp_path, wanted="clean"):
        pass


def test_only_a_lone_user_clears_what_killed_ones_left(tmp_path: Path) -> None:
    cleared: list[int] = []
    other = user_of(tmp_path)
    with in_use(tmp_path, lambda: cleared.append(1)):
        pass
    assert not cleared
    other.communicate()
    with in_use(tmp_path, lambda: cleared.append(1)), in_use(tmp_path, lambda: cleared.append(2)):
        pass
    assert cleared == [1]


def test_a_user_waits_until_the_folder_is_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    is_used = threading.Event()

    def use() -> None:
        with in_use(tmp_path, list):
            is_used.set()

    thread = threading.Thread(target=use)
    with exclusively(tmp_path, wanted="clean"):
        (tmp_path / "content").touch()
        thread.start()
        assert not is_used.wait(0.3)
    thread.join()
    assert is_used.is_set()
    assert "waiting for another command that clears" in capsys.readouterr().err


def test_a_folder_that_stays_empty_leaves_nothing(tmp_path: Path) -> None:
    with in_use(tmp_path / "typo", list), hold(tmp_path / "typo" / ".locks" / "a.lock"):
        pass
    assert list(tmp_path.iterdir()) == []
