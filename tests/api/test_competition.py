"""A competition as one object: each method is its stage, and a call leaves nothing global behind."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info

import pipeline.api.competition
import pipeline.api.estimators
from pipeline import Competition
from pipeline.base import progress
from pipeline.base.errors import ArtifactError, DataError, KaggleError, SpecError

RIDGE: dict[str, Any] = {"preset": "fast", "model": "ridge"}


@pytest.fixture
def spiral(tmp_path: Path) -> Competition:
    """The built-in sample, in an empty folder."""
    return Competition("spiral", tmp_path, device="cpu", n_workers=1)


def global_state() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "mark": progress._mark.get(),
        "quiet": progress._is_quiet.get(),
        "umask": umask,
        "filters": list(warnings.filters),
        "torch": (torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state().sum().item()),
        "threads": sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info()),
        "optuna": optuna.logging.get_verbosity(),
        "signal": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": np.random.get_state()[1].sum(),  # noqa: NPY002
    }


@pytest.mark.slow
def test_a_call_leaves_nothing_global_behind(spiral: Competition, capfd: pytest.CaptureFixture[str]) -> None:
    spiral.train(epochs=1, seeds=1, hidden_sizes=[4])  # what is imported may set up itself once
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    before = global_state()
    spiral.submit("fast", epochs=2, seeds=1, hidden_sizes=[4])
    spiral.tune(2, "linear", epochs=2)
    spiral.check()
    with pytest.raises(SpecError):
        spiral.train(model="rigde")
    assert global_state() == before
    out, err = capfd.readouterr()
    assert out == ""
    assert "[SAMPLE DATA]" in err
    progress.say("of another")
    assert "SAMPLE DATA" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_quiet_competition_says_nothing(spiral: Competition, capfd: pytest.CaptureFixture[str]) -> None:
    spiral.verbose = False
    spiral.submit(**RIDGE)
    assert capfd.readouterr() == ("", "")
    spiral.verbose = True
    spiral.submit(**RIDGE)
    assert "up to date" in capfd.readouterr().err


def test_a_run_holds_what_its_folder_does(spiral: Competition) -> None:
    run = spiral.train(epochs=2, seeds=1)
    store = spiral.features()
    assert run.cv_score == pytest.approx(run.fold_scores.mean())  # a holdout, or folds of one size
    assert run.oof["id"].tolist() == store.train_rows["id"].tolist()
    assert run.history["epoch"].max() == 2
    assert run.report.run == run.name == spiral.run(run.name).name
    assert spiral.runs()["run"].tolist() == [run.name]
    trees = spiral.train(model="random_forest", n_trees=5)
    assert trees.importance.index.tolist() == sorted(trees.importance.index, key=lambda name: -trees.importance[name])
    assert trees.importance.sum() == pytest.approx(1.0)
    assert spiral.runs()["run"].tolist()[0] == max((run, trees), key=lambda one: one.cv_score).name


@pytest.mark.slow
def test_a_submission_says_how_it_was_made(spiral: Competition) -> None:
    submission = spiral.final(**RIDGE)
    assert submission.cv_score == submission.provenance.cv_score == spiral.train(**RIDGE).cv_score
    assert submission.nested_score is None
    assert spiral.submit(**RIDGE) == submission
    best = spiral.submit("best", minutes=0.02)
    assert best.nested_score is not None
    assert len(best.frame) == len(submission.frame) == len(spiral.features().test)


@pytest.mark.slow
def test_rows_are_predicted_from_a_frame_as_from_a_file(spiral: Competition) -> None:
    submission, run = spiral.submit(**RIDGE), spiral.train(**RIDGE)
    raw = spiral.workspace.raw / "test.csv"
    from_file, from_frame = spiral.predict(run, raw), spiral.predict(run.name, pd.read_csv(raw))
    pd.testing.assert_frame_equal(from_file, from_frame)
    pd.testing.assert_frame_equal(from_file, submission.frame, check_dtype=False)
    with pytest.raises(ArtifactError, match="no finished run 'absent'"):
        spiral.predict("absent", raw)
    with pytest.raises(DataError, match="there is no column 'x2'"):
        spiral.predict(run, pd.read_csv(raw).drop(columns="x2"))


@pytest.mark.slow
def test_the_page_is_about_the_run_that_is_asked_for(spiral: Competition) -> None:
    run, other = spiral.train(**RIDGE), spiral.train(model="neighbours", numbers=[15])
    page = spiral.report(run, importance=False)
    assert page == spiral.workspace.page
    assert f"The chosen run, {run.name}," in page.read_text(encoding="utf-8")
    assert f"The best run, {other.name}," in spiral.report(importance=False).read_text(encoding="utf-8")
    with pytest.raises(ArtifactError, match="no finished run 'absent'"):
        spiral.report("absent")


@pytest.mark.slow
def test_tune_gives_its_trials_and_a_preset(spiral: Competition) -> None:
    trials = spiral.tune(3, "linear", epochs=5)
    assert len(trials) == 3
    assert trials["cv_score"].dropna().is_monotonic_decreasing
    assert spiral.train("tuned", "linear").name.startswith("tuned")


def test_mistakes_are_pipeline_errors(tmp_path: Path, spiral: Competition) -> None:
    with pytest.raises(DataError, match="no files of the competition 'no-such-thing'"):
        Competition("no-such-thing", tmp_path).features()
    with pytest.raises(SpecError, match="chooses models"):
        spiral.submit(model="ridge")
    with pytest.raises(SpecError, match="depth"):
        spiral.train(model="ridge", depth=3)
    with pytest.raises(KaggleError):
        spiral.leaderboard()
    with pytest.raises(ArtifactError, match="fewer than two submissions"):
        spiral.choose()


@pytest.mark.slow
@pytest.mark.parametrize("module", [pipeline.api.competition, pipeline.api.estimators])
def test_the_examples_are_true(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_package_is_imported_without_what_only_work_needs() -> None:
    code = "import sys, pipeline; sys.exit(bool({'torch', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'Kompetition'"):
        pipeline.Kompetition  # noqa: B018
