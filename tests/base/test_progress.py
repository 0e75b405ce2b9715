"""Nobody reads any more: the program goes on and ends as if someone did; nothing is printed into another file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from pipeline.base.progress import prepare_streams, progress_bar, say
prepare_streams()
with open(sys.argv[1], "w") as file:
    with progress_bar("work") as update:
        for number in range(3):
            say("a message"), print("a result", flush=True), update(number / 3, "text")
            time.sleep(0.05)
    file.write("done")
say("a message"), print("a result")
"""


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


@pytest.mark.parametrize("lost", ["pipe", "terminal", "closed", pytest.param("full stderr", marks=needs_full)])
def test_a_lost_reader_does_not_end_the_work(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "result.txt"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    if lost == "closed":
        process = subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *command])
    elif lost == "full stderr":
        with FULL.open("w") as full:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=full)
    else:
        ours, theirs = os.openpty() if lost == "terminal" else os.pipe()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(ours), os.close(theirs)
    assert process.wait() == 0
    assert path.read_text() == "done"


@needs_full
def test_results_that_cannot_be_stored_are_an_error() -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "pipeline", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
