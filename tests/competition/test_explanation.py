"""Laws of `init --explain`: each guess is told with its evidence, the most doubtful are asked about first."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.draft.explanation import N_CHECKS, checks_of, explained, guesses_of
from pipeline.competition.draft.files import find_files
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.config.spec import CompetitionSpec

N, N_TEST = 200, 40


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Files with a code, a date, a name, a target that the sample calls otherwise, and a second candidate for it."""
    rng = np.random.default_rng(0)
    n = N + N_TEST
    frame = pd.DataFrame(
        {
            "id": range(n),
            "when": pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"),
            "store_type": rng.integers(1, 6, n),
            "other": rng.permutation(n),
        }
    )
    train = frame[:N].assign(sold=rng.integers(0, 5, N), revenue=rng.exponential(size=N))
    train.to_csv(tmp_path / "train.csv", index=False)
    frame[N:].to_csv(tmp_path / "test.csv", index=False)
    pd.DataFrame({"id": range(N, n), "n_sold": 0}).to_csv(tmp_path / "sample_submission.csv", index=False)
    return tmp_path


def test_every_marked_guess_is_found(raw: Path) -> None:
    text = draft_spec(raw, "toy")
    guesses = guesses_of(text)
    assert len(guesses) == text.count("guessed: ")
    assert {"id", "target", "task", "metric", "columns.categories", "columns.dates", "folds.kind"} <= {
        guess.key for guess in guesses
    }
    assert all(guess.value and guess.evidence for guess in guesses)


def test_each_guess_says_what_else_it_could_have_been(raw: Path) -> None:
    text = draft_spec(raw, "toy")
    spec = CompetitionSpec.model_validate(tomllib.loads(text))
    otherwise = {guess.key: guess.otherwise for guess in explained(text, spec, find_files(raw))}
    assert all(otherwise.values())
    assert otherwise["id"] == "when, other: also different in each row"
    assert otherwise["target"] == "revenue: also only in train"
    assert "regression" in otherwise["task"]
    assert "log_loss" in otherwise["metric"]
    assert "group, if several rows belong to one thing" in otherwise["folds.kind"]
    assert "time" not in otherwise["folds.kind"].split("; ")  # it is the guess


def test_the_most_doubtful_guesses_are_asked_about(raw: Path) -> None:
    questions = checks_of(draft_spec(raw, "toy"))
    assert len(questions) == N_CHECKS
    assert questions[0] == 'Is "accuracy" the metric on the competition\'s Evaluation page?'
    assert questions[1].startswith('Is "multiclass" the right task for the target? (whole numbers, 5 distinct')
    assert questions[2].startswith('Is "sold" what is to be predicted? (not in test.csv, and similar to')


def test_what_a_person_has_settled_is_not_asked(raw: Path) -> None:
    text = draft_spec(raw, "toy", metric="log_loss")
    assert not any("Evaluation page" in question for question in checks_of(text))
    assert checks_of(text.replace("guessed: ", "")) == []


def test_folds_of_independent_rows_are_asked_about_in_other_words() -> None:
    text = '[folds]\n# guessed: the target is numeric\nkind = "shuffled"\n'
    assert checks_of(text)[0].startswith("Are train rows independent?")
