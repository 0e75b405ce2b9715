"""Pages for what is under way: they are served, show the runs and studies, and end with Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from pipeline.stages import watch
from tests.conftest import TINY, Toy


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Instead of the wait for Ctrl-C: what the page at the printed address answers under `paths`."""
    answers: dict[str, Any] = {"paths": []}

    def fetch(url: str) -> None:
        for path in answers["paths"]:
            with urllib.request.urlopen(url.rstrip("/") + path, timeout=30) as answer:
                answers[path] = answer.read()

    monkeypatch.setattr(watch, "_wait", fetch)
    return answers


@pytest.mark.slow
def test_tensorboard_shows_the_runs(toy: Toy, fetched: dict[str, Any]) -> None:
    toy.submit("--set", "evaluate_every=1")
    fetched["paths"] = ["/data/runs"]
    result = toy.run("tensorboard", "--port", "0")
    assert result.exit_code == 0, result.output
    name = toy.only_run().name
    expected = {f"{name}/tensorboard", f"{name}/tensorboard/seed-0", f"{name}/tensorboard/seed-1"}
    assert set(json.loads(fetched["/data/runs"])) <= expected  # it reads them in the background


@pytest.mark.slow
def test_the_dashboard_shows_a_study_while_it_is_tuned(toy: Toy, fetched: dict[str, Any]) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    assert toy.run("tune", *TINY, "--trials", "2", "--model", "mlp").exit_code == 0
    fetched["paths"] = ["/api/studies", "/dashboard"]
    result = toy.run("dashboard", "--port", "0")
    assert result.exit_code == 0, result.output
    assert "tuning/mlp/study.log" in result.stderr.replace(os.sep, "/")
    (study,) = json.loads(fetched["/api/studies"])["study_summaries"]
    assert study["study_name"].startswith("toy-mlp-")
    assert b"<html" in fetched["/dashboard"]
    assert toy.run("tune", *TINY, "--trials", "3", "--model", "mlp").exit_code == 0


def test_a_study_that_is_not_there_is_a_message(toy: Toy) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    result = toy.run("dashboard", "--model", "mlp")
    assert result.exit_code == 2
    assert "there is no study of mlp" in result.stderr


def test_without_the_dashboards_package_the_message_says_how_to_install_it(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    result = toy.run("dashboard")
    assert result.exit_code == 2
    assert "make dashboard" in result.stderr


def test_a_port_in_use_is_a_message(toy: Toy) -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        result = toy.run("tensorboard", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "is in use" in result.stderr


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_traceback(toy: Toy) -> None:
    where = ["--competition", "toy", "--root", str(toy.workspace.root), "--port", "0"]
    command = [sys.executable, "-m", "pipeline", "tensorboard", *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in told
