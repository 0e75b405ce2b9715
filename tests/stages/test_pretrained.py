"""A pretrained model by the command line: submission, prediction of new rows, page; other weights are another run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Toy
from tests.models.pretrained import write_weights

pytestmark = pytest.mark.slow
READING = ["--model", "tabicl", "--set", "context_rows=30", "--set", "estimators=1", "--device", "cpu"]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("tabicl", reason="the extra `foundation` is not installed")
    monkeypatch.setenv("PIPELINE_WEIGHTS", str(tmp_path / "weights"))
    return write_weights("tabicl", tmp_path / "weights" / "inside", is_regression=True)


def test_a_run_is_submitted_predicts_new_rows_and_has_a_page(toy: Toy, weights: Path, tmp_path: Path) -> None:
    result = toy.run("submit", *READING)
    assert result.exit_code == 0, result.output
    run, rows = toy.only_run(), tmp_path / "rows.csv"
    shutil.copy(toy.workspace.raw / "test.csv", rows)
    weights.rename(weights.parents[1] / weights.name)  # found where it is now
    assert toy.run("predict", run.name, str(rows)).exit_code == 0
    predicted = pd.read_csv(tmp_path / f"rows-{run.name}.csv")
    np.testing.assert_allclose(predicted["price"], pd.read_csv(toy.submission())["price"], rtol=1e-6)
    result = toy.run("report")
    assert result.exit_code == 0, result.output
    assert "is not measured" in result.stderr
    assert toy.run("runs").exit_code == 0


def test_other_weights_are_another_training_and_a_refit_reads_all_rows(toy: Toy, weights: Path) -> None:
    assert toy.run("train", *READING).exit_code == 0
    before = toy.only_run().oof.read_bytes()
    assert toy.run("train", *READING).exit_code == 0
    assert toy.only_run().oof.read_bytes() == before
    import torch

    held = torch.load(weights, weights_only=True)
    first = next(iter(held["state_dict"].values()))
    first += 1.0
    torch.save(held, weights)
    result = toy.run("train", *READING)
    assert result.exit_code == 0, result.output
    assert "the weights changed" in result.stderr
    assert toy.only_run().oof.read_bytes() != before
    result = toy.run("final", *READING, "--set", "final=refit")
    assert result.exit_code == 0, result.output
    weights.unlink()
    result = toy.run("train", *READING)
    assert result.exit_code == 2
    assert "there are no weights for regression" in result.stderr
