"""Laws of public holidays in [time]: they are those of the country, the same for any row, and never guessed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from pipeline.base.errors import DataError, PipelineError
from pipeline.cli import app
from pipeline.competition.tables import public_holidays
from pipeline.competition.tables.public_holidays import checked_code, code_of, holiday_columns, holiday_columns_by_row
from pipeline.config.spec import load_spec

if not public_holidays.is_installed():
    pytest.skip("the extra `holidays` is not installed", allow_module_level=True)


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def days_of(*texts: str) -> np.ndarray:
    return np.asarray(
        (pd.to_datetime(list(texts), format="ISO8601") - pd.Timestamp(0)) / pd.Timedelta(days=1), dtype=np.float64
    )


def test_the_columns_are_what_their_names_say() -> None:
    days = days_of("2022-07-03", "2022-07-04", "2022-07-06 18:00", "2022-12-24", "2022-12-31", "2022-10-05")
    found = holiday_columns(days, "US")
    assert found["is_holiday"].tolist() == [0, 1, 0, 0, 0, 0]
    assert found["days_to_holiday"].tolist() == [1, 0, 14, 1, 1, 5]
    assert found["days_since_holiday"].tolist() == [13, 0, 2, 14, 5, 14]  # Juneteenth is on Monday, too: 20 June
    assert found["is_weekend"].tolist() == [1, 0, 0, 1, 1, 0]


def test_a_row_has_the_holidays_of_its_country_whatever_the_other_rows() -> None:
    days = days_of("2021-10-03", "2021-10-03", "2021-07-04", "2021-10-03", "2021-10-03")
    countries = pd.Series(["Germany", "US", "US", "Atlantis", None], dtype="str")
    found = holiday_columns_by_row(days, countries)
    np.testing.assert_array_equal(found["is_holiday"], [1.0, 0.0, 1.0, np.nan, np.nan])
    alone = holiday_columns_by_row(days[:1], countries[:1])
    assert {name: values[0] for name, values in found.items()} == {name: values[0] for name, values in alone.items()}


@pytest.mark.parametrize(
    ("text", "code"), [("Germany", "DE"), ("DE", "DE"), ("DEU", "DE"), ("United States", "US"), ("Atlantis", None)]
)
def test_countries_are_known_by_name_and_code(text: str, code: str | None) -> None:
    assert code_of(text) == code


def test_parts_of_countries_and_mistakes() -> None:
    assert checked_code("US-CA") == "US-CA"
    assert holiday_columns(days_of("2022-03-31"), "US-CA")["is_holiday"].tolist() == [1.0]  # Cesar Chavez Day
    with pytest.raises(DataError, match="'Atlantis' is no country"):
        checked_code("Atlantis")
    with pytest.raises(DataError, match="knows no part 'ZZ' of US"):
        checked_code("US-ZZ")


SPEC = """
name = "toy"
kaggle_slug = "toy"
id = "id"
target = "sold"
task = "regression"
metric = "rmse"

[columns]
dates = ["day"]

[folds]
kind = "time"
time = "day"
length = 14
number = 3

[time]
date = "day"
key = "country"
horizon = 14
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two series of 200 days, the last 14 of which are test."""
    days = pd.date_range("2022-01-01", periods=200)
    frame = pd.DataFrame([(d, c) for d in days for c in ("Germany", "Japan")], columns=["day", "country"])
    frame["sold"] = np.random.default_rng(0).normal(100.0, 10.0, len(frame)).round(3)
    frame.insert(0, "id", range(len(frame)))
    frame["day"] = frame["day"].dt.strftime("%Y-%m-%d")
    raw = tmp_path / "data" / "toy" / "raw"
    raw.mkdir(parents=True)
    frame[:-28].to_csv(raw / "train.csv", index=False)
    frame[-28:].drop(columns="sold").to_csv(raw / "test.csv", index=False)
    frame[-28:][["id"]].assign(sold=0.0).to_csv(raw / "sample_submission.csv", index=False)
    (tmp_path / "data" / "toy" / "competition.toml").write_text(SPEC)
    return tmp_path


def features(root: Path, more: str) -> tuple[Result, Path]:
    (root / "data" / "toy" / "competition.toml").write_text(SPEC + more)
    built = run_command("features", "-c", "toy", "--root", str(root))
    return built, root / "data" / "toy" / "features" / "train.parquet"


def test_a_country_or_the_country_of_each_row_gives_columns(root: Path) -> None:
    built, path = features(root, 'holidays = "DE"')
    assert built.exit_code == 0, built.output
    one = pd.read_parquet(path)
    assert one["day.is_holiday"].sum() == 2 * 6  # to 2 July
    built, _ = features(root, 'holidays = ["DE", "JP"]')
    assert built.exit_code == 0, built.output
    both = pd.read_parquet(path)
    pd.testing.assert_series_equal(both["day.DE_is_holiday"], one["day.is_holiday"], check_names=False)
    assert "day.JP_is_holiday" in both
    built, _ = features(root, 'country = "country"')
    assert built.exit_code == 0, built.output
    rows = pd.read_parquet(path)
    expected = both["day.DE_is_holiday"].where(rows["country"] == "Germany", both["day.JP_is_holiday"])
    pd.testing.assert_series_equal(rows["day.is_holiday"], expected, check_names=False)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('holidays = "Atlantis"', "'Atlantis' is no country"),
        ('country = "nation"', "no column 'nation'"),
        ('country = "id"', "no text is a country"),
        ('country = "country"\nholidays = "DE"', "name the countries twice"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(root: Path, more: str, message: str) -> None:
    refused, path = features(root, more)
    assert refused.exit_code == PipelineError.exit_code
    assert message in " ".join(refused.output.split())
    assert not path.exists()


def test_texts_that_are_no_country_are_told(root: Path) -> None:
    for name in ("train.csv", "test.csv"):
        path = root / "data" / "toy" / "raw" / name
        path.write_text(path.read_text().replace("Japan", "Atlantis"))
    built, path = features(root, 'country = "country"')
    assert built.exit_code == 0, built.output
    assert "no countries, and without holidays: 'Atlantis'" in " ".join(built.output.split())
    frame = pd.read_parquet(path)
    assert frame.loc[frame["country"] == "Atlantis", "day.is_holiday"].isna().all()


def test_without_the_package_the_message_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    refused, _ = features(root, 'holidays = "DE"')
    assert refused.exit_code == PipelineError.exit_code
    assert "pip install -c constraints.txt -e '.[holidays]'" in " ".join(refused.output.split())


@pytest.mark.parametrize(("name", "is_drafted"), [("Japan", True), ("Atlantis", False)])
def test_init_drafts_the_column_only_if_all_its_texts_are_countries(root: Path, name: str, is_drafted: bool) -> None:
    for file in ("train.csv", "test.csv"):
        path = root / "data" / "toy" / "raw" / file
        path.write_text(path.read_text().replace("Japan", name))
    drafted = run_command("init", "toy", "--force", "--root", str(root))
    assert drafted.exit_code == 0, drafted.output
    path = root / "data" / "toy" / "competition.toml"
    time = load_spec(path).time
    assert time is not None
    assert time.country == ("country" if is_drafted else None)
    assert is_drafted or "# for the public holidays of each country: country =" in path.read_text()
