"""What deploy/ names exists: commands and options of the program and of Dask, files, extras, variables."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documentation import wrong_command

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "deploy" / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
PAGE = (ROOT / "docs" / "many-machines.md").read_text("utf-8")
OWN = sorted(name for name, service in SERVICES.items() if "build" in service)


def words_of(service: dict[str, Any]) -> list[str]:
    """Return the command line that the container runs."""
    entrypoint = service.get("entrypoint", ["python", "-m", "pipeline"])
    return [*entrypoint, *service.get("command", [])]


def test_every_part_is_there() -> None:
    assert SERVICES.keys() >= {"scheduler", "worker", "postgresql", "dashboard"}
    (entrypoint,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE, flags=re.MULTILINE)
    assert entrypoint == '"python", "-m", "pipeline"'


@pytest.mark.parametrize("name", OWN)
def test_the_commands_exist(name: str) -> None:
    words = words_of(SERVICES[name])
    assert all(isinstance(word, str) for word in words)
    if words[0] == "python":
        assert not wrong_command(words)
        return
    assert words[0] == "dask"
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("Dask is not installed: extra cluster")
    shown = subprocess.run([sys.executable, "-m", *words[:2], "--help"], capture_output=True, text=True, check=True)
    options = [word for word in words[2:] if word.startswith("--")]
    assert options
    assert [option for option in options if option not in shown.stdout] == []


@pytest.mark.parametrize("name", OWN)
def test_what_needs_a_database_waits_for_it_and_keeps_its_password_out_of_command_lines(name: str) -> None:
    service = SERVICES[name]
    if "STORAGE" in service.get("environment", {}):
        assert service["depends_on"] == {"postgresql": {"condition": "service_healthy"}}
        assert "STUDIES_PASSWORD" in service["environment"]["PGPASSWORD"]
    assert "PASSWORD" not in " ".join(words_of(service))
    assert SERVICES["postgresql"]["environment"]["POSTGRES_USER"] == "studies"


def test_ports_are_closed_to_other_machines_unless_an_address_is_given() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith(("127.0.0.1:", "${ADDRESS:-127.0.0.1}:"))] == []


def test_the_page_names_every_variable() -> None:
    variables = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE.read_text("utf-8")))
    assert {name for name in variables if f"`{name}`" not in PAGE and f"export {name}=" not in PAGE} == set()


def test_the_image_is_made_of_what_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r"pip install .*-c constraints\.txt -e '\.\[([\w,]+)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    (python,) = re.findall(r"^FROM python:(3\.\d+)-slim$", DOCKERFILE, flags=re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, flags=re.MULTILINE) for word in line.split()]
    assert {"pyproject.toml", "constraints.txt", "pipeline"} <= set(copied)
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert kept[0] == "*"
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept
    assert {service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service} == {
        "deploy/Dockerfile"
    }
