"""Laws of tables in several files: no row is lost, moved or joined to another key, and what was done is said."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.base.errors import DataError, SpecError
from pipeline.base.text import TEXT
from pipeline.competition.draft.files import find_files
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.competition.tables.joining import join
from pipeline.competition.tables.loading import CompetitionTables, load_tables
from pipeline.competition.tables.reading import RawTable
from pipeline.competition.tables.spelling import spelling
from pipeline.config.sections import JoinedTable
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated

N_TRAIN, N_TEST = 60, 20
MONTHS = ["months.count", "months.debt.mean"]


def whole() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.arange(100, 180), "x": rng.normal(size=80).round(3), "store": np.arange(80) % 4 + 1})
    frame["day"] = np.arange(80) % 5
    frame["y"] = (3 * frame["x"] + frame["store"]).round(3)
    return frame


def write(folder: Path, **frames: pd.DataFrame) -> None:
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)


def usual(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = whole()
    train, test = frame.iloc[:N_TRAIN], frame.iloc[N_TRAIN:].drop(columns="y")
    write(folder, train=train, test=test, sample_submission=test[["id"]].assign(y=0.5))
    return train, test


def drafted(folder: Path) -> tuple[str, CompetitionSpec, CompetitionTables]:
    text = draft_spec(folder, "toy")
    spec = CompetitionSpec.model_validate(tomllib.loads(text))
    return text, spec, load_tables(folder, spec)


def spec_of(**changes: Any) -> CompetitionSpec:
    given = {"name": "toy", "kaggle_slug": "toy", "id": "id", "target": "y", "task": "regression", "metric": "rmse"}
    return validated(CompetitionSpec, given | changes, where="toy")


@pytest.fixture
def expected(tmp_path: Path) -> CompetitionTables:
    folder = tmp_path / "expected"
    folder.mkdir()
    usual(folder)
    return drafted(folder)[2]


def assert_same(tables: CompetitionTables, expected: CompetitionTables) -> None:
    pd.testing.assert_frame_equal(tables.train, expected.train)
    pd.testing.assert_frame_equal(tables.test, expected.test)
    pd.testing.assert_frame_equal(tables.target, expected.target)
    pd.testing.assert_series_equal(tables.test_ids, expected.test_ids)


# --- labels apart, one file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("train_values", "train_labels", "test_values"), ("X_train", "y_train", "X_test")])
@pytest.mark.parametrize("has_id", [True, False])
def test_labels_apart_are_joined(
    tmp_path: Path, expected: CompetitionTables, names: tuple[str, str, str], has_id: bool
) -> None:
    train, test = usual(tmp_path)
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").unlink()
    labels = train[["id", "y"]].sample(frac=1, random_state=0) if has_id else train[["y"]]
    write(tmp_path, **dict(zip(names, (train.drop(columns="y"), labels, test), strict=True)))
    text, spec, tables = drafted(tmp_path)
    assert spec.files.labels == f"{names[1]}.csv"
    assert "# guessed: " in text.split("labels = ")[0].splitlines()[-1]
    assert_same(tables, expected)
    assert any("joined by 'id'" in note if has_id else "row by row" in note for note in tables.notes)


def test_labels_that_fit_badly(tmp_path: Path) -> None:
    train, _ = usual(tmp_path)
    write(tmp_path, train=train.drop(columns="y"), labels=train[["id", "y"]].iloc[5:].assign(id=lambda f: f["id"] - 5))
    tables = load_tables(tmp_path, spec_of(files={"labels": "labels.csv"}))
    assert len(tables.train) == N_TRAIN - 5
    assert any("5 of 60 rows of train.csv lack a target" in note for note in tables.notes)
    for labels, said in (
        (train[["id", "y"]].assign(id=101), "'101' has several rows"),
        (train[["id", "y"]].assign(id=range(60)), "no id is among those of train.csv"),
        (train[["y"]].head(), "5 rows for 60"),
        (train[["id", "x"]], "no column that train.csv lacks"),
    ):
        write(tmp_path, labels=labels)
        with pytest.raises(DataError, match=said):
            load_tables(tmp_path, spec_of(files={"labels": "labels.csv"}))


@pytest.mark.parametrize("has_column", [True, False])
def test_one_file_of_train_and_test_rows(tmp_path: Path, expected: CompetitionTables, has_column: bool) -> None:
    usual(tmp_path)
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").unlink()
    frame = whole()
    frame.loc[N_TRAIN:, "y"] = 0.0 if has_column else np.nan
    frame = frame.assign(set=["Train"] * N_TRAIN + ["Test"] * N_TEST) if has_column else frame
    write(tmp_path, data=frame.sample(frac=1, random_state=0).sort_values("id"))
    _, spec, tables = drafted(tmp_path)
    assert spec.is_one_file
    assert spec.split.column == ("set" if has_column else None)
    assert_same(tables, expected)
    assert any("20 rows where" in note for note in tables.notes)


def test_a_split_needs_one_file() -> None:
    with pytest.raises(SpecError, match=r"files\.test the name of files\.train"):
        spec_of(split={"column": "set"})


# --- rows without a target -------------------------------------------------------------------------------------------


def test_rows_without_a_target_are_left_out_or_refused(tmp_path: Path) -> None:
    train, _ = usual(tmp_path)
    write(tmp_path, train=train.assign(y=train["y"].where(train.index != 7)))
    text, spec, tables = drafted(tmp_path)
    assert "1 of 60 rows of train.csv lack a target" in text
    assert spec.missing_target == "drop"
    assert tables.train_ids.tolist() == [i for i in train["id"] if i != 107]
    assert any("row 8" in note for note in tables.notes)
    with pytest.raises(DataError, match="row 8: the target is missing"):
        load_tables(tmp_path, spec_of(missing_target="refuse"))


def test_a_class_of_the_sample_is_no_missing_target(tmp_path: Path) -> None:
    train, test = usual(tmp_path)
    train = train.assign(y=["NA", "EU", "US"] * 20)
    write(tmp_path, train=train, sample_submission=test[["id"]].assign(y="NA"))
    _, spec, tables = drafted(tmp_path)
    assert spec.task == "multiclass"
    assert tables.classes == ["EU", "NA", "US"]
    assert len(tables.train) == N_TRAIN
    write(tmp_path, sample_submission=test[["id"]].assign(y="EU"))
    assert len(load_tables(tmp_path, spec).train) == N_TRAIN * 2 // 3


# --- further tables --------------------------------------------------------------------------------------------------


def raw_of(**columns: list[object]) -> RawTable:
    frame = pd.DataFrame({name: pd.Series(map(str, values), dtype=TEXT) for name, values in columns.items()})
    return RawTable(Path("t.csv"), frame)


def test_one_row_a_key_becomes_columns(tmp_path: Path) -> None:
    usual(tmp_path)
    write(tmp_path, stores=pd.DataFrame({"store": [4, 3, 2], "kind": ["a", "b", "c"], "size": [1, 2, 3]}))
    days = pd.DataFrame([(s, d, s * 10 + d) for s in range(1, 5) for d in range(5)], columns=["store", "day", "heat"])
    write(tmp_path, days=days)
    text, spec, tables = drafted(tmp_path)
    assert [(table.file, table.by) for table in spec.tables] == [
        ("days.csv", ["store", "day"]),
        ("stores.csv", ["store"]),
    ]
    assert "one row for each 'store'; found for 75% of the rows of train.csv and 75% of test.csv" in text
    frame = whole().iloc[:N_TRAIN]
    assert tables.train["days.heat"].tolist() == (frame["store"] * 10 + frame["day"]).tolist()
    assert tables.train["stores.size"].iloc[1:4].tolist() == [3, 2, 1]
    assert tables.train["stores.kind"].isna().tolist() == (frame["store"] == 1).tolist()
    assert "15 of 60 rows of train.csv have no row in stores.csv (the first: store = 1)" in tables.notes


def test_several_rows_a_key_become_aggregates() -> None:
    other = raw_of(k=["a", "b", "a", "a"], n=["1", "5", "3", ""], c=["u", "v", "w", ""])
    table = JoinedTable(file="t.csv", by=["k"], name="t")
    (into,) = join(other, table, [raw_of(k=["b", "a", "z"])]).onto
    frame = into.frame.set_index("k")
    assert frame["t.count"].tolist() == [1, 3, 0]
    assert frame.loc["a", ["t.n.mean", "t.n.min", "t.n.max", "t.n.last", "t.n.nunique"]].tolist() == [2, 1, 3, 3, 2]
    assert frame.loc["a", "t.n.std"] == pytest.approx(np.sqrt(2))
    assert frame.loc["a", ["t.c.last", "t.c.nunique"]].tolist() == ["w", 2]
    assert frame.loc["z"].drop("t.count").isna().all()
    assert not [name for name in frame.columns if name.startswith("t.c.") and "mean" in name]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), min_size=1, max_size=30), st.lists(st.integers(0, 6)))
def test_aggregates_agree_with_a_merge_by_pandas(rows: list[tuple[int, int]], keys: list[int]) -> None:
    other = pd.DataFrame([*rows, (5, 1), (5, 2)], columns=["k", "v"])
    raw = RawTable(Path("o.csv"), other.astype(TEXT))
    (into,) = join(raw, JoinedTable(file="o.csv", by=["k"]), [raw_of(k=[*keys, 5])]).onto
    wanted = other.groupby("k")["v"].agg(["mean", "max", "last", "nunique"]).reindex([*keys, 5])
    for how in wanted:
        np.testing.assert_allclose(into.frame[f"o.v.{how}"].to_numpy(float), wanted[how].to_numpy(float))


def test_a_table_is_joined_onto_a_joined_table(tmp_path: Path) -> None:
    usual(tmp_path)
    loans = pd.DataFrame({"store": [1, 1, 2, 3, 4], "loan": ["a", "b", "c", "d", "e"]})
    months = pd.DataFrame({"loan": ["a", "a", "b", "c", "c"], "debt": ["$1,000", "$3,000", "$500", "$10", "$30"]})
    write(tmp_path, months=months, loans=loans)
    tables = [
        {"file": "months.csv", "by": "loan", "onto": "loans", "aggregates": ["count", "mean"]},
        {"file": "loans.csv", "by": "store", "aggregates": ["count", "mean"], "columns": MONTHS},
    ]
    made = load_tables(tmp_path, spec_of(tables=tables))
    by_store = made.train.groupby("store").first()
    np.testing.assert_allclose(by_store["loans.months.debt.mean.mean"], [1250.0, 20.0, np.nan, np.nan])
    np.testing.assert_allclose(by_store["loans.months.count.mean"], [1.5, 2.0, 0.0, 0.0])
    assert sum("texts such as '$1,000' are" in note for note in made.notes) == 1
    assert any("2 of 5 rows of loans.csv have no row in months.csv" in note for note in made.notes)
    write(tmp_path, months=months.assign(loan="z"))
    with pytest.raises(DataError, match=r"no row of loans\.csv has its 'loan' here"):
        load_tables(tmp_path, spec_of(tables=tables))


@pytest.mark.parametrize("onto", ["loan", "months", "others"])
def test_a_table_that_leads_to_no_joined_table_is_refused(onto: str) -> None:
    tables = [
        {"file": "loans.csv", "by": "store"},
        {"file": "months.csv", "by": "loan", "onto": onto},
        {"file": "others.csv", "by": "loan", "onto": "months"},
    ]
    with pytest.raises(SpecError, match="leads to no joined table"):
        spec_of(tables=tables)


def test_keys_are_equal_as_numbers_only_if_all_are_numbers() -> None:
    table = JoinedTable(file="t.csv", by=["k"])
    (into,) = join(raw_of(k=["1.0", "2.0"], v=["a", "b"]), table, [raw_of(k=["2", "1", ""])]).onto
    assert into.frame["t.v"].tolist()[:2] == ["b", "a"]
    assert pd.isna(into.frame["t.v"].iloc[2])
    (into,) = join(raw_of(k=["01", "1"], v=["a", "b"]), table, [raw_of(k=["1", "01"])]).onto
    assert into.frame["t.v"].tolist() == ["b", "a"]


def test_what_cannot_be_joined_is_refused_or_left_out(tmp_path: Path) -> None:
    train, test = usual(tmp_path)
    write(
        tmp_path,
        of_train=train[["id"]].assign(secret=1),
        more=whole(),
        second=test.assign(id=1),
        alone=pd.DataFrame({"z": [1]}),
    )
    text, spec, _ = drafted(tmp_path)
    assert spec.tables == []
    assert "# of_train.csv is not joined: its 'id' is that of 100% of the rows of train.csv and 0% of test.csv" in text
    assert "# more.csv is not joined: it has 'y', which is to be predicted" in text
    assert "# second.csv is not joined: it has all columns of test.csv" in text
    assert "# alone.csv is not joined: it shares no column" in text
    for table, said in (
        ({"file": "of_train.csv", "by": "id"}, "no row of test.csv has its 'id' here"),
        ({"file": "alone.csv", "by": "id"}, "no column 'id', of the key"),
        ({"file": "more.csv", "by": "id", "columns": ["w"]}, "no column 'w'"),
        ({"file": "none.csv", "by": "id"}, "does not exist"),
    ):
        with pytest.raises(DataError, match=said):
            load_tables(tmp_path, spec_of(tables=[table]))
    with pytest.raises(SpecError, match=r"two \[\[tables\]\] are called 'more'"):
        spec_of(tables=[{"file": "more.csv", "by": "id"}] * 2)


def test_a_column_that_is_there_already_is_not_joined_twice(tmp_path: Path) -> None:
    usual(tmp_path)
    frame = whole()[["id", "day"]].assign(heat=range(80))
    write(tmp_path, weather=frame)
    _, _, tables = drafted(tmp_path)
    assert "weather.heat" in tables.train
    assert "weather.day" not in tables.train
    assert "weather.csv: 'day' not joined: the same as the column of that name" in tables.notes


def test_answers_are_never_read_as_labels(tmp_path: Path) -> None:
    train, test = usual(tmp_path)
    write(tmp_path, train=train.drop(columns="y"), y_train=train[["id", "y"]], y_test=test[["id"]].assign(y=1))
    assert find_files(tmp_path).names == {"labels": "y_train.csv"}


# --- labels as the sample spells them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "wanted", "found"),
    [
        ([" >50K", " <=50K"], ["<=50K"], [">50K", "<=50K"]),
        (["0.0", "1.0", "2.0"], ["1"], ["0", "1", "2"]),
        (["False", "True"], ["0", "1"], ["0", "1"]),
        (["0", "1"], ["False"], ["False", "True"]),
        (["no", "yes"], ["No"], ["No", "Yes"]),
        ([" NEW YORK", "PARIS"], ["New York"], ["New York", "Paris"]),
        (["yes ", "yes", "no"], ["yes"], None),
        (["yes ", "yes", "no"], ["YES"], ["YES ", "YES", "NO"]),
        (["a ", "a"], [" a"], None),
        (["A", "a", "b"], ["A"], None),
        (["cat", "dog"], ["0"], None),
        (["cat", "dog"], ["", "dog"], None),
    ],
)
def test_labels_are_mapped_by_one_rule_one_to_one(
    labels: list[str], wanted: list[str], found: list[str] | None
) -> None:
    mapped = spelling(labels, wanted)
    assert mapped == {} if found is None else [mapped.get(label, label) for label in labels] == found


def test_labels_are_written_as_in_the_sample_and_that_is_said(tmp_path: Path) -> None:
    train, test = usual(tmp_path)
    train = train.assign(y=np.where(train["x"] > 0, " >50K", " <=50K"))
    write(tmp_path, train=train, sample_submission=test[["id"]].assign(y="<=50K"))
    _, _, tables = drafted(tmp_path)
    assert tables.classes == ["<=50K", ">50K"]
    assert (tables.target["y"] == (train["x"] > 0)).all()
    assert "labels are written as in sample_submission.csv: ' <=50K' as '<=50K', ' >50K' as '>50K'" in tables.notes
