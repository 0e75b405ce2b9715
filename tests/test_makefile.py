"""Nothing in a variable of the Makefile runs, and no folder outside `data/` is named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
SETTINGS = (
    *("COMPETITION", "PRESET", "MODEL", "TRIALS", "MINUTES", "STORAGE", "ROWS", "DEVICE", "UPLOAD", "YES", "AGAIN"),
    *("DATASET", "WHEELS", "VENV", "PYTHON"),
)
HOSTILE = {
    "background": "x&touch>canary",
    "next command": "x;touch canary",
    "make's shell": "$(shell touch canary)",
    "the shell's": "$$(touch canary)",
    "backticks": "`touch canary`",
    "a quote": "x';touch canary;'",
    "two quotes": 'x";touch canary;"',
    "a line": "x\ntouch canary",
    "a pattern": "*",
    "a backslash": "x\\",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` in a folder with the Makefile alone."""
    shutil.copy(MAKEFILE, folder / "Makefile")
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_text_is_refused_and_does_not_run(tmp_path: Path, name: str, text: str) -> None:
    for target in ("help", "submit"):
        result = made(tmp_path, target, f"{name}={text}")
        assert result.returncode == 2
        assert f"{name} has characters that no setting has" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "constraints.txt", "pyproject.toml"]


@pytest.mark.parametrize("name", ["..", ".", "a:b", "https://example.com/a?b"])
def test_what_is_no_name_of_a_competition_is_refused(tmp_path: Path, name: str) -> None:
    result = made(tmp_path, "clean", f"COMPETITION={name}")
    assert result.returncode == 2
    assert "is not the name of a competition" in result.stderr


@pytest.mark.parametrize(
    "given", ["titanic", "https://www.kaggle.com/competitions/titanic/data?select=a.csv&b=1", "kaggle.com/c/titanic"]
)
def test_names_and_addresses_are_taken(tmp_path: Path, given: str) -> None:
    result = made(tmp_path, "help", f"COMPETITION={given}", "STORAGE=postgresql://me:word@host:5432/db?a=1&b=2")
    assert result.returncode == 0
    assert "[COMPETITION=titanic]" in result.stdout
