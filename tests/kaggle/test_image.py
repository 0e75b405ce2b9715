"""Bundles run, offline, with exactly the versions of Kaggle's image: the predictions are those of this environment.

`PIPELINE_IMAGE_PYTHON` names the interpreter of an environment with `constraints-kaggle.txt`, which `.ci/run` makes.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.best import ensemble_run
from pipeline.best.ensemble_run import ensemble_folder, finished_run, plan_of, write_ensemble
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from pipeline.kaggle.notebook.bundle import Bundle, make_bundle
from pipeline.kaggle.notebook.wheels import IMAGE
from pipeline.models.base import FitContext
from pipeline.models.registry import packages_of
from pipeline.models.run_configuration import load_run_config
from pipeline.scoring.ensembling import SMALLEST_WEIGHT, Choice, Selection
from pipeline.stages.final import make_final
from tests.conftest import TINY, Toy
from tests.kaggle.test_notebook_bundle import Kaggle

PYTHON = os.environ.get("PIPELINE_IMAGE_PYTHON", "")
NO_PYTHON = "PIPELINE_IMAGE_PYTHON names no environment with the versions of constraints-kaggle.txt"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason=NO_PYTHON)]
NETWORK = 'model = "mlp"\nseeds = 2\nparams = { epochs = 3, hidden_sizes = [8] }\n'
PASSENGERS_SPEC = """
name = "passengers"
kaggle_slug = "passengers"
id = "PassengerId"
target = "Survived"
task = "binary"
metric = "accuracy"

[columns]
texts = ["Name", "Ticket", "Cabin"]
dates = ["Booked"]
ordered = { Deck = ["low", "middle", "high"] }

[folds]
kind = "stratified_group"
group = "Party"
number = 3
"""


@pytest.fixture
def kaggle(tmp_path: Path) -> Kaggle:
    """Return empty folders laid out like Kaggle's."""
    (tmp_path / "kaggle" / "input").mkdir(parents=True)
    return Kaggle(tmp_path / "kaggle")


def parts(*models: str, **features: object) -> str:
    """Return a preset with one part per model."""
    steps = "".join(f"features.{name} = {value}\n" for name, value in features.items())
    return f'model = "{models[0]}"\n' + "".join(f'[[parts]]\nmodel = "{model}"\n{steps}' for model in models)


def run_of(toy: Toy, preset: str) -> Bundle:
    """Train a preset here, and return its bundle."""
    path = toy.workspace.root / "preset.toml"
    path.write_text(preset)
    result = toy.run("final", "--preset", str(path), "--workers", "1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    config = load_run_config(str(path))
    return make_bundle(toy.workspace, load_spec(toy.workspace.spec), config, packages=packages_of(config))


def assert_same_predictions(toy: Toy, kaggle: Kaggle, bundle: Bundle, tolerance: float = 1e-6) -> str:
    """Run the bundle with the image's versions, compare its submission with the one made here, return its messages."""
    kaggle.add(toy, f"competitions/{toy.workspace.competition}")
    done = kaggle.run(bundle.text, python=PYTHON)
    assert done.returncode == 0, done.stderr
    assert "FutureWarning" not in done.stderr
    there, here = pd.read_csv(kaggle.working / "submission.csv"), pd.read_csv(toy.submission())
    assert there.columns.tolist() == here.columns.tolist()
    assert (there.iloc[:, 0] == here.iloc[:, 0]).all()
    np.testing.assert_allclose(there.iloc[:, 1], here.iloc[:, 1], rtol=tolerance)
    return done.stdout + done.stderr


def passengers(n_rows: int = 160, n_test: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables like those of the Titanic: names, tickets, cabins, dates, missing values, parties of passengers."""
    rng = np.random.default_rng(5)
    n = n_rows + n_test
    party, title = rng.integers(0, 60, n), rng.choice(["Mr.", "Mrs.", "Miss.", "Master."], n)
    booked = pd.Timestamp("1912-01-01") + pd.to_timedelta(rng.integers(0, 100, n), unit="D")
    table = pd.DataFrame(
        {
            "PassengerId": np.arange(1, n + 1),
            "Name": [f"Family{p}, {t} Given{p % 7}" for p, t in zip(party, title, strict=True)],
            "Ticket": [f"PC {1000 + p}" if p % 3 else str(20_000 + p) for p in party],
            "Cabin": np.where(rng.random(n) < 0.4, None, [f"{'ABC'[p % 3]}{10 + p}" for p in party]),
            "Booked": pd.Series(booked).dt.strftime("%Y-%m-%d"),
            "Deck": np.where(rng.random(n) < 0.2, None, rng.choice(["low", "middle", "high"], n)),
            "Sex": np.where(np.isin(title, ["Mr.", "Master."]), "male", "female"),
            "Age": np.where(rng.random(n) < 0.2, np.nan, rng.uniform(1, 70, n).round(1)),
            "Party": party,
        }
    )
    survived = ((table["Sex"] == "female") ^ (rng.random(n) < 0.2)).astype(int)
    return table[:n_rows].assign(Survived=survived[:n_rows]), table[n_rows:].reset_index(drop=True)


@pytest.fixture
def titanic(tmp_path: Path) -> Toy:
    """Return a competition with texts, dates, ordered levels and stratified groups."""
    workspace = Workspace(tmp_path / "work", "passengers")
    workspace.raw.mkdir(parents=True)
    train, test = passengers()
    sample = pd.DataFrame({"PassengerId": test["PassengerId"], "Survived": 0})
    for name, table in {"train": train, "test": test, "sample_submission": sample}.items():
        table.to_csv(workspace.raw / f"{name}.csv", index=False)
    workspace.spec.write_text(PASSENGERS_SPEC)
    return Toy(workspace)


def test_the_environment_has_the_versions_of_the_image() -> None:
    frozen = subprocess.run([PYTHON, "-I", "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    stated = dict(line.lower().replace("_", "-").split("==") for line in IMAGE.read_text().splitlines() if "==" in line)
    found = dict(line.lower().replace("_", "-").split("==") for line in frozen.splitlines() if "==" in line)
    assert {"pandas", "numpy", "scikit-learn", "pyarrow", "rich", "lightgbm"} <= found.keys()
    assert {name: stated.get(name) for name in found if name != "torch"} == {
        name: version for name, version in found.items() if name != "torch"
    }


def test_a_regression_with_a_network_and_boosting(toy: Toy, kaggle: Kaggle) -> None:
    preset = parts("ridge", "lightgbm", target_encoding=2, category_counts="true")
    assert_same_predictions(toy, kaggle, run_of(toy, f"{preset}[[parts]]\n{NETWORK}"))


def test_histogram_boosting_follows_the_installed_scikit_learn(toy: Toy, kaggle: Kaggle) -> None:
    assert_same_predictions(toy, kaggle, run_of(toy, 'model = "histogram_boosting"\n'), tolerance=0.1)


def test_a_forest_breaks_ties_as_the_installed_scikit_learn(toy: Toy, kaggle: Kaggle) -> None:
    """Counts and target means may divide rows alike: versions choose differently among such splits."""
    preset = parts("random_forest", target_encoding=2, category_counts="true")
    assert_same_predictions(toy, kaggle, run_of(toy, preset), tolerance=0.02)


def test_a_classification_with_texts(titanic: Toy, kaggle: Kaggle) -> None:
    titanic.edit_spec('metric = "accuracy"', 'metric = "log_loss"')
    preset = parts("logistic", "lightgbm", text_parts="true", key_target_means=2)
    assert_same_predictions(titanic, kaggle, run_of(titanic, preset))


def test_the_ensemble_of_preset_best_on_two_gpus(toy: Toy, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in (("--model", "ridge", *TINY[-4:]), TINY):
        assert toy.run("train", *options).exit_code == 0
    store = toy.store()
    runs = [store.workspace.run(path.parent.name) for path in sorted(store.workspace.runs.glob("*/report.json"))]
    members = [finished_run(store, run, label=run.name, kind=run.name) for run in runs]
    weights = {member.name: weight for member, weight in zip(members, (0.7, 0.3), strict=True)}
    choice = Choice("linear", Selection(weights, 0.1, 0.1, members[0].oof), weights, {"linear": 0.1}, 0.1, {})
    monkeypatch.setattr(ensemble_run, "choose_ensemble", lambda *_, **__: choice)
    of_the_race: dict[str, Any] = {"given_up": [], "tuned": {}, "minutes": 1.0, "spent_s": 1.0}
    ensemble = ensemble_folder(store)
    report = write_ensemble(store, ensemble, members, smallest_weight=SMALLEST_WEIGHT, **of_the_race)
    make_final(store, report.config, ensemble, FitContext())
    bundle = make_bundle(store.workspace, store.spec, plan_of(store), n_processes=2)
    kaggle.add_gpus(2)
    said = assert_same_predictions(toy, kaggle, bundle)
    assert said.count("this process has trained its share") == 2
    assert "2 of 2 train" in said
