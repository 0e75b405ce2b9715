"""Pretrained weights at Kaggle: in an attached data set under any folder, the same as here, and never fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import SpecError
from pipeline.config.spec import load_spec
from pipeline.kaggle.notebook.bundle import Options, make_bundle
from pipeline.models.registry import packages_of
from pipeline.models.run_configuration import load_run_config
from tests.conftest import TINY, Toy
from tests.kaggle.test_notebook_bundle import Kaggle
from tests.models.pretrained import write_weights
from tests.sentence_model import write_sentence_model

pytestmark = pytest.mark.slow
READING = ["context_rows=30", "estimators=1"]


@pytest.fixture
def kaggle(tmp_path: Path) -> Kaggle:
    (tmp_path / "kaggle" / "input").mkdir(parents=True)
    return Kaggle(tmp_path / "kaggle")


@pytest.fixture
def tabicl(tmp_path: Path) -> Path:
    pytest.importorskip("tabicl", reason="the extra `foundation` is not installed")
    return write_weights("tabicl", tmp_path / "mine", is_regression=True)


def test_the_notebook_reads_the_attached_weights_and_predicts_the_same(toy: Toy, kaggle: Kaggle, tabicl: Path) -> None:
    options = [f"weights={tabicl}", *READING]
    assert toy.run("final", "--model", "tabicl", *(one for key in options for one in ("--set", key))).exit_code == 0
    here = pd.read_csv(toy.submission())
    config = load_run_config("fast", model="tabicl", overrides=options)
    how = Options(weights=("ada/weights",))
    spec = load_spec(toy.workspace.spec)
    bundle = make_bundle(toy.workspace, spec, config, packages=packages_of(config), options=how)
    assert bundle.metadata["dataset_sources"] == ["ada/weights"]
    kaggle.add(toy)
    attached = kaggle.given / "datasets" / "ada" / "weights"
    attached.mkdir(parents=True)
    (attached / tabicl.name).write_bytes(b"another file of this name")
    moved = tabicl.rename(tabicl.with_name("away.ckpt"))
    done = kaggle.run(bundle.text)
    assert done.returncode == 1
    assert f"no input has the weights {tabicl.name}" in done.stderr
    assert "--weights OWNER/NAME" in done.stderr
    (attached / tabicl.name).write_bytes(moved.read_bytes())
    done = kaggle.run(bundle.text)
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(pd.read_csv(kaggle.working / "submission.csv")["price"], here["price"], rtol=1e-6)


def test_weights_that_are_only_at_kaggle_are_found_by_their_published_name(
    toy: Toy, kaggle: Kaggle, tabicl: Path
) -> None:
    config = load_run_config("fast", model="tabicl", overrides=READING)
    bundle = make_bundle(toy.workspace, load_spec(toy.workspace.spec), config, packages=packages_of(config))
    kaggle.add(toy)
    write_weights("tabicl", tabicl.parent, is_regression=False)
    tabicl.parent.rename(kaggle.given / "some-dataset")
    done = kaggle.run(bundle.text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (kaggle.working / "submission.csv").exists()


def test_the_notebook_finds_the_text_model_whatever_its_folder_is_called(toy: Toy, kaggle: Kaggle) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `text` is not installed")
    for name in ("train.csv", "test.csv"):
        table = pd.read_csv(toy.workspace.raw / name)
        table["said"] = [f"it was a {'good' if i % 3 else 'bad'} day for all of us" for i in range(len(table))]
        table.to_csv(toy.workspace.raw / name, index=False)
    write_sentence_model(toy.workspace.folder / "tiny")
    toy.edit_spec("[columns]\n", '[encoder]\ntext_embeddings = "tiny"\n\n[columns]\ntexts = ["said"]\n')
    assert toy.run("final", *TINY).exit_code == 0
    here = pd.read_csv(toy.submission())
    config = load_run_config("fast", overrides=[value for value in TINY[:6] if value != "--set"])
    bundle = make_bundle(toy.workspace, load_spec(toy.workspace.spec), config)
    kaggle.add(toy)
    toy.workspace.folder.joinpath("tiny").rename(kaggle.given / "some-dataset")
    done = kaggle.run(bundle.text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"weights tiny: {kaggle.given / 'some-dataset'}" in done.stdout
    np.testing.assert_allclose(pd.read_csv(kaggle.working / "submission.csv")["price"], here["price"], rtol=1e-6)


def test_two_weights_of_one_name_cannot_be_sent(toy: Toy, tabicl: Path) -> None:
    other = tabicl.parent / "other" / tabicl.name
    other.parent.mkdir()
    other.write_bytes(tabicl.read_bytes() + b"x")
    parts = [load_run_config("fast", model="tabicl", overrides=[f"weights={path}"]) for path in (tabicl, other)]
    both = parts[0].model_copy(update={"parts": [part.as_part(1.0) for part in parts], "params": {}})
    with pytest.raises(SpecError, match="two weights are called"):
        make_bundle(toy.workspace, load_spec(toy.workspace.spec), both)
