"""What several files say of the project agrees: versions, pins, extras."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pipeline

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), flags=re.MULTILINE))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned() -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    pinned = {normalised(name) for name in PINS}
    names = {normalised(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]
    assert names - pinned == set()


def test_what_is_no_python_file_is_installed_too() -> None:
    package = ROOT / "pipeline"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    installed = {path for pattern in patterns["pipeline"] for path in package.glob(pattern)}
    data = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert data - installed == set()


def test_one_version_of_ruff_and_nbstripout() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"ruff-pre-commit\n\s+rev: v(\S+)", hooks) == [PINS["ruff"]]
    assert f"ruff=={PINS['ruff']}" in PROJECT["optional-dependencies"]["dev"]
    assert re.findall(r"nbstripout\n\s+rev: (\S+)", hooks) == [PINS["nbstripout"]]


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pipeline.__version__)


def test_ci_runs_every_supported_python() -> None:
    stated = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert set(re.findall(r'"(3\.\d+)"', workflow)) == stated
    assert {"make check", "make test", "make docs"} <= set(re.findall(r"make \w+", workflow))
