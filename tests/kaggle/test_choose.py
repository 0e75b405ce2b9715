"""`choose` on a ledger, with the runs and files that were sent."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files
from pipeline.competition.store import FeatureStore
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.scoring.choice import choose
from pipeline.scoring.submitted import correlations, prediction_of
from tests.config.test_artifacts import RUN_REPORT
from tests.conftest import Toy

TEST_ROWS = 20


def sent(
    toy: Toy, number: int, cv: float | None, public: float | None, prices: np.ndarray | None = None, **more: object
) -> Entry:
    """Enter a scored submission, with its file if `prices` are given, and its run's report if it has a cv."""
    run = "" if cv is None else f"run-{number}"
    path, sha256 = toy.workspace.submissions / f"sent-{number}.csv", f"{number:064x}"
    if prices is not None:
        frame = pd.read_csv(toy.workspace.raw / "sample_submission.csv")
        files.write_csv(path, frame.assign(price=prices))
        sha256 = files.sha256_of(path)
    if cv is not None:
        folds = cv + 0.004 * np.random.default_rng(number).normal(size=4)
        RUN_REPORT.updated(run=run, cv_score=cv, fold_scores=[*folds], ensemble=None).write(
            toy.workspace.run(run).report
        )
    given = {"ref": number, "status": "complete", "public_score": public, "note": "" if run else "by me"} | more
    time = f"2026-01-{number:02}T00:00:00+00:00"
    return Ledger(toy.workspace.ledger).put(Entry(time, run, path.name, sha256, "log_rmse", cv, **given))  # type: ignore[arg-type]


@pytest.fixture
def prices() -> np.ndarray:
    """(submissions, test rows) predictions that are much alike."""
    rng = np.random.default_rng(0)
    return np.exp(9 + rng.normal(size=TEST_ROWS) + 0.05 * rng.normal(size=(6, TEST_ROWS)))


@pytest.fixture
def five(toy: Toy, prices: np.ndarray) -> Toy:
    """Five submissions; the fourth has the best cv by a leak, the last was made by hand."""
    assert toy.run("features").exit_code == 0
    for number, (cv, public) in enumerate([(0.12, 0.14), (0.13, 0.15), (0.14, 0.16), (0.08, 0.17)], start=1):
        sent(toy, number, cv, public, prices[number - 1])
    sent(toy, 5, None, 0.145, prices[4])
    return toy


def test_it_says_which_two_and_why(five: Toy) -> None:
    result = five.run("choose")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "select run-1 and " in told
    assert "https://www.kaggle.com/competitions/toy/submissions" in told
    assert "run-1: expected private score 0.1" in told
    assert "cv 0.12000 (2nd), public 0.14000 (1st)" in told
    assert "run-4: its public score is" in told
    assert "worse than its cv says" in told
    assert "30% of the test rows (assumed" in told
    assert "the two with the best cvs, " in told
    assert "run-4 and run-1" in told or "run-1 and run-4" in told


def test_the_share_of_the_public_rows_is_the_specs(five: Toy) -> None:
    before = choose(five.store())
    five.edit_spec('metric = "log_rmse"', 'metric = "log_rmse"\npublic_share = 0.5')
    result = five.run("choose")
    assert "10 rows, 50% of the test rows, counts" in " ".join(result.stdout.split())
    assert "features:" not in result.stderr or "up to date" in result.stderr  # nothing is built again
    after = choose(five.store())
    assert before is not None
    assert after is not None
    assert after.cv_weight < before.cv_weight
    five.edit_spec("public_share = 0.5", "public_share = 50")
    assert "public_share" in five.run("choose").stderr


def test_json_holds_everything(five: Toy) -> None:
    shown = json.loads(five.run("choose", "--json").stdout)
    assert len(shown["select"]) == 2
    assert len(shown["candidates"]) == 5
    assert shown["select"][0]["run"] == "run-1"
    assert shown["why"]


def test_fewer_than_two_submissions_are_a_message(toy: Toy) -> None:
    assert toy.run("features").exit_code == 0
    assert "fewer than two submissions with a score" in toy.run("choose").stderr
    sent(toy, 1, 0.12, 0.14)
    result = toy.run("choose")
    assert result.exit_code == 2
    assert "make leaderboard" in result.stderr
    assert choose(toy.store()) is None


def test_the_same_content_counts_once_and_failed_uploads_never(five: Toy, prices: np.ndarray) -> None:
    sent(five, 6, 0.12, 0.14, prices[0])
    sent(five, 7, 0.01, None, None, status="error", ref=7)
    sent(five, 8, 0.01, None, None, status="sending", ref=None)
    choice = choose(five.store())
    assert choice is not None
    assert sorted(one.entry.ref or 0 for one in choice.candidates) == [2, 3, 4, 5, 6]


def test_files_that_changed_are_not_read(five: Toy) -> None:
    path = five.workspace.submissions / "sent-2.csv"
    path.write_text(path.read_text().replace("1", "2"))
    choice = choose(five.store())
    assert choice is not None
    assert [one.name for one in choice.candidates if not one.has_file] == ["run-2"]
    assert any("run-2" in line and "not here as they were sent" in line for line in choice.why)


def test_predictions_are_compared_by_id_on_the_metrics_scale(five: Toy) -> None:
    store, entries = five.store(), Ledger(five.workspace.ledger).entries()
    frame = pd.read_csv(five.workspace.submissions / "sent-1.csv")
    path = five.workspace.submissions / "shuffled.csv"
    files.write_csv(path, frame.assign(price=frame["price"] ** 2).sample(frac=1, random_state=0))
    shuffled = Entry("", "", path.name, "", "", None, ref=9, status="complete", public_score=0.2)
    first, again = prediction_of(store, entries[0]), prediction_of(store, shuffled)
    assert correlations([first, again])[0, 1] == pytest.approx(1.0)  # the logarithm of a square


@pytest.mark.parametrize("text", ["", "id,price\n1,2\n", "nonsense", "id,other\n" + "1,2\n" * TEST_ROWS])
def test_a_file_by_hand_that_is_no_submission_is_left_out(five: Toy, text: str) -> None:
    (five.workspace.submissions / "odd.csv").write_text(text)
    odd = Entry("", "", "odd.csv", "", "", None, ref=9, status="complete", public_score=0.2)
    assert prediction_of(five.store(), odd) is None


def test_ensembles_count_by_their_nested_estimate(five: Toy) -> None:
    folder = five.workspace.run("run-2")
    assert RUN_REPORT.ensemble is not None
    nested = RUN_REPORT.ensemble.updated(nested_score=0.133)
    RUN_REPORT.updated(run="run-2", cv_score=0.13, fold_scores=[0.1, 0.12, 0.14, 0.16], ensemble=nested).write(
        folder.report
    )
    choice = choose(five.store())
    assert choice is not None
    assert {one.name: one.cv for one in choice.candidates}["run-2"] == 0.133


def test_the_private_scores_are_compared_where_they_are_known(five: Toy) -> None:
    ledger = Ledger(five.workspace.ledger)
    for entry in ledger.entries():
        ledger.put(Entry(**{**entry.__dict__, "private_score": 0.1 + 0.01 * (entry.ref or 0)}))
    told = " ".join(five.run("choose").stdout.split())
    assert "the better of the two has 0.11000; the best of all, run-1, has 0.11000" in told


def test_higher_is_better_for_metrics_that_are(five: Toy) -> None:
    five.edit_spec('metric = "log_rmse"', 'metric = "r2"')
    five.edit_spec('target_transform = "log"', "")
    store: FeatureStore = five.store()
    choice = choose(store)
    assert choice is not None
    expected = [one.expected for one in choice.candidates]
    assert expected == sorted(expected, reverse=True)
    assert all(0 < score < 0.3 for score in expected)
