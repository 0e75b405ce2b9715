"""The public leaderboard with the user's place, and cv compared with public scores."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.scoring import fold_noise
from pipeline.stages.leaderboard import compare_with_cv
from tests.config.test_artifacts import RUN_REPORT
from tests.conftest import TINY, Toy
from tests.kaggle.server import KaggleServer


def sent(toy: Toy, number: int, cv: float, public: float, folds: list[float] | None = None) -> Entry:
    """Add a scored submission to the ledger and write its run's report."""
    run = f"run-{number}"
    if folds is not None:
        RUN_REPORT.updated(run=run, cv_score=cv, fold_scores=folds).write(toy.workspace.run(run).report)
    entry = Entry(f"2026-01-0{number}T00:00:00+00:00", run, f"{run}.csv", f"{number}" * 64, "rmse", cv, public, None)
    return Ledger(toy.workspace.ledger).put(Entry(**{**entry.__dict__, "ref": number, "status": "complete"}))


def test_the_leaderboard_shows_the_top_and_the_users_place(kaggle: KaggleServer, finished: Toy) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    result = finished.run("leaderboard", "--top", "2")
    assert result.exit_code == 0, result.output
    assert "place 2 of 3 (ada)" in result.stderr
    assert "ada <- you" in result.stdout
    assert "south" not in result.stdout
    assert "rank correlation of cv and public score over 1 submissions: too few" in result.stdout
    kaggle.leaderboard = [(f"team {i}", str(i / 100)) for i in range(45)]
    result = finished.run("leaderboard", "--top", "45")
    assert "team 44" in result.stdout


def test_the_leaderboard_updates_the_ledger(kaggle: KaggleServer, finished: Toy) -> None:
    kaggle.n_polls_pending = 10**6
    assert finished.run("submit", *TINY).exit_code == 0
    kaggle.n_polls_pending = -1
    assert finished.run("leaderboard").exit_code == 0
    (entry,) = Ledger(finished.workspace.ledger).entries()
    assert (entry.status, entry.public_score) == ("complete", 0.12345)


def test_the_rank_correlation_of_agreeing_scores_is_reported(toy: Toy) -> None:
    entries = [sent(toy, i, cv, public) for i, (cv, public) in enumerate([(1, 10), (2, 20), (3, 40), (4, 30)], 1)]
    assert compare_with_cv(toy.workspace, entries) == [
        "rank correlation of cv and public score over 4 submissions: 0.80"
    ]


def test_only_a_disagreement_beyond_fold_noise_is_a_warning(toy: Toy) -> None:
    clear = [sent(toy, 1, 0.10, 0.15, [0.09, 0.10, 0.11, 0.05]), sent(toy, 2, 0.14, 0.14, [0.13, 0.14, 0.15, 0.09])]
    assert any(
        "disagree beyond fold noise on run-1 and run-2" in line for line in compare_with_cv(toy.workspace, clear)
    )
    noisy = [sent(toy, 3, 0.10, 0.15, [0.05, 0.15, 0.05, 0.15]), sent(toy, 4, 0.11, 0.14, [0.15, 0.05, 0.15, 0.09])]
    assert not any("disagree" in line for line in compare_with_cv(toy.workspace, noisy))


def test_a_public_score_far_from_its_cv_is_a_warning(toy: Toy) -> None:
    entries = [sent(toy, 1, 0.10, 0.30, [0.09, 0.10, 0.11])]
    assert any("farther from its cv" in line for line in compare_with_cv(toy.workspace, entries))
    entries = [sent(toy, 2, 0.10, 0.11, [0.09, 0.10, 0.11])]
    assert not any("farther" in line for line in compare_with_cv(toy.workspace, entries))


@pytest.mark.parametrize(("cv", "public"), [([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])])
def test_an_undefined_rank_correlation_is_none(cv: list[float], public: list[float]) -> None:
    assert fold_noise.rank_correlation(cv, public) is None


def test_the_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    cv, public = rng.integers(0, 5, 20).astype(float), rng.random(20)
    assert fold_noise.rank_correlation(list(cv), list(public)) == pytest.approx(spearmanr(cv, public).statistic)
