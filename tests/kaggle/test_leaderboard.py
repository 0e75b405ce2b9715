"""The public leaderboard with the user's place, and cv compared with public scores."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.config.records import Place
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.medals import medal_ranks
from pipeline.scoring import fold_noise
from pipeline.stages.leaderboard import compare_with_cv
from tests.config.test_artifacts import RUN_REPORT
from tests.conftest import SPEC, TINY, Toy
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


def test_refs_are_matched_before_tags(kaggle: KaggleServer, finished: Toy) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    first = kaggle.submissions[0]
    kaggle.submissions.append({**first, "ref": 1001, "final_status": "ERROR"})  # the same content, from elsewhere
    before = Ledger(finished.workspace.ledger).entries()
    for _ in range(2):
        assert finished.run("leaderboard").exit_code == 0
        entries = Ledger(finished.workspace.ledger).entries()
        assert [(entry.ref, entry.status) for entry in entries] == [(1000, "complete"), (1001, "error")]
        assert entries[0] == before[0]
        assert (entries[1].sha256, entries[1].cv_score) == (before[0].sha256, before[0].cv_score)


def test_the_ledger_keeps_what_kaggle_does_not_list(kaggle: KaggleServer, finished: Toy) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    before = Ledger(finished.workspace.ledger).entries()
    kaggle.submissions.clear()
    assert finished.run("leaderboard").exit_code == 0
    assert Ledger(finished.workspace.ledger).entries() == before


def test_submissions_by_hand_and_by_team_mates_enter_the_ledger(kaggle: KaggleServer, finished: Toy) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    (mine,) = Ledger(finished.workspace.ledger).entries()
    shared = {"content": b"", "date": "2026-01-02T03:04:05.000Z", "n_polls": 9}
    by_hand = {**shared, "ref": 5, "description": "mean of two", "fileName": "blend.csv", "submittedBy": "grace"}
    by_pipeline = {**shared, "ref": 6, "description": f"sha:{'c' * 12} run:mlp-1 cv=0.25000", "fileName": "m.csv"}
    kaggle.submissions += [by_hand, by_pipeline]
    result = finished.run("leaderboard")
    assert result.exit_code == 0, result.output
    assert "by hand: mean of two" in result.stdout
    hand, other, own = Ledger(finished.workspace.ledger).entries()
    assert (hand.ref, hand.run, hand.file, hand.cv_score) == (5, "", "blend.csv", None)
    assert (hand.public_score, hand.submitted_by, hand.note) == (0.12345, "grace", "mean of two")
    assert (other.ref, other.run, other.sha256, other.cv_score) == (6, "mlp-1", "c" * 12, 0.25)
    assert own == mine
    assert Ledger(finished.workspace.ledger).find("c" * 64) == other


@pytest.mark.parametrize(
    ("n_teams", "ranks"),
    [
        (3, (0, 0, 1)),
        (99, (9, 19, 39)),
        (100, (10, 20, 40)),
        (249, (10, 49, 99)),
        (250, (10, 50, 100)),
        (500, (11, 50, 100)),
        (999, (11, 50, 100)),
        (1000, (12, 50, 100)),
        (5000, (20, 250, 500)),
    ],
)
def test_medals_depend_on_the_number_of_teams(n_teams: int, ranks: tuple[int, int, int]) -> None:
    assert tuple(medal_ranks(n_teams).values()) == ranks


def test_rank_percentile_and_medal_lines_need_no_large_top(kaggle: KaggleServer, finished: Toy) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    kaggle.leaderboard = [(f"team {i}", f"{i / 1000}") for i in range(1, 300)]
    kaggle.leaderboard.insert(119, ("ada", "0.1195"))
    kaggle.competition["teamCount"] = 300
    result = finished.run("leaderboard", "--top", "2")
    assert "place 120 of 300 (ada), top 40.0 %" in result.stderr
    assert "gold to rank 10 (0.01000), silver to rank 50 (0.05000), bronze to rank 100 (0.10000)" in result.stdout
    assert "ada <- you" in result.stdout
    assert "team 3 " not in result.stdout
    place = Place.read(finished.workspace.place)
    assert (place.rank, place.n_teams, place.awards_medals) == (120, 300, False)


def test_json_is_all_that_is_on_stdout(kaggle: KaggleServer, finished: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finished.run("submit", *TINY).exit_code == 0
    found = json.loads(finished.run("leaderboard", "--json").stdout)
    assert (found["rank"], found["n_teams"], found["team"]) == (2, 3, "ada")
    assert found["percentile"] == pytest.approx(200 / 3)
    assert found["medals"] == [{"medal": "bronze", "rank": 1, "score": 0.10}]
    assert [(row["rank"], row["score"]) for row in found["leaderboard"]] == [(1, 0.10), (2, 0.12345), (3, 0.2)]
    assert [(row["ref"], row["status"], row["public_score"]) for row in found["ledger"]] == [
        (1000, "complete", 0.12345)
    ]

    found = json.loads(finished.run("runs", "--json").stdout)
    assert [run["run"] for run in found["runs"]] == [finished.only_run().name]
    assert found["runs"][0]["cv_score"] > 0

    result = finished.run("doctor", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["is_ready"]
    assert {"mark": "ok", "text": "toy: the rules are accepted"} in found["findings"]
    kaggle.competition["userHasEntered"] = False
    result = finished.run("doctor", "--json")
    assert (result.exit_code, json.loads(result.stdout)["is_ready"]) == (3, False)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    result = finished.run("leaderboard", "--json")
    assert (result.exit_code, result.stdout) == (3, "")


def test_json_of_a_competition_without_runs(empty: Toy) -> None:
    empty.workspace.spec.parent.mkdir(parents=True)
    empty.workspace.spec.write_text(SPEC)
    assert json.loads(empty.run("runs", "--json").stdout) == {"competition": "toy", "runs": []}


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
