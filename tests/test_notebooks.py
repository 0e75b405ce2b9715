"""The notebooks run top to bottom on small sizes, are stored bare, and say what they show and how long it takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
HAVE_IMAGES = ["02-softmax-regression"]  # run again on Fashion-MNIST
CELL_TIMEOUT_S = 300


@pytest.fixture(autouse=True)
def _small_and_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small sizes, one thread, and nothing written into the user's own folders."""
    monkeypatch.setenv("NOTEBOOK_SIZE", "small")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel. A cell that raises fails the test."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources=where).execute()
    return notebook


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_any_data_at_hand(path: Path) -> None:
    notebook = executed(path)
    assert pictures(notebook) >= 4
    if "load_images()" in path.read_text():
        assert "scikit-learn's digits (no PIPELINE_DATA_DIR/fashion-mnist" in printed(notebook)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", HAVE_IMAGES)
def test_a_notebook_runs_on_fashion_mnist(name: str, real_data: Path) -> None:
    assert (real_data / "fashion-mnist").is_dir()
    assert "Fashion-MNIST: 60,000 train" in printed(executed(FOLDER / f"{name}.ipynb"))


def test_there_are_five() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_opens_with_what_it_shows(path: Path) -> None:
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    first = "".join(notebook["cells"][0]["source"])
    assert first.startswith("# ")
    assert re.search(r"\*(About|Half) .*(minute|second)", first)
    assert "from pipeline" in path.read_text()


def test_the_package_knows_nothing_of_the_notebooks() -> None:
    for path in (FOLDER.parent / "pipeline").rglob("*.py"):
        text = path.read_text()
        assert "import helpers" not in text
        assert not re.search(r"^\s*(import|from) matplotlib", text, re.MULTILINE)
