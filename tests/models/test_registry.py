"""Laws of the one list of models: an entry says all that others need, and nothing else lists models."""

from __future__ import annotations

import sys
import tomllib
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import pytest

from pipeline.models.base import FitContext
from pipeline.models.registry import MODELS, load_search_space, packages_of
from pipeline.models.run_configuration import load_run_config
from tests.models.conftest import ARRAY_MODELS, default_model, make_problem, make_splits, quick

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_is_complete(name: str) -> None:
    """It can be made and stands in the docs."""
    entry = MODELS[name]
    assert entry.description
    assert default_model(name, {}).with_epochs(3) is not None
    assert f"## {name}\n" in (ROOT / "docs/models.md").read_text(encoding="utf-8"), "run `make docs`"


def test_a_space_names_parameters_of_its_model_and_every_file_belongs_to_one() -> None:
    files = {Path(file.name) for file in resources.files("pipeline.models.spaces").iterdir()}
    spaces = {file.stem for file in files if file.suffix == ".toml"}
    assert spaces == {name for name, entry in MODELS.items() if entry.has_space}
    for name, entry in MODELS.items():
        space = load_search_space(name, "regression", {})
        assert bool(space) == entry.has_space
        assert all(key.startswith("features.") or key in entry.params.model_fields for key in space)


def test_every_family_has_defaults_and_every_default_a_family() -> None:
    families = tomllib.loads(resources.files("pipeline.models").joinpath("run_defaults.toml").read_text("utf-8"))
    assert families.keys() == {entry.family for entry in MODELS.values() if entry.family}


def test_packages_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = [entry.package for entry in MODELS.values() if entry.package]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in ("boosting", "foundation"):
        extra = " ".join(project["optional-dependencies"][name])
        optional = [package for package in packages if package in extra]
        assert f"$(filter {' '.join(optional)},$(MODEL))" in makefile
        packages = [package for package in packages if package not in optional]
    core = " ".join(project["dependencies"])
    assert all(package in core for package in packages)
    assert packages_of(load_run_config(model="tabicl")) == ["tabicl"]
    assert packages_of(load_run_config(model="xgboost")) == ["xgboost"]
    assert packages_of(load_run_config(model="random_forest")) == ["skops"]
    assert packages_of(load_run_config()) == []


@pytest.mark.parametrize("name", ARRAY_MODELS)
def test_a_model_that_needs_skops_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook at Kaggle checks the packages that are named before it trains."""
    monkeypatch.setitem(sys.modules, "skops.io", None)  # its import fails
    model, problem = quick(name), make_problem("binary" if name == "logistic" else "regression")
    needs_it = pytest.raises(ImportError, match="skops") if MODELS[name].storage_package == "skops" else nullcontext()
    with needs_it:
        model.fit(problem, make_splits(), seed=0, n_seeds=1, context=FitContext())
