"""The generated competitions from nothing to a scored submission, by their own specs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.base import files
from pipeline.competition.manifest import FeatureManifest
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from tests.conftest import Toy

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("competition", "chance"), [("quadrants", 0.6), ("spiral", 0.4)])
def test_a_generated_competition_runs_through_and_is_scored(tmp_path: Path, competition: str, chance: float) -> None:
    toy = Toy(Workspace(tmp_path, competition))
    text = (REPOSITORY / "data" / competition / "competition.toml").read_text()
    files.write_text(toy.workspace.spec, text)
    toy.submit("--set", "epochs=10", "--set", "lr=0.02")
    report = RunReport.read(toy.only_run().report)
    assert report.cv_score > chance
    labels = pd.read_csv(toy.submission()).iloc[:, 1]
    assert set(labels) <= set(pd.read_csv(toy.workspace.raw / "train.csv").iloc[:, -1])
    result = toy.run("score", str(toy.submission()))
    assert result.exit_code == 0, result.output
    assert float(result.stdout.split()[2]) > chance
    assert toy.run("runs").exit_code == 0


def test_the_spiral_holds_out_225_rows_to_validate(tmp_path: Path) -> None:
    toy = Toy(Workspace(tmp_path, "spiral"))
    files.write_text(toy.workspace.spec, (REPOSITORY / "data/spiral/competition.toml").read_text())
    assert toy.run("features").exit_code == 0
    manifest = FeatureManifest.read(toy.workspace.manifest)
    assert (manifest.n_train_rows, manifest.n_test_rows) == (1275, 225)
    assert (manifest.rows_by_fold, manifest.n_never_validated) == ([225], 1050)
