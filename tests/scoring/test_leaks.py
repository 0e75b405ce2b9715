"""What is planted is found, and what is not there is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.scoring.leaks import AUC_OF_SHIFT, ORDER_TELLS, TOO_GOOD, duplicates_of, numbers_of, shift_of, told_by
from tests.conftest import Toy


def tables(n_rows: int = 400) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    whole = pd.DataFrame({"a": rng.normal(size=2 * n_rows), "b": rng.normal(size=2 * n_rows)})
    return whole[:n_rows].reset_index(drop=True), whole[n_rows:].reset_index(drop=True)


def test_a_shifted_column_is_found_and_named() -> None:
    train, test = tables()
    assert shift_of(train, test, seed=0).auc < AUC_OF_SHIFT
    found = shift_of(train, test.assign(b=test["b"] + 2.0), seed=0)
    assert found.auc > 0.8
    assert next(iter(found.columns)) == "b"


def test_a_shifted_column_is_named_among_many_and_beside_missing_values() -> None:
    rng = np.random.default_rng(1)
    train, test = (pd.DataFrame(rng.normal(size=(300, 60))).add_prefix("c") for _ in range(2))
    train["nothing"] = test["nothing"] = np.nan
    test["c7"] += 1.5
    test["c9"] = test["c9"].mask(rng.random(300) < 0.5)  # missing in one table only
    assert set(shift_of(train, test, seed=0).columns) == {"c7", "c9"}


def test_repeated_rows_are_counted_once_each() -> None:
    train, test = tables(50)
    train = pd.concat([train, train.iloc[[0, 0, 1]]], ignore_index=True)
    target = np.append(np.arange(50.0), [0.0, 7.0, 1.0])
    found = duplicates_of(train, pd.concat([test, train.iloc[[2]]]), target)
    assert (found.within_train, found.contradicting, found.across) == (3, 1, 1)


def test_a_column_that_is_the_target_is_too_good_and_noise_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    target, noise = rng.normal(size=800), rng.normal(size=800)
    assert told_by(target, target, 0, seed=0) > TOO_GOOD
    assert told_by(noise, target, 0, seed=0) < ORDER_TELLS
    classes = (target > 0).astype(float)
    assert told_by(target, classes, 2, seed=0) > TOO_GOOD
    assert told_by(noise, classes, 2, seed=0) < 0.2
    assert told_by(np.arange(800.0), np.sort(target), 0, seed=0) > TOO_GOOD


def test_categories_have_one_code_in_both_tables_and_rare_ones_share_one() -> None:
    train, test = pd.DataFrame({"c": ["x", "y", "y", None, "w"]}), pd.DataFrame({"c": ["y", "z"]})
    one, other = (frame["c"].tolist() for frame in numbers_of([train, test], {"c": "category"}))
    assert one[1] == one[2] == other[0] == 0.0
    assert one[0] == one[4] == other[1] == 1.0
    assert np.isnan(one[3])


def test_columns_of_nothing_tell_nothing() -> None:
    train, test = tables()
    train["nothing"] = test["nothing"] = np.nan
    train.loc[0, "once"], test["once"] = 1.0, np.nan
    assert shift_of(train, test, seed=0).auc < AUC_OF_SHIFT
    assert told_by(train["nothing"].to_numpy(), train["a"].to_numpy(), 0, seed=0) < ORDER_TELLS
    half = np.where(train["a"] > 0, np.nan, 1.0)  # missing tells the sign
    assert told_by(half, (train["a"] > 0).to_numpy(dtype=np.float64), 2, seed=0) > TOO_GOOD


def test_names_that_are_all_different_tell_no_tables_apart() -> None:
    train, test = tables()
    train["name"], test["name"] = [f"n{i}" for i in range(400)], [f"n{i}" for i in range(400, 800)]
    roles = {"a": "number", "b": "number", "name": "text"}
    assert shift_of(*numbers_of([train, test], roles), seed=0).auc < AUC_OF_SHIFT


def test_check_reports_a_planted_repeat(toy: Toy) -> None:
    quiet = toy.run("check")
    assert quiet.exit_code == 0, quiet.output
    assert "ok    0 train rows repeat" in quiet.stdout
    toy.edit("test.csv", lambda text: text + "999," + train_row(toy))
    sample = "sample_submission.csv"
    toy.edit(sample, lambda text: text + "999,1000.0\n")
    assert "1 test rows equal a train row" in toy.run("check").stdout


def train_row(toy: Toy) -> str:
    """The features of the first train row, as the test file writes them."""
    line = (toy.workspace.raw / "train.csv").read_text().splitlines()[1]
    return ",".join(line.split(",")[1:-1]) + "\n"


@pytest.mark.slow
def test_compare_pairs_the_folds_of_two_runs(toy: Toy) -> None:
    toy.submit()
    assert toy.run("train", "--model", "baseline").exit_code == 0
    names = {path.parent.name.split("-")[1]: path.parent.name for path in toy.workspace.runs.glob("*/report.json")}
    told = toy.run("compare", names["baseline"], names["baseline"]).stdout
    assert "within the noise of the folds" in told
    told = toy.run("compare", names["mlp"], names["baseline"])
    assert told.exit_code == 0, told.output
    assert "95% interval" in told.stdout
    assert toy.run("compare", names["mlp"], "nothing").exit_code == 2


@pytest.mark.parametrize("n_classes", [0, 3])
def test_a_table_of_fewer_rows_than_parts_is_checked(n_classes: int) -> None:
    assert told_by(np.array([8.0, np.nan, 1e60]), np.array([0.0, 1.0, 2.0]), n_classes, seed=0) >= 0.0
