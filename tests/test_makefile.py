"""Nothing in a variable of the Makefile runs; the program gets each text as it is, and checks it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
SETTINGS = re.findall(r"^([A-Z]+) *\?=", MAKEFILE, flags=re.MULTILINE)
INTERNAL = re.findall(r"^(?:override )?([A-Za-z_]+) *:?=", MAKEFILE, flags=re.MULTILINE)
SWITCHES = ("UPLOAD", "YES", "AGAIN")
TARGETS = (
    "help",
    "setup",
    "data",
    "features",
    "tune",
    "train",
    "final",
    "submit",
    "kernel",
    "leaderboard",
    "runs",
    "clean",
)
HOSTILE = {
    "background": "x&touch canary-{}",
    "redirection": "x>canary-{}",
    "next command": "x;touch canary-{}",
    "make's shell": "$(shell touch canary-{})",
    "make's file": "$(file >canary-{},x)",
    "the shell's": "$$(touch canary-{})",
    "backticks": "`touch canary-{}`",
    "a quote": "x';touch canary-{};'",
    "two quotes": 'x";touch canary-{};"',
    "a line": "x\n\ttouch canary-{}\ny: ; touch canary-{}",
    "a rule": "x: ; touch canary-{} #",
    "a pattern": "*%",
    "a backslash": "x\\",
    "blanks": "a  b\t",
    "unicode": "Pläne für 2026/ü.toml",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and an environment whose Python only records its arguments."""
    (tmp_path / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    write_script(venv / "bin" / "python", 'printf "%s\\0" "$@" end >> arguments')
    for name in (".installed", ".installed-dev", ".installed-boosting", ".installed-docs", ".installed-cluster"):
        (venv / name).touch()
    return tmp_path


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}  # `make test` hands its own variables down in these
    known = {name: text for name, text in os.environ.items() if name not in outer.union(SETTINGS)}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def canaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith("canary")]


def calls(folder: Path) -> dict[str, list[str]]:
    """Return the options of the first call of each command of the program."""
    found = [call.split("\0")[2:-1] for call in (folder / "arguments").read_text("utf-8").split("end\0") if call]
    return {command: options for command, *options in reversed(found)}


@pytest.mark.parametrize("is_environment", [False, True])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_no_text_runs_and_the_program_gets_it_as_it_is(folder: Path, hostile: str, is_environment: bool) -> None:
    texts = {name: hostile.replace("{}", name) for name in SETTINGS if name not in ("VENV", *SWITCHES)}
    if is_environment:
        made = make(folder, "-k", *TARGETS, **texts)
    else:
        others = [f"{name}={hostile.replace('{}', name)}" for name in (*INTERNAL, "UNKNOWN") if name not in SETTINGS]
        made = make(folder, "-k", *TARGETS, *(f"{name}={text}" for name, text in texts.items()), *others)
    assert canaries(folder) == []
    assert made.returncode == 0, made.stderr
    seen = calls(folder)
    assert seen["clean"] == [f"--competition={texts['COMPETITION']}"]
    assert seen["data"] == [f"--{name.lower()}={texts[name]}" for name in ("COMPETITION", "DATASET", "FILES")]
    run = [f"--{name.lower()}={texts[name]}" for name in ("COMPETITION", "PRESET", "MODEL", "DEVICE", "CLUSTER")]
    assert seen["train"] == run
    assert seen["submit"] == [*run, f"--minutes={texts['MINUTES']}"]
    tuned = ("COMPETITION", "DEVICE", "CLUSTER", "TRIALS", "MODEL", "ROWS", "PRESET")
    assert seen["tune"] == [f"--{name.lower()}={texts[name]}" for name in tuned]
    assert seen["kernel"][-2:] == [f"--{name.lower()}={texts[name]}" for name in ("WHEELS", "WEIGHTS")]


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_switches_and_the_environment_are_checked(folder: Path, hostile: str) -> None:
    for name in SWITCHES:
        made = make(folder, "-k", *TARGETS, f"{name}={hostile.replace('{}', name)}")
        assert made.returncode == 2
        assert f"{name} must be 1 or 0" in made.stderr
        assert "submit" not in calls(folder)
    if hostile != HOSTILE["unicode"]:
        made = make(folder, "-k", *TARGETS, f"VENV={hostile.replace('{}', 'VENV')}")
        assert made.returncode == 2
        assert "VENV must be the path of a folder" in made.stderr
    shutil.rmtree(folder / ".venv")
    assert make(folder, "setup", f"PYTHON={hostile.replace('{}', 'PYTHON')}").returncode == 2
    assert canaries(folder) == []
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ([], []),
        (["UPLOAD=0", "YES=1"], ["--no-upload", "--yes"]),
        (["UPLOAD=no", "AGAIN=true", "YES=0"], ["--no-upload", "--again"]),
        (["PRESET=best", "MINUTES=3"], ["--minutes=3"]),
    ],
)
def test_switches_become_options(folder: Path, given: list[str], options: list[str]) -> None:
    assert make(folder, "submit", *given).returncode == 0
    assert calls(folder)["submit"][3:] == options
    assert "data" not in calls(folder)


def test_a_dataset_is_fetched_before_the_work(folder: Path) -> None:
    assert make(folder, "submit", "DATASET=ada/toy-data", "COMPETITION=toy").returncode == 0
    assert list(calls(folder)) == ["submit", "data"]  # the last one first


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a b", "x&id>f", "a" * 300, "https://example.com/c/titanic", "ada/toy"]
)
def test_the_program_refuses_what_is_no_competition(folder: Path, name: str) -> None:
    for outside in ("runs", "features"):
        (folder / outside).mkdir()
    write_script(folder / ".venv" / "bin" / "python", f'PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"')
    made = make(folder, "clean", f"COMPETITION={name}")
    assert made.returncode == 2
    assert "error: " in made.stderr
    assert "Traceback" not in made.stderr
    assert (folder / "runs").exists()
    assert (folder / "features").exists()
    assert not (folder / "data").exists()
