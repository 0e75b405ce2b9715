"""Laws of reading: no row is lost or moved, ids come back as written, and every mistake names file, column and row."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.base.errors import DataError, SpecError
from pipeline.competition.tables.loading import CompetitionTables, load_tables, new_rows
from pipeline.competition.tables.reading import find_raw, inferred, read_raw, read_table
from pipeline.competition.tables.typed import ColumnRecipe, type_new_rows
from pipeline.config.spec import CompetitionSpec

Columns = Mapping[str, Sequence[object]]

TRAIN: Columns = {
    "id": [1, 2, 3, 4, 5, 6],
    "size": [10, 2.5, "", 4, 5, 6],
    "colour": ["red", "blue", "NA", "red", "red", "blue"],
    "price": [100, 200, 300, 400, 500, 600],
}
TEST: Columns = {"id": [7, 8], "size": [7, ""], "colour": ["green", "red"]}
SAMPLE: Columns = {"id": [7, 8], "price": [0, 0]}
SPEC: dict[str, Any] = {
    "name": "toy",
    "kaggle_slug": "toy",
    "id": "id",
    "target": "price",
    "task": "regression",
    "metric": "rmse",
    "folds": {"number": 2},
}


def csv_text(columns: Columns) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def spec_of(**changes: Any) -> CompetitionSpec:
    return CompetitionSpec.model_validate(SPEC | changes)


def load(
    folder: Path, train: Columns = TRAIN, test: Columns = TEST, sample: Columns = SAMPLE, **changes: Any
) -> CompetitionTables:
    for name, columns in (("train", train), ("test", test), ("sample_submission", sample)):
        (folder / f"{name}.csv").write_text(csv_text(columns), encoding="utf-8")
    return load_tables(folder, spec_of(**changes))


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(error: pytest.ExceptionInfo[DataError], *parts: str) -> None:
    for part in parts:
        assert part in error.value.message, f"{part!r} is not said in: {error.value.message}"


# --- what comes back -------------------------------------------------------------------------------------------------


def test_numbers_are_float64_and_texts_are_str_with_nan_for_missing(tmp_path: Path) -> None:
    tables = load(tmp_path)
    assert tables.roles == {"size": "number", "colour": "category"}
    for frame in (tables.train, tables.test):
        assert frame["size"].dtype == np.float64
        assert frame["colour"].dtype == "str"
        assert isinstance(frame.index, pd.RangeIndex)
    assert tables.train["size"].tolist()[:2] == [10.0, 2.5]
    assert np.isnan(tables.train["size"][2])
    assert pd.isna(tables.train["colour"][2])
    assert tables.train_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tables.train_ids.name == "id"
    assert tables.target["price"].dtype == np.float64
    assert tables.classes == []
    assert tables.sample_weight is None
    assert tables.left_out == {}
    assert tables.notes == []


ID_TEXTS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
    st.sampled_from(["NA", "nan", "None", "007", "1.0", "a,b", 'a"b', " x ", "-0", "true"]),
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(ID_TEXTS, min_size=3, max_size=12, unique=True),
    seed=st.integers(0, 2**32 - 1),
    texts=st.lists(st.sampled_from(["", "a", "b c", "x,y", 'q"q', "line\nend", "é"]), min_size=12, max_size=12),
)
def test_reading_neither_loses_nor_moves_rows_and_ids_come_back_as_written(
    tmp_path: Path, ids: list[str], seed: int, texts: list[str]
) -> None:
    n_rows = len(ids)
    numbers = np.random.default_rng(seed).normal(size=n_rows) * 10.0 ** np.arange(-n_rows, n_rows, 2)
    train = {"id": ids, "x": numbers.tolist(), "t": texts[:n_rows], "price": range(n_rows)}
    test_ids = [f"{i}~" for i in ids]
    tables = load(
        tmp_path,
        train=train,
        test={"id": test_ids, "x": numbers.tolist(), "t": texts[:n_rows]},
        sample={"id": test_ids[::-1], "price": [0] * n_rows},
        folds={"number": 2},
    )
    assert tables.train_ids.tolist() == ids
    assert tables.test_ids.tolist() == test_ids
    assert tables.train["x"].tolist() == numbers.tolist()  # every bit
    assert tables.target["price"].tolist() == list(range(n_rows))
    if "t" in tables.train:
        assert tables.train["t"].fillna("").tolist() == texts[:n_rows]


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(6)))
def test_shuffled_files_give_the_same_rows_by_id(tmp_path: Path, order: list[int]) -> None:
    def by_id(tables: CompetitionTables) -> pd.DataFrame:
        return tables.train.assign(price=tables.target["price"]).set_index(tables.train_ids).sort_index()

    shuffled = {name: [values[i] for i in order] for name, values in TRAIN.items()}
    pd.testing.assert_frame_equal(by_id(load(tmp_path, train=shuffled)), by_id(load(tmp_path)))


def test_whole_number_ids_are_ints_only_when_both_files_write_them_so(tmp_path: Path) -> None:
    assert load(tmp_path).train_ids.dtype == np.int64
    zeros = load(tmp_path, test=TEST | {"id": ["007", "8"]}, sample=SAMPLE | {"id": ["007", "8"]})
    assert zeros.train_ids.tolist() == ["1", "2", "3", "4", "5", "6"]
    assert zeros.test_ids.tolist() == ["007", "8"]


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_an_id_column_with_an_empty_header(tmp_path: Path, name: str) -> None:
    train, test, sample = ({"" if k == "id" else k: v for k, v in c.items()} for c in (TRAIN, TEST, SAMPLE))
    tables = load(tmp_path, train, test, sample, id=name)
    assert tables.train_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert list(tables.train) == ["size", "colour"]


def test_an_empty_header_that_is_not_the_id_is_left_out(tmp_path: Path) -> None:
    tables = load(tmp_path, train=TRAIN | {"": range(6)}, test=TEST | {"": range(2)})
    assert tables.left_out == {"": "its header is empty"}


def test_columns_that_cannot_help_are_left_out_with_a_reason(tmp_path: Path) -> None:
    tables = load(
        tmp_path,
        train=TRAIN | {"void": ["", "NA", "", "", "", ""], "same": ["x"] * 6, "only": range(6), "out": range(6)},
        test=TEST | {"void": [1, 2], "same": ["x", "y"], "out": [1, 2], "extra": [1, 2]},
        columns={"drop": ["out"], "categories": ["only"]},
    )
    assert tables.left_out == {
        "void": "all values are missing",
        "same": "same value in every train row",
        "only": "not in test.csv",
        "out": "dropped by the spec",
    }
    assert list(tables.train) == list(tables.test) == ["size", "colour"]


def test_a_value_beside_missing_cells_is_no_constant(tmp_path: Path) -> None:
    assert "same" in load(tmp_path, train=TRAIN | {"same": ["x", "", *"xxxx"]}, test=TEST | {"same": ["x", "x"]}).train


def test_true_and_false_become_one_and_zero(tmp_path: Path) -> None:
    tables = load(
        tmp_path, train=TRAIN | {"f": ["True", "FALSE", "", "true", "False", "True"]}, test=TEST | {"f": ["False", ""]}
    )
    assert tables.train["f"].fillna(-1).tolist() == [1.0, 0.0, -1.0, 1.0, 0.0, 1.0]
    assert tables.roles["f"] == "number"
    mixed = load(tmp_path, train=TRAIN | {"f": [1, 0, 0, 1, 0, 1]}, test=TEST | {"f": ["False", "True"]})
    assert mixed.test["f"].tolist() == [0.0, 1.0]


def test_codes_are_text_as_a_person_writes_them(tmp_path: Path) -> None:
    tables = load(
        tmp_path,
        train=TRAIN | {"code": ["20", "30", "", "20", "020", "-1"]},
        test=TEST | {"code": ["20.0", "30.5"]},
        columns={"categories": ["code"]},
    )
    assert tables.train["code"].fillna("?").tolist() == ["20", "30", "?", "20", "020", "-1"]
    assert tables.test["code"].tolist() == ["20", "30.5"]
    assert tables.train["code"].dtype == "str"


def test_na_is_a_value_where_the_spec_says_so(tmp_path: Path) -> None:
    tables = load(tmp_path, columns={"na_is_category": ["colour"]})
    assert tables.train["colour"].tolist()[2] == "NA"
    ordered = load(
        tmp_path, columns={"na_is_category": ["colour"], "ordered": {"colour": ["NA", "blue", "green", "red"]}}
    )
    assert ordered.roles["colour"] == "ordered"
    assert ordered.train["colour"].tolist()[2] == "NA"
    assert list(read_table(tmp_path / "train.csv", as_text=["colour"])["colour"])[2] == "NA"


def test_dates_become_the_parts_that_vary(tmp_path: Path) -> None:
    dates = [f"2011-0{month}-05 1{month}:30:00" for month in range(1, 6)] + [""]
    tables = load(
        tmp_path,
        train=TRAIN | {"when": dates},
        test=TEST | {"when": ["2012-01-01 00:00:00", ""]},
        columns={"dates": ["when"]},
        folds={"kind": "time", "time": "when", "number": 2},
    )
    # the missing date makes year and day vary: missing counts as a value
    assert [c for c in tables.train if c.startswith("when")] == [
        *("when_year", "when_month", "when_day", "when_weekday", "when_hour", "when_elapsed_days")
    ]
    assert tables.train["when_weekday"].tolist()[0] == 2.0  # a Wednesday
    assert tables.train["when_elapsed_days"].tolist()[0] == pytest.approx(14979 + 11.5 / 24)
    assert tables.test["when_year"].tolist()[0] == 2012.0
    assert tables.fold_columns["when"].dtype.kind == "M"
    full = load(
        tmp_path,
        train=TRAIN | {"when": [f"{month}/5/2011" for month in range(1, 7)]},
        test=TEST | {"when": ["1/13/2011", "1/1/2011"]},
        columns={"dates": ["when"]},
    )
    assert [c for c in full.train if c.startswith("when")] == ["when_month", "when_weekday", "when_elapsed_days"]
    assert full.notes == ["when: dates such as '1/5/2011' are read as %m/%d/%Y, the month first"]


def test_an_id_that_is_a_date_is_id_and_feature(tmp_path: Path) -> None:
    hours = [f"2011-01-01 0{hour}:00:00" for hour in range(8)]
    tables = load(
        tmp_path,
        train=TRAIN | {"id": hours[:6]},
        test=TEST | {"id": hours[6:]},
        sample=SAMPLE | {"id": hours[6:]},
        columns={"dates": ["id"]},
    )
    assert tables.train_ids.tolist() == hours[:6]
    assert tables.train["id_hour"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["True", "False"], [False, True]),
        (["10", "9"], [9, 10]),
        (["0.0", "1.0"], [0.0, 1.0]),
        (["yes", "no"], ["no", "yes"]),
        (["01", "1"], ["01", "1"]),
        (["TRUE", "FALSE"], ["FALSE", "TRUE"]),
        (["None", "some"], ["None", "some"]),
    ],
)
def test_class_labels_come_back_as_kaggle_wrote_them(tmp_path: Path, labels: list[str], classes: list[object]) -> None:
    sample = SAMPLE | {"price": labels}
    tables = load(tmp_path, train=TRAIN | {"price": labels * 3}, sample=sample, task="binary", metric="accuracy")
    assert tables.classes == classes
    assert [type(label) for label in tables.classes] == [type(label) for label in classes]
    assert [str(tables.classes[code]) for code in tables.target["price"]] == labels * 3
    assert tables.target["price"].dtype == np.int64
    json.dumps(tables.classes)


def test_classes_have_the_order_of_the_spec(tmp_path: Path) -> None:
    changes = {"task": "multiclass", "metric": "quadratic_kappa"}
    train, sample = TRAIN | {"price": ["low", "high", "mid"] * 2}, SAMPLE | {"price": ["low", "low"]}
    tables = load(tmp_path, train=train, sample=sample, **changes)
    assert tables.classes == ["high", "low", "mid"]
    assert "quadratic_kappa depends on the order of the classes, which is that of the alphabet" in tables.notes[0]
    levels = ["low", "mid", "high", "top"]
    tables = load(tmp_path, train=train, sample=sample, columns={"ordered": {"price": levels}}, **changes)
    assert tables.classes == ["low", "mid", "high"]
    assert tables.target["price"].tolist() == [0, 2, 1] * 2
    assert tables.notes == []
    with pytest.raises(DataError) as error:
        load(tmp_path, train=train, sample=sample, columns={"ordered": {"price": ["low", "high"]}}, **changes)
    refused(error, "the class 'mid' is not among its levels in columns.ordered")
    with pytest.raises(ValueError, match="only a single target of classes has an order"):
        spec_of(columns={"ordered": {"price": levels}})


@pytest.mark.parametrize(
    ("texts", "is_number"),
    [
        ([str(10**19 + n) for n in range(3)], False),  # as float64 all the same
        (["9007199254740993", "9007199254740992", None], False),
        (["9007199254740992", "9007199254740994", None], True),
        (["1e20", "1.5", None], True),
    ],
)
def test_whole_numbers_beyond_float64_stay_text(texts: list[str | None], is_number: bool) -> None:
    series = inferred(pd.Series(texts, dtype="str"))
    assert pd.api.types.is_numeric_dtype(series.dtype) == is_number
    assert series.nunique() == len(set(texts) - {None})


def test_sample_weight_folds_and_groups_are_no_features(tmp_path: Path) -> None:
    tables = load(
        tmp_path,
        train=TRAIN | {"w": [1, 0, 2.5, 1, 1, 1], "fold": [0, 1, 0, 1, 0, 1], "who": ["01", *"abcde"]},
        test=TEST | {"who": ["a", "b"]},
        columns={"sample_weight": "w"},
        folds={"kind": "column", "column": "fold", "group": "who", "number": 2},
    )
    assert tables.sample_weight is not None
    assert tables.sample_weight.tolist() == [1, 0, 2.5, 1, 1, 1]
    assert tables.left_out == {"w": "holds the sample weights", "fold": "holds the folds"}
    assert tables.fold_columns["fold"].tolist() == [0, 1, 0, 1, 0, 1]
    assert tables.fold_columns["who"].tolist()[0] == "01"


def test_near_unique_text_is_said(tmp_path: Path) -> None:
    n = 300
    tables = load(
        tmp_path,
        train={"id": range(n), "name": [f"n{i}" for i in range(n)], "price": range(n)},
        test={"id": [n], "name": ["new"]},
        sample={"id": [n], "price": [0]},
    )
    assert tables.notes == [
        "name: 300 distinct texts in 300 rows. If these are names, not categories, list the column in columns.texts "
        "or columns.drop"
    ]


def test_numbers_written_with_commas_or_signs_are_said(tmp_path: Path) -> None:
    tables = load(tmp_path, train=TRAIN | {"cost": ["$1,000", "$2", "3%", "", "5", "6"]}, test=TEST | {"cost": [1, 2]})
    assert tables.notes == ["cost: texts like '$1,000' are categories, not numbers"]


# --- new rows --------------------------------------------------------------------------------------------------------


def test_new_rows_are_typed_as_the_competitions_own(tmp_path: Path) -> None:
    extra = {"f": ["True", "False", "True"] * 2, "code": [1, 2, 3] * 2, "when": [f"2011-01-0{d}" for d in range(1, 7)]}
    extra_test = {"f": ["True", ""], "code": [1, ""], "when": ["2011-02-01", ""]}
    tables = load(
        tmp_path,
        train=TRAIN | extra,
        test=TEST | extra_test,
        columns={"categories": ["code"], "dates": ["when"], "ordered": {"colour": ["red", "green", "blue"]}},
    )
    stored = json.loads(json.dumps([dataclasses.asdict(recipe) for recipe in tables.recipes]))
    recipes = TypeAdapter(list[ColumnRecipe]).validate_python(stored)
    assert recipes == tables.recipes
    ids, features = new_rows(read_raw(tmp_path / "test.csv"), "id", recipes)
    pd.testing.assert_frame_equal(features, tables.test)
    pd.testing.assert_series_equal(ids, tables.test_ids)
    pd.testing.assert_frame_equal(type_new_rows(read_raw(tmp_path / "train.csv"), recipes), tables.train)
    one = written(tmp_path, "id,size,colour,f,code,when\n9,,red,,,\n", "new.csv")
    _, row = new_rows(read_raw(one), "id", recipes)  # all missing: types come from the recipes, not from the values
    assert row.dtypes.astype(str).tolist() == tables.test.dtypes.astype(str).tolist()


def test_new_rows_with_a_wrong_value_or_without_a_column_are_refused(tmp_path: Path) -> None:
    recipes = load(tmp_path).recipes
    with pytest.raises(DataError) as error:
        new_rows(read_raw(written(tmp_path, "id,size,colour\n9,big,red\n", "new.csv")), "id", recipes)
    refused(error, "new.csv", "column 'size'", "row 1", "'big'")
    with pytest.raises(DataError) as error:
        new_rows(read_raw(written(tmp_path, "id,Size,colour\n9,1,red\n", "new.csv")), "id", recipes)
    refused(error, "new.csv", "no column 'size'", "Did you mean 'Size'?")


# --- files that are no tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ["empty"]),
        (" \n\n", ["empty"]),
        ("<!DOCTYPE html>\n<html>", ["web page", "Log in"]),
        ("\n <html lang=en>", ["web page"]),
        (b"PK\x03\x04rest", ["zip archive"]),
        (b"PAR1rest", ["parquet"]),
        (b"\x1f\x8b\x08\x00", ["gzip", ".csv.gz"]),
        (b"a,b\n1,\x00\n", ["binary data"]),
        ("a,b\n1,2\n".encode("utf-16")[:-1], ["UTF-16"]),
        ("a,b\n1,2\n3\n", ["row 2 has 1 fields", "header has 2"]),
        ("a,b\n1,2\n1,2\n3,4,5\n", ["row 3 has 3 fields", "'3,4,5'", "double quotes"]),
        ("a,b,a\n1,2,3\n", ["two columns", "'a'", "number 1 and number 3"]),
        ('a,b\n1,2\n3,"4\n5,6\n', ["row 2", "never closed"]),
        ("\na,b\n1,2\n", ["first line is blank"]),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, content: str | bytes, said: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, content))
    refused(error, "t.csv", *said)


def test_a_broken_gzip_or_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 500)[:-12], "t.csv.gz"))
    refused(error, "t.csv.gz", "not a complete gzip file")
    with pytest.raises(DataError) as error:
        read_table(written(tmp_path, b"PAR1nothing", "t.parquet"))
    refused(error, "t.parquet", "cannot be read as parquet")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "a\n1\n", "gender_submission.csv")
    with pytest.raises(DataError) as error:
        find_raw(tmp_path, "sample_submission.csv")
    refused(error, "sample_submission.csv", "Did you mean 'gender_submission.csv'?")
    with pytest.raises(DataError) as error:
        find_raw(tmp_path / "absent", "train.csv")
    refused(error, "train.csv", "has no files")


def test_gz_and_parquet_stand_in_for_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [True, False], "d": [0.5, np.nan]})
    frame.to_parquet(tmp_path / "one.parquet")
    written(tmp_path, gzip.compress(frame.to_csv(index=False).encode()), "two.csv.gz")
    one, two = read_table(find_raw(tmp_path, "one.csv")), read_table(find_raw(tmp_path, "two.csv"))
    pd.testing.assert_frame_equal(one, two)
    assert one.dtypes.astype(str).tolist() == ["int64", "str", "bool", "float64"]


def test_parquet_tables_load_like_csv(tmp_path: Path) -> None:
    csv_tables = load(tmp_path, columns={"categories": ["size"]})
    folder = tmp_path / "parquet"
    folder.mkdir()
    for name in ("train", "test", "sample_submission"):
        frame = pd.read_csv(tmp_path / f"{name}.csv")
        frame = frame.astype({"colour": "category"}) if "colour" in frame else frame
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    tables = load_tables(folder, spec_of(columns={"categories": ["size"]}))
    pd.testing.assert_frame_equal(tables.train, csv_tables.train)
    pd.testing.assert_series_equal(tables.test_ids, csv_tables.test_ids)


def test_parquet_columns_that_are_no_values_are_left_out_and_said(tmp_path: Path) -> None:
    pd.DataFrame({"a": [[1], [2]], "b": [b"x", b"y"], "c": [1, 2]}).to_parquet(tmp_path / "t.parquet")
    raw = read_raw(tmp_path / "t.parquet")
    assert list(raw.frame) == ["c"]
    assert "t.parquet: 'a' is left out: list<element: int64> is neither number, text nor date" in raw.notes
    assert len(raw.notes) == 2


def test_byte_order_mark_line_ends_and_quotes(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x, ""y"""\r\n2,5" pipe'))
    assert list(frame) == ["a", "b"]
    assert frame["b"].tolist() == ['x, "y"', '5" pipe']
    assert read_table(written(tmp_path, "a,b")).shape == (0, 2)


def test_another_encoding_is_read_and_said(tmp_path: Path) -> None:
    raw = read_raw(written(tmp_path, "a,b\n1,caf\xe9\n".encode("cp1252")))
    assert raw.frame["b"].tolist() == ["café"]
    assert raw.notes == ["t.csv is not UTF-8 (line 2); it was read as cp1252"]


# --- tables that do not fit the spec ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "Id"}, ["no column 'Id'", "as id", "Did you mean 'id'?"]),
        ({"target": "prize"}, ["no column 'prize'", "as target", "'price'"]),
        ({"columns": {"categories": ["color"]}}, ["no column 'color'", "columns.categories", "'colour'"]),
        ({"columns": {"ordered": {"color": ["a"]}}}, ["'color'", "columns.ordered"]),
        ({"columns": {"dates": ["date"]}}, ["'date'", "columns.dates"]),
        ({"columns": {"drop": ["colors"]}}, ["'colors'", "columns.drop"]),
        ({"columns": {"na_is_category": ["colors"]}}, ["'colors'", "columns.na_is_category"]),
        ({"columns": {"sample_weight": "weight"}}, ["'weight'", "columns.sample_weight"]),
        ({"folds": {"kind": "group", "group": "who"}}, ["'who'", "folds.group"]),
        ({"folds": {"kind": "time", "time": "t"}}, ["'t'", "folds.time"]),
        ({"folds": {"kind": "column", "column": "fold"}}, ["'fold'", "folds.column"]),
    ],
)
def test_a_column_of_the_spec_that_is_not_in_train(tmp_path: Path, changes: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, **changes)
    refused(error, "train.csv", *said)


TRAIN_MISTAKES: dict[str, tuple[Columns, dict[str, Any], list[str]]] = {
    "missing id": ({"id": [1, 2, "", 4, 5, 6]}, {}, ["column 'id'", "row 3", "missing"]),
    "missing target": (
        {"price": [1, 2, "", 4, "NA", 6]},
        {"missing_target": "refuse"},
        ["column 'price'", "row 3", "2 rows"],
    ),
    "infinite target": ({"price": [1, 2, 3, "inf", 5, 6]}, {}, ["column 'price'", "row 4", "'inf'", "finite"]),
    "huge target": ({"price": [1, 2, 3, "1e999", 5, 6]}, {}, ["column 'price'", "row 4", "1e999"]),
    "text target": ({"price": [1, 2, 3, 4, "many", 6]}, {}, ["column 'price'", "row 5", "'many'"]),
    "log metric": ({"price": [1, 0, 3, 4, 5, 6]}, {"metric": "log_rmse"}, ["row 2", "> 0", "'log_rmse'"]),
    "log1p metric": ({"price": [1, 0, -3, 4, 5, 6]}, {"metric": "rmsle"}, ["row 3", ">= 0", "'rmsle'"]),
    "log target": ({"price": [1, 0, 3, 4, 5, 6]}, {"target_transform": "log"}, ["row 2", "> 0", "'log'"]),
    "log1p target": ({"price": [1, 0, 3, 4, 5, -6]}, {"target_transform": "log1p"}, ["row 6", ">= 0"]),
    "one class": ({"price": [1] * 6}, {"task": "binary", "metric": "accuracy"}, ["column 'price'", "same class 1"]),
    "three classes": (
        {"price": [1, 2, 3] * 2},
        {"task": "binary", "metric": "accuracy"},
        ["column 'price'", "3 classes", "multiclass"],
    ),
    "missing class": (
        {"price": ["a", "b", "", *"aab"]},
        {"task": "binary", "metric": "accuracy", "missing_target": "refuse"},
        ["row 3"],
    ),
    "no target at all": ({"price": ["", "NA"] * 3}, {}, ["column 'price'", "every row lacks a target"]),
    "few rows": ({}, {"folds": {"number": 7}}, ["6 rows are too few for 7 folds"]),
    "negative weight": ({"w": [1, 1, -1, 1, 1, 1]}, {"columns": {"sample_weight": "w"}}, ["column 'w'", "row 3", "-1"]),
    "missing weight": ({"w": [1, 1, 1, "", 1, 1]}, {"columns": {"sample_weight": "w"}}, ["column 'w'", "row 4"]),
    "no weight": ({"w": [0] * 6}, {"columns": {"sample_weight": "w"}}, ["column 'w'", "every sample weight is 0"]),
    "level": (
        {"colour": ["red", "blue", "Red", "red", "", "NA"]},
        {"columns": {"ordered": {"colour": ["blue", "green", "red"]}}},
        ["column 'colour'", "row 3", "'Red'", "Did you mean 'red'?"],
    ),
    "all dropped": ({}, {"columns": {"drop": ["size", "colour"]}}, ["no column is left", "'size': dropped"]),
}


@pytest.mark.parametrize(("columns", "changes", "said"), TRAIN_MISTAKES.values(), ids=TRAIN_MISTAKES)
def test_a_mistake_in_train_is_named(
    tmp_path: Path, columns: Columns, changes: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, train={**TRAIN, **columns}, **changes)
    refused(error, "train.csv", *said)


def test_an_allowed_zero_target_is_no_mistake(tmp_path: Path) -> None:
    zeros = TRAIN | {"price": [0, 1, 2, 3, 4, 5]}
    assert load(tmp_path, train=zeros, metric="rmsle", target_transform="log1p").target["price"][0] == 0.0


TEST_MISTAKES: dict[str, tuple[Columns, dict[str, Any], list[str]]] = {
    "repeated id": ({"id": [7, 7]}, {}, ["column 'id'", "row 1", "row 2", "'7'"]),
    "no rows": ({"id": [], "size": [], "colour": []}, {}, ["no rows"]),
    "date": (
        {"when": ["2011-01-01", "soon"]},
        {"columns": {"dates": ["when"]}},
        ["column 'when'", "row 2", "'soon'", "2011-01-01"],
    ),
    "level": (
        {"colour": ["red", "purple"]},
        {"columns": {"ordered": {"colour": ["red", "blue"]}}},
        ["column 'colour'", "row 2", "'purple'"],
    ),
}


@pytest.mark.parametrize(("columns", "changes", "said"), TEST_MISTAKES.values(), ids=TEST_MISTAKES)
def test_a_mistake_in_test_is_named(tmp_path: Path, columns: Columns, changes: dict[str, Any], said: list[str]) -> None:
    train = TRAIN | {"when": [f"2010-01-0{day}" for day in range(1, 7)]}
    with pytest.raises(DataError) as error:
        load(tmp_path, train=train, test={**TEST, **columns}, **changes)
    refused(error, "test.csv", *said)


def test_a_test_file_without_the_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, test={"ID": [7, 8], "size": [1, 2]})
    refused(error, "test.csv", "no column 'id'", "'ID'")


def test_one_text_among_many_numbers_is_missing_and_said(tmp_path: Path) -> None:
    n = 800
    train = {"id": range(n), "x": ["big" if i == 733 else i for i in range(n)], "price": range(1, n + 1)}
    test, sample = {"id": [n], "x": [1]}, {"id": [n], "price": [0]}
    tables = load(tmp_path, train, test, sample)
    assert tables.train["x"].isna().to_numpy().nonzero()[0].tolist() == [733]
    assert tables.notes == ["x: cells read as missing: 'big' (1 in train.csv): not numbers"]
    assert load(tmp_path, train, test, sample, columns={"categories": ["x"]}).roles == {"x": "category"}


def test_a_text_in_test_where_train_has_numbers_is_said(tmp_path: Path) -> None:
    n = 100
    train = {"id": range(n), "x": range(n), "price": range(n)}
    tables = load(tmp_path, train, {"id": [n, n + 1], "x": [1, "n.a."]}, {"id": [n, n + 1], "price": [0, 0]})
    assert tables.notes == ["x: cells read as missing: 'n.a.' (1 in test.csv)"]


def test_an_infinite_feature_is_named(tmp_path: Path) -> None:
    train = pd.DataFrame({"id": [1, 2, 3], "x": [1.0, np.inf, 2.0], "price": [1, 2, 3]})
    load(tmp_path)
    train.to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.csv").unlink()
    written(tmp_path, "id,x\n7,1\n8,2\n", "test.csv")
    with pytest.raises(DataError) as error:
        load_tables(tmp_path, spec_of())
    refused(error, "train.parquet", "column 'x'", "row 2", "inf")


def test_a_column_of_texts_with_some_numbers_is_a_category(tmp_path: Path) -> None:
    tables = load(tmp_path, train=TRAIN | {"cabin": ["C1", 2, 3, 4, "", "E"]}, test=TEST | {"cabin": [1, 2]})
    assert tables.roles["cabin"] == "category"
    assert tables.train["cabin"].tolist()[1] == "2"


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"id": [7, 9]}, ["column 'id'", "2 ids for 2 test rows", "1 not in test.csv", "'9', row 2"]),
        ({"id": [7, 7]}, ["column 'id'", "row 1", "row 2"]),
    ],
)
def test_a_sample_with_other_ids_is_refused(tmp_path: Path, sample: Columns, said: list[str]) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, sample={**SAMPLE, **sample})
    refused(error, "sample_submission.csv", *said)


def test_a_sample_may_ask_for_some_of_the_test_rows(tmp_path: Path) -> None:
    tables = load(tmp_path, sample={"id": [8], "price": [0]})
    assert tables.test_ids.tolist() == [7, 8]
    assert tables.notes == [
        "sample_submission.csv has 1 ids for 2 test rows: 1 (the first is '7', row 1) are not asked for"
    ]


def test_a_sample_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, sample={"id": [7, 8], "Predicted": [0, 0]})
    refused(error, "sample_submission.csv", "'Predicted'", "'price'", "[submission] columns")
    assert len(load(tmp_path, sample={"id": [8, 7], "Predicted": [0, 0]}, submission={"columns": ["Predicted"]}).test)
    with pytest.raises(DataError) as error:
        load(tmp_path, sample={"price": [0, 0]})
    refused(error, "sample_submission.csv", "no column 'id'")


def test_classes_of_the_submission_are_those_of_the_target(tmp_path: Path) -> None:
    classes = {"task": "multiclass", "metric": "log_loss", "submission": {"columns": ["A", "B"], "classes": ["a", "b"]}}
    sample = {"id": [7, 8], "A": [0.5, 0.5], "B": [0.5, 0.5]}
    assert load(tmp_path, TRAIN | {"price": [*"ababab"]}, TEST, sample, **classes).classes == ["a", "b"]
    with pytest.raises(SpecError, match=re.escape("the target has a, c")):
        load(tmp_path, TRAIN | {"price": [*"acacac"]}, TEST, sample, **classes)


# --- the real files --------------------------------------------------------------------------------------------------

REAL: dict[str, tuple[dict[str, Any], tuple[int, int], tuple[int, int]]] = {
    "house-prices": (
        {"id": "Id", "target": "SalePrice", "metric": "log_rmse", "columns": {"categories": ["MSSubClass"]}},
        (1460, 79),
        (1459, 79),
    ),
    "titanic": (
        {"id": "PassengerId", "target": "Survived", "task": "binary", "metric": "accuracy",
         "files": {"sample_submission": "gender_submission.csv"}},
        (891, 10),
        (418, 10),
    ),
    "bike-sharing-demand": (
        {"id": "datetime", "target": "count", "metric": "rmsle", "columns": {"dates": ["datetime"]}},
        (8164, 14),
        (2722, 14),
    ),
    "spaceship-titanic": (
        {"id": "PassengerId", "target": "Transported", "task": "binary", "metric": "accuracy"},
        (6520, 12),
        (2173, 12),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("PIPELINE_DATA_DIR" not in os.environ, reason="PIPELINE_DATA_DIR is not set")
@pytest.mark.parametrize(("name", "changes", "train_shape", "test_shape"), [(k, *v) for k, v in REAL.items()])
def test_real_competitions_load(
    name: str, changes: dict[str, Any], train_shape: tuple[int, int], test_shape: tuple[int, int]
) -> None:
    folder = Path(os.environ["PIPELINE_DATA_DIR"]) / name
    tables = load_tables(folder, spec_of(name=name, **{"folds": {}, **changes}))
    assert (tables.train.shape, tables.test.shape) == (train_shape, test_shape)
    plain = pd.read_csv(folder / "train.csv")
    assert tables.train_ids.tolist() == plain[changes["id"]].tolist()
    for column in set(tables.train) & set(plain):
        as_pandas_reads = plain[column]
        if tables.roles[column] == "number":
            np.testing.assert_array_equal(tables.train[column], as_pandas_reads.astype(float))
        else:
            expected = as_pandas_reads.astype("str").mask(as_pandas_reads.isna())
            pd.testing.assert_series_equal(tables.train[column], expected, check_names=False)
    if tables.classes:
        assert [tables.classes[code] for code in tables.target.iloc[:, 0]] == plain[changes["target"]].tolist()
    else:
        assert tables.target.iloc[:, 0].tolist() == plain[changes["target"]].astype(float).tolist()
