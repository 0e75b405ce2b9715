"""Laws of cells: numbers, dates and missing cells are read as people write them, said once, and alike in new rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.base.errors import DataError
from pipeline.competition.draft.spec_text import draft_spec
from pipeline.competition.far_markers import far_marker
from pipeline.competition.tables.dates import date_format_of, parse_dates
from pipeline.competition.tables.loading import CompetitionTables, load_tables, new_rows
from pipeline.competition.tables.notations import find_notation
from pipeline.competition.tables.reading import read_raw
from pipeline.config.spec import CompetitionSpec

N, N_TEST = 100, 20


def series(cells: Sequence[str]) -> pd.Series:
    return pd.Series(list(cells), dtype="str")


def load(folder: Path, columns: dict[str, Sequence[object]], **of_columns: Any) -> CompetitionTables:
    """A competition whose train and test have these `columns` of N + N_TEST cells."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(N + N_TEST), "x": rng.normal(size=N + N_TEST), **columns})
    frame.head(N).assign(y=rng.normal(size=N)).to_csv(folder / "train.csv", index=False)
    frame.tail(N_TEST).to_csv(folder / "test.csv", index=False)
    frame.tail(N_TEST)[["id"]].assign(y=0).to_csv(folder / "sample_submission.csv", index=False)
    return load_tables(folder, spec(**of_columns))


def spec(**of_columns: Any) -> CompetitionSpec:
    return CompetitionSpec.model_validate(
        {"name": "t", "kaggle_slug": "t", "id": "id", "target": "y", "task": "regression", "metric": "rmse"}
        | {"columns": of_columns}
    )


def mixed(cells: Sequence[object], others: dict[int, object]) -> list[object]:
    """N + N_TEST cells: `cells` over and over, some of them replaced."""
    return [others.get(row, cells[row % len(cells)]) for row in range(N + N_TEST)]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["$20,126", "$900", "$1,234.50", "-$5", "($30)"], [20126, 900, 1234.5, -5, -30]),
        (["23.9%", "19.0%", "0", "5%"], [23.9, 19, 0, 5]),
        (["36 months", "60 months", "1 month"], [36, 60, 1]),
        (["51.3 mi", "48.7 mi"], [51.3, 48.7]),
        (["512,600", "486,800"], [512600, 486800]),
        (["0,13", "-0,64", "1.000,5"], [0.13, -0.64, 1000.5]),
        (["0,130", "-1,130"], [0.13, -1.13]),
        (["1 234", "5\u00a0678", "22"], [1234, 5678, 22]),
        (["2 years", "3 weeks", "5 days"], [730.5, 21, 5]),
        (["1 h 30 min", "2 h"], [1.5 / 24, 2 / 24]),
        (["01:30:00", "00:00:36"], [1.5, 0.01]),
        (["9:30 PM", "12:15 AM"], [21.5, 0.25]),
        (["€1.5M", "€565K", "€0"], [1.5e6, 565e3, 0]),
    ],
)
def test_numbers_are_read_as_people_write_them(cells: list[str], numbers: list[float]) -> None:
    notation = find_notation(Counter(cells))
    assert notation is not None
    np.testing.assert_allclose(notation.read(series(cells)), numbers)


@pytest.mark.parametrize(
    "cells",
    [
        ["10+ years", "< 1 year", "2 years", "3 years"],  # would lose which is more
        ["C85", "E46"],
        ["1st", "2nd", "3rd"],
        ["18-24", "25-34"],
        ["007 km", "008 km"],
        ["1.2.3", "1.2.4"],
        ["40.7,-73.9", "1.2,-3.4"],
        ["5 km", "7 mi"],
        ["$5", "7%"],
        ["red", "blue"],
    ],
)
def test_other_texts_are_no_numbers(cells: list[str]) -> None:
    assert find_notation(Counter(cells)) is None


@pytest.mark.parametrize(
    "written",
    [
        *(
            "%Y-%m-%d",
            "%Y-%m-%dT%H:%M:%S+00:00",
            "%Y-%m-%d %H:%M:%S UTC",
            "%y-%m-%d",
            "%d-%m-%y",
            "%d/%m/%Y",
            "%m/%d/%y",
        ),
        *("%m/%d/%Y %I:%M %p", "%A, %B %d, %Y", "%d-%b-%y", "%Y%m%d", "%d.%m.%Y %H:%M", "%a %b %d %H:%M:%S +0000 %Y"),
    ],
)
def test_dates_are_read_as_people_write_them(written: str) -> None:
    days = pd.Series(pd.date_range("2006-01-29 05:07:09", periods=300, freq="47h")).sample(frac=1.0, random_state=1)
    texts = days.dt.strftime(written).astype("str")
    date_format, share = date_format_of([texts])
    assert share == 1.0
    assert (parse_dates(texts, date_format).dt.normalize() == days.dt.normalize()).all()


@pytest.mark.parametrize(
    ("cell", "day"), [("2006Q3", "2006-07-01"), ("Q3 2006", "2006-07-01"), ("Aug-2006", "2006-08-01")]
)
def test_months_and_quarters_are_dates(cell: str, day: str) -> None:
    assert parse_dates(series([cell]), date_format_of([series([cell])])[0]).tolist() == [pd.Timestamp(day)]


@pytest.mark.parametrize("factor", [1, 1000, 10**6, 10**9])
def test_time_since_1970_is_a_date_by_range_and_name(tmp_path: Path, factor: int) -> None:
    seconds = [1_156_550_400 + 86_461 * row for row in range(N + N_TEST)]
    tables = load(tmp_path, {"created_at": [second * factor for second in seconds]}, dates=["created_at"])
    assert tables.train["created_at_second"].tolist() == [second % 60 for second in seconds[:N]]
    assert tables.train["created_at_elapsed_days"].tolist() == pytest.approx(
        [second / 86_400 for second in seconds[:N]]
    )
    assert '"created_at",  # guessed: dates such as' in draft_spec(tmp_path, "t")
    load(tmp_path, {"amount": [second * factor for second in seconds]})
    assert "dates" not in draft_spec(tmp_path, "t")


def test_marks_of_missing_cells_are_missing_and_said_once(tmp_path: Path) -> None:
    tables = load(tmp_path, {"income": mixed(range(7, 90), dict.fromkeys([3, 5, 110], "?") | {8: " ", 9: r"\N"})})
    assert tables.roles["income"] == "number"
    assert tables.train["income"].isna().sum() == 4
    assert tables.test["income"].isna().sum() == 1
    (note,) = tables.notes
    assert note.startswith("income: cells read as missing: '?' (2 in train.csv, 1 in test.csv), ' ' (1 in train.csv)")
    assert f"# guessed: {note}" in draft_spec(tmp_path, "t")


def test_a_mark_among_words_is_a_level(tmp_path: Path) -> None:
    tables = load(tmp_path, {"kind": mixed(["oak", "elm", "?"], {})})
    assert tables.roles["kind"] == "category"
    assert not tables.train["kind"].isna().any()


def test_zero_dates_are_missing_and_other_texts_among_dates_too(tmp_path: Path) -> None:
    days = [f"{day:%Y-%m-%d}" for day in pd.date_range("2012-01-01", periods=N + N_TEST)]
    tables = load(tmp_path, {"when": mixed(days, {4: "0000-00-00", 7: "soon"})}, dates=["when"])
    assert tables.train["when_year"].isna().to_numpy().nonzero()[0].tolist() == [4, 7]
    assert tables.notes == [
        "when: cells read as missing: '0000-00-00' (1 in train.csv); 'soon' (1 in train.csv): not dates"
    ]


def test_the_spec_names_more_marks(tmp_path: Path) -> None:
    columns = {"income": mixed(range(100, 150), {3: -999, 110: "-999.0"}), "kind": mixed(["oak", "elm", "?"], {})}
    tables = load(tmp_path, columns, missing={"income": ["-999"], "kind": ["?"]})
    assert tables.train["income"].isna().sum() == 1
    assert tables.test["income"].isna().sum() == 1
    assert sorted(tables.train["kind"].dropna().unique()) == ["elm", "oak"]


def test_a_far_number_that_repeats_is_pointed_out() -> None:
    values = np.random.default_rng(0).normal(0.0, 100.0, 300).round()
    marker = far_marker(np.where(np.arange(300) % 5 == 0, -999.0, values))
    assert marker is not None
    assert (marker.value, marker.n_cells, marker.key("income")) == (-999.0, 60, '[columns.missing] "income" = ["-999"]')
    assert far_marker(np.where(np.arange(300) % 5 == 0, -1.0, np.abs(values))) is None  # not far
    assert far_marker(np.append(values, -999.0)) is None  # once
    assert far_marker(np.full(5, np.nan)) is None


def test_keys_keep_their_digits(tmp_path: Path) -> None:
    keys, codes = [str(10**19 + 7 * row) for row in range(N + N_TEST)], [f"{row % 30:05d}" for row in range(N + N_TEST)]
    tables = load(tmp_path, {"key": keys, "code": codes})
    assert tables.train["key"].tolist() == keys[:N]
    assert tables.train["code"].tolist() == codes[:N]


def test_blanks_do_not_tell_levels_apart(tmp_path: Path) -> None:
    tables = load(tmp_path, {"padded": mixed(["a", " a", "a ", "b", "  "], {})})
    assert sorted(tables.train["padded"].dropna().unique()) == ["a", "b"]
    assert tables.train["padded"].isna().sum() == N / 5
    assert tables.notes == ["padded: blanks around its texts are left out; they would tell equal ones apart"]


def test_new_rows_are_read_in_the_same_way(tmp_path: Path) -> None:
    fees = mixed([f"${10 * n:,}" for n in range(1, 120)], {3: "free"})
    cells = {"fee": fees, "age": mixed(["2 years", "3 weeks"], {})}
    recipes = load(tmp_path, cells).recipes
    path = tmp_path / "new.csv"
    path.write_text('id,x,fee,age\n1,0,"$2,500",1 day\n2,0,free,-\n3,0,,\n')
    _, rows = new_rows(read_raw(path), "id", recipes)
    assert rows["fee"].fillna(-1).tolist() == [2500, -1, -1]
    assert rows["age"].fillna(-1).tolist() == [1, -1, -1]
    path.write_text("id,x,fee,age\n1,0,20 EUR,1 day\n")
    with pytest.raises(DataError) as error:
        new_rows(read_raw(path), "id", recipes)
    assert "column 'fee', row 1: '20 EUR' is not a finite number" in error.value.message


def test_parts_of_dates_have_names_of_their_own(tmp_path: Path) -> None:
    days = pd.date_range("2012-01-01", periods=N + N_TEST, freq="9D")
    columns = {"sold": [f"{day:%Y-%m-%d}" for day in days], "sold_year": days.year, "sold_date": mixed(["a", "b"], {})}
    tables = load(tmp_path, columns, dates=["sold"])
    assert tables.train["sold_year"].tolist() == tables.train["sold_date_date_year"].tolist()
    assert "sold: its parts are called 'sold_date_date_year'" in tables.notes[0]


def test_an_infinite_cell_is_one_message(tmp_path: Path) -> None:
    for cell in ("inf", "1e400", "-Infinity"):
        with pytest.raises(DataError) as error:
            load(tmp_path, {"ratio": mixed([1.5, 2.5], {3: cell, 5: cell})})
        assert (
            f"row 4: '{cell}' is not a finite number, unlike most of the column (2 such values)" in error.value.message
        )
        assert "[columns.missing]" in error.value.message
