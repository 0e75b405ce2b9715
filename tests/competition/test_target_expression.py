"""A target that is an expression of columns is what they say, and its parts are no features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import PipelineError
from pipeline.competition.tables.loading import CompetitionTables, load_tables
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated

PRICES = ["$1,000.5", "$2", "$3", "$4", "", "$6"]
TRAIN = pd.DataFrame({"id": range(6), "open at": PRICES, "close": [1001, 4, 3, 8, 9, 12]})


def tables(
    folder: Path, train: pd.DataFrame, *, test: pd.DataFrame | None = None, **changes: object
) -> CompetitionTables:
    """The typed tables of a spec whose target is `close - open at`."""
    base = {"name": "toy", "kaggle_slug": "toy", "id": "id", "task": "regression", "metric": "rmse"}
    base |= {"target": {"name": "gain", "expression": "close - `open at`"}, "folds": {"number": 2}}
    spec = validated(CompetitionSpec, base | changes, where="the spec")
    train.assign(x=[*range(len(train))]).to_csv(folder / "train.csv", index=False)
    if test is None:
        pd.DataFrame({"id": [7, 8], "x": [1, 2]}).to_csv(folder / "test.csv", index=False)
    pd.DataFrame({"id": [7, 8], "gain": 0.0}).to_csv(folder / "sample_submission.csv", index=False)
    return load_tables(folder, spec)


def test_the_target_is_computed_and_rows_without_a_part_are_left_out(tmp_path: Path) -> None:
    made = tables(tmp_path, TRAIN)
    np.testing.assert_allclose(made.target["gain"], [0.5, 2.0, 0.0, 4.0, 6.0])
    assert list(made.train) == ["x"]
    assert set(made.left_out) == {"close", "open at"}
    assert any("'gain' is close - `open at`, from 0 to 6" in note for note in made.notes)
    assert any("1 of 6 rows of train.csv lack a target" in note for note in made.notes)


def test_both_ways_to_write_it_are_one(tmp_path: Path) -> None:
    keys = {"target": "gain", "target_expression": "close - `open at`"}
    assert tables(tmp_path, TRAIN, **keys).target.equals(tables(tmp_path, TRAIN).target)


def test_parts_that_test_rows_of_the_same_file_lack_are_no_features(tmp_path: Path) -> None:
    both = pd.concat([TRAIN, pd.DataFrame({"id": [7, 8]})], ignore_index=True)
    one_file = {"train": "train.csv", "test": "train.csv"}
    made = tables(tmp_path, both.drop(index=4), test=both, files=one_file)
    assert list(made.train) == ["x"]
    assert len(made.test) == 2
    assert len(made.target) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": {"name": "gain", "expression": "close - opened"}}, "no column 'opened', which target_expression"),
        ({"target": {"name": "close", "expression": "close - `open at`"}}, "there is a column 'close'"),
        ({"target": {"name": "gain", "expression": "close - word"}}, "needs numbers, not such as"),
        ({"target": {"name": "gain", "expression": "close / zero"}}, "not a finite number"),
        ({"target": {"name": "gain", "expression": "close ** 2"}}, "is not allowed"),
        ({"target": {"name": "gain"}}, "the keys `name` and `expression`"),
        ({"task": "multiclass", "metric": "accuracy"}, "is for a regression of one target"),
        ({"missing_target": "refuse"}, "the target is missing"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        tables(tmp_path, TRAIN.assign(word="many", zero=0), **changes)
