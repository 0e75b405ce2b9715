"""`--wheels auto`: packages that Kaggle's image lacks come in a private dataset, made once and kept up to date."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from pipeline.base.errors import SpecError
from pipeline.kaggle.notebook import wheels
from pipeline.kaggle.notebook.bundle import requirements_of
from pipeline.kaggle.notebook.wheels import IMAGE, MARK, lacking
from tests.conftest import Toy
from tests.kaggle.conftest import SAME_RUN, run_notebooks
from tests.kaggle.server import Fault, KaggleServer

NAME = "ada/wheels-toy"
LOG = "kernel: missing or too old: rich 13.0, safetensors (missing); installing from the internet\n"


@pytest.fixture
def kaggle(kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch) -> KaggleServer:
    """Make the image lack two packages, whose wheels pip has, and run notebooks."""
    run_notebooks(kaggle, finished)
    monkeypatch.setattr("pipeline.stages.kernel.lacking", lambda *_: {"cowsay": "1", "ponysay": "0.2"})
    monkeypatch.setattr(wheels, "_run", pip)
    return kaggle


def pip(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Resolve to two packages, one of the image and torch; download what is asked for."""
    if "--report" in command:
        versions = {
            "cowsay": "6.1",
            "ponysay": "0.3",
            "numpy": "2.0.2",
            "torch": "2.13.0",
            "nvidia-nccl-cu12": "2.32.3",
        }
        found = [{"metadata": {"name": name, "version": version}} for name, version in versions.items()]
        Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": found}))
        return subprocess.CompletedProcess(command, 0, "", "")
    folder = Path(command[command.index("-d") + 1])
    for name in (f"{one.replace('==', '-')}-py3-none-any.whl" for one in command if "==" in one):
        (folder / name).write_bytes(name.encode())
    return subprocess.CompletedProcess(command, 0, "", "")


def kernel(toy: Toy, *options: str, code: int = 0) -> str:
    result = toy.run("kernel", *SAME_RUN, "--wheels", "auto", "--no-upload", *options)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout + result.stderr


def test_the_dataset_is_made_private_and_attached_when_ready(kaggle: KaggleServer, finished: Toy) -> None:
    assert "uploading 2 wheels" in kernel(finished)
    dataset = kaggle.own_datasets[NAME]
    assert dataset["versions"] == [{name: name.encode() for name in WHEELS}]
    assert dataset["request"]["isPrivate"] is True
    assert dataset["request"]["description"] == MARK
    assert dataset["n_polls"] > 2
    (version,) = kaggle.kernels["ada/final-toy"]["versions"]
    assert version["request"]["datasetDataSources"] == [NAME]
    assert "has the wheels already" in kernel(finished, "--again")
    assert len(dataset["versions"]) == 1


def test_a_changed_dataset_gets_a_new_version(kaggle: KaggleServer, finished: Toy) -> None:
    kernel(finished)
    kaggle.own_datasets[NAME]["versions"].append({"old-1.0-py3-none-any.whl": b"old"})
    kernel(finished, "--again")
    assert sorted(kaggle.own_datasets[NAME]["versions"][-1]) == WHEELS


@pytest.mark.parametrize("endpoint", ["CreateDataset", "CreateDatasetVersion"])
def test_a_lost_answer_sends_nothing_twice(kaggle: KaggleServer, finished: Toy, endpoint: str) -> None:
    if endpoint == "CreateDatasetVersion":
        kernel(finished)
        kaggle.own_datasets[NAME]["versions"].append({"old-1.0-py3-none-any.whl": b"old"})
    kaggle.fault(endpoint, Fault(drops=True, is_after=True))
    kernel(finished, "--again")
    assert kaggle.names().count(endpoint) == 1


def test_a_dataset_that_the_project_did_not_make_is_not_changed(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.own_datasets[NAME] = {"description": "my own", "versions": [{"a.csv": b"a"}], "n_polls": 9}
    assert "did not make" in kernel(finished, code=3)
    assert kaggle.own_datasets[NAME]["versions"] == [{"a.csv": b"a"}]
    assert "SaveKernel" not in kaggle.names()


def test_without_a_push_nothing_is_made(kaggle: KaggleServer, finished: Toy) -> None:
    assert "no dataset of wheels is made (wanted: cowsay, ponysay)" in kernel(finished, "--no-push")
    assert kaggle.own_datasets == {}


def test_what_pip_cannot_download_is_said(finished: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found for cowsay>=99\n")
    monkeypatch.setattr(wheels, "_run", lambda _: failed)
    with pytest.raises(SpecError, match="No matching distribution found for cowsay>=99"):
        wheels.download({"cowsay": "99"}, finished.workspace.kernels / "wheels")


def test_the_image_has_what_every_run_needs() -> None:
    assert lacking(requirements_of(["lightgbm", "xgboost", "catboost", "skops"])) == {}
    assert set(lacking({"pandas": "2.3", "polars": "1.0", "torch": "99"})) == {"pandas", "polars"}
    assert set(lacking({"rich": "13", "safetensors": "0.5", "numpy": "2.0"}, [LOG])) == {"rich", "safetensors"}


def test_the_image_is_older_than_nothing_the_project_states() -> None:
    """`make kernel` works on the image as it is: the project's lower bounds are met by its versions."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["boosting"]]
    bounds = {found[1]: found[2] for line in stated if (found := re.match(r"([\w.-]+)[^;]*?>=([\d.]+)", line))}
    needed = requirements_of(["lightgbm", "xgboost", "catboost"])
    assert lacking({name: bounds[name] for name in needed}) == {}
    assert IMAGE.read_text() == (Path(__file__).parents[2] / "constraints-kaggle.txt").read_text()


WHEELS = ["cowsay-6.1-py3-none-any.whl", "ponysay-0.3-py3-none-any.whl"]
