"""Laws of [time]: a row knows nothing of its series nearer than the horizon, whoever asks; what it knows is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from pipeline.base.errors import PipelineError
from pipeline.base.target_transforms import TargetTransform
from pipeline.cli import app
from pipeline.competition.series import SeriesHistory
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable
from pipeline.competition.tables.time_columns import series_of
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import load_spec
from pipeline.scoring.series_baselines import series_baselines

HORIZON = 7.0
DAYS = 500


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def known(times: np.ndarray, keys: pd.Series, target: np.ndarray, horizon: float = HORIZON) -> pd.DataFrame:
    history = SeriesHistory.fit(times, keys, target[:, None], horizon)
    return history.columns(times, keys, ["sold"])


def random_series(seed: int, n_series: int = 3, n_days: int = 120) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """Some rows of some series, in any order."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(n_series * n_days)[: int(0.8 * n_series * n_days)]
    keys = pd.Series([f"s{cell // n_days}" for cell in cells], dtype="str")
    return 18_000.0 + cells % n_days, keys, rng.normal(10.0, 1.0, len(cells))


@given(st.integers(0, 10_000), st.sampled_from([1.0, 7.0, 40.0]))
@settings(max_examples=20, deadline=None)
def test_no_column_knows_a_target_nearer_than_the_horizon(seed: int, horizon: float) -> None:
    times, keys, target = random_series(seed)
    before = known(times, keys, target, horizon)
    row = seed % len(times)
    changed = target + np.where(times > times[row] - horizon, 1e6, 0.0)
    pd.testing.assert_series_equal(known(times, keys, changed, horizon).iloc[row], before.iloc[row])


def test_a_planted_future_is_found_in_no_column() -> None:
    rng = np.random.default_rng(0)
    times, keys = np.arange(DAYS, dtype=np.float64), pd.Series(["a"] * DAYS, dtype="str")
    target = rng.normal(size=DAYS)  # each day is new: the past says nothing of it
    columns = known(times, keys, target)[60:]
    assert columns.corrwith(pd.Series(target)[60:]).abs().max() < 0.25
    plain = pd.Series(target).rolling(7).mean()  # what a careless mean would carry
    assert abs(plain[60:].corr(pd.Series(target)[60:])) > 0.3


def test_the_columns_are_what_their_names_say() -> None:
    times, keys, target = random_series(5, n_days=400)
    columns = known(times, keys, target)
    frame = pd.DataFrame({"time": times, "key": keys, "sold": target})
    for row in np.random.default_rng(0).permutation(len(frame))[:60]:
        own = frame[(frame["key"] == keys[row]) & (frame["time"] <= times[row] - HORIZON)].sort_values("time")
        last_week = own[own["time"] > times[row] - HORIZON - 7]
        weekday = own[((times[row] - own["time"]) % 7 == 0) & (own["time"] >= times[row] - 8 * 7)]
        year = own[own["time"] == times[row] - 364]
        expected = {
            "last": own["sold"].iloc[-1] if len(own) else np.nan,
            "mean": own["sold"].mean(),
            "mean_7": last_week["sold"].mean(),
            "weekday_mean": weekday["sold"].mean(),
            "year_ago": year["sold"].mean(),
            "year_ago_week": own[(own["time"] - times[row] + 364).abs() <= 3]["sold"].mean(),
            "years_ago_mean": year["sold"].mean(),
        }
        for name, value in expected.items():
            value = own["sold"].mean() if np.isnan(value) else value
            np.testing.assert_allclose(columns[f"sold.{name}"].iloc[row], value, atol=1e-9, err_msg=name)


def test_what_is_not_known_of_a_known_past_is_its_mean() -> None:
    times, keys = np.arange(60.0), pd.Series(["a"] * 60, dtype="str")
    columns = known(times, keys, np.arange(60.0))
    assert columns[:7].isna().all(axis=None)
    assert columns["sold.year_ago"].iloc[20] == np.arange(14.0).mean() == columns["sold.mean"].iloc[20]


def test_other_rows_and_other_series_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    times, keys, target = random_series(1)
    whole = known(times, keys, target)
    history = SeriesHistory.fit(times, keys, target[:, None], HORIZON)
    pd.testing.assert_frame_equal(history.columns(times[:1], keys[:1], ["sold"]), whole.iloc[:1])
    monkeypatch.setattr("pipeline.competition.series.CHUNK", 100)  # one series at a time
    pd.testing.assert_frame_equal(known(times, keys, target), whole)
    stranger = history.columns(times[:1], pd.Series(["new"], dtype="str"), ["sold"])
    assert stranger.isna().all(axis=None)


def test_weekly_rows_have_weekly_steps() -> None:
    times, keys = 7.0 * np.arange(150), pd.Series(["a"] * 150, dtype="str")
    columns = known(times, keys, np.arange(150.0), horizon=28.0)
    assert columns["sold.last"].iloc[60] == 56.0
    assert columns["sold.year_ago"].iloc[60] == 8.0
    assert columns["sold.mean_28"].iloc[60] == np.mean([53.0, 54.0, 55.0, 56.0])
    assert "sold.weekday_mean" not in columns


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
key = ["store", "item"]
horizon = 14
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six series of 200 days, the last 14 of which are test."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2022-01-01", periods=200)
    frame = pd.DataFrame(
        [(d, s, i) for d in days for s in ("n", "s") for i in (1, 2, 3)], columns=["day", "store", "item"]
    )
    level = frame["item"] * 20.0 + (frame["store"] == "s") * 7.0 + 5.0 * (frame["day"].dt.day_of_week == 5)
    frame["sold"] = (level + rng.normal(size=len(frame))).round(3)
    frame.insert(0, "id", range(len(frame)))
    frame["day"] = frame["day"].dt.strftime("%Y-%m-%d")
    raw = tmp_path / "data" / "toy" / "raw"
    raw.mkdir(parents=True)
    n_test = 14 * 6
    frame[:-n_test].to_csv(raw / "train.csv", index=False)
    frame[-n_test:].drop(columns="sold").to_csv(raw / "test.csv", index=False)
    frame[-n_test:][["id"]].assign(sold=0.0).to_csv(raw / "sample_submission.csv", index=False)
    (tmp_path / "data" / "toy" / "competition.toml").write_text(SPEC)
    return tmp_path


@pytest.mark.slow
def test_the_history_helps_and_new_rows_get_the_columns_of_test(root: Path) -> None:
    submitted = run_command("submit", "-c", "toy", "-m", "ridge", "--no-upload", "--root", str(root))
    assert submitted.exit_code == 0, submitted.output
    assert "baselines in these folds: last rmse" in submitted.output
    (path,) = (root / "submissions" / "toy").glob("*.csv")
    run = path.stem
    predicted = run_command(
        "predict", run, str(root / "data/toy/raw/test.csv"), "-o", str(root / "p.csv"), "-c", "toy", "--root", str(root)
    )
    assert predicted.exit_code == 0, predicted.output
    ours, again = pd.read_csv(path), pd.read_csv(root / "p.csv")
    np.testing.assert_allclose(ours["sold"], again["sold"], rtol=1e-5)
    truth = 20.0 * pd.read_csv(root / "data/toy/raw/test.csv")["item"]
    assert np.abs(ours["sold"] - truth - 3.5).mean() < 6.0


def test_init_drafts_the_series(root: Path) -> None:
    drafted = run_command("init", "toy", "--force", "--root", str(root))
    assert drafted.exit_code == 0, drafted.output
    spec = load_spec(root / "data" / "toy" / "competition.toml")
    assert spec.time is not None
    assert (spec.time.date, spec.time.key, spec.time.horizon) == ("day", ["store", "item"], 14)
    assert (spec.folds.kind, spec.folds.length) == ("time", 14)


@pytest.fixture
def overlapping(root: Path) -> Path:
    """Train of 44 days, of which the last five are also asked for; test goes on for 15 more."""
    raw = root / "data" / "toy" / "raw"
    train = pd.read_csv(raw / "train.csv")
    days = sorted(train["day"].unique())[:59]
    train[train["day"].isin(days[:44])].to_csv(raw / "train.csv", index=False)
    test = train[train["day"].isin(days[39:])].drop(columns="sold").assign(id=lambda frame: frame["id"] + 10_000)
    test.to_csv(raw / "test.csv", index=False)
    test[["id"]].assign(sold=0.0).to_csv(raw / "sample_submission.csv", index=False)
    return root


def test_init_drafts_series_whose_test_begins_before_train_ends(overlapping: Path) -> None:
    drafted = run_command("init", "toy", "--force", "--root", str(overlapping))
    assert drafted.exit_code == 0, drafted.output
    spec = load_spec(overlapping / "data" / "toy" / "competition.toml")
    assert spec.time is not None
    assert (spec.time.horizon, spec.folds.kind, spec.folds.length, spec.folds.number) == (15, "time", 9, 2)


def test_rows_that_train_and_test_share_see_neither_their_own_nor_a_later_target(overlapping: Path) -> None:
    folder = overlapping / "data" / "toy"
    (folder / "competition.toml").write_text(
        SPEC.replace("length = 14", "length = 9")
        .replace("number = 3", "number = 2")
        .replace("horizon = 14", "horizon = 15")
    )

    def tables() -> list[pd.DataFrame]:
        built = run_command("features", "-c", "toy", "--root", str(overlapping))
        assert built.exit_code == 0, built.output
        names = [name for name in pd.read_parquet(folder / "features" / "test.parquet") if name.startswith("sold.")]
        return [pd.read_parquet(folder / "features" / f"{part}.parquet")[names] for part in ("train", "test")]

    before = tables()
    raw = [pd.read_csv(folder / "raw" / f"{part}.csv") for part in ("train", "test")]
    planted = sorted(raw[0]["day"].unique())[-17]  # from here on each target is another
    raw[0].loc[raw[0]["day"] >= planted, "sold"] += 1000.0
    raw[0].to_csv(folder / "raw" / "train.csv", index=False)
    (folder / "raw" / "source.json").unlink()
    for rows, old, new in zip(raw, before, tables(), strict=True):
        knows = (pd.to_datetime(rows["day"]) >= pd.Timestamp(planted) + pd.Timedelta(days=15)).to_numpy()
        assert 0 < knows.sum() < len(rows)
        pd.testing.assert_frame_equal(old[~knows], new[~knows])
        assert (new.loc[knows, "sold.last"] > old.loc[knows, "sold.last"] + 900.0).all()
    shared = raw[1].merge(raw[0].reset_index(), on=["day", "store", "item"])["index"]
    assert len(shared) == 5 * 6
    np.testing.assert_array_equal(before[1][: len(shared)], before[0].loc[shared])


def test_the_past_is_on_the_scale_of_the_target_and_no_column_tells_how_late_a_row_is(root: Path) -> None:
    path = root / "data" / "toy" / "competition.toml"
    options = ("-c", "toy", "--root", str(root))
    built = run_command("features", *options)
    assert built.exit_code == 0, built.output
    assert "left out, as they grow beyond those of train: day_year, day_elapsed_days" in built.output
    features = path.parent / "features" / "train.parquet"
    plain = pd.read_parquet(features)
    assert {"day_month", "day.week", "day.is_month_end"} <= set(plain.columns)
    assert not {"day_year", "day_elapsed_days", "sold.n_known"} & set(plain.columns)
    path.write_text(SPEC.replace('metric = "rmse"', 'metric = "rmse"\ntarget_transform = "log1p"') + "trend = true\n")
    again = run_command("features", *options)
    assert "target_transform in the spec, time in the spec changed" in again.output
    logged = pd.read_parquet(features)
    np.testing.assert_allclose(logged["sold.last"], np.log1p(plain["sold.last"]))
    assert "day_elapsed_days" in logged


@pytest.mark.parametrize("transform", ["none", "log1p"])
def test_the_baselines_are_on_the_scale_of_the_metric(root: Path, transform: TargetTransform) -> None:
    path = root / "data" / "toy" / "competition.toml"
    path.write_text(SPEC.replace('metric = "rmse"', f'metric = "rmse"\ntarget_transform = "{transform}"'))
    built = run_command("features", "-c", "toy", "--root", str(root))
    assert built.exit_code == 0, built.output
    train = pd.read_csv(path.parent / "raw" / "train.csv")
    days = pd.to_datetime(train["day"])
    ago = train.assign(day=days + pd.Timedelta(days=14))[["day", "store", "item", "sold"]]
    last = train.assign(day=days).merge(ago, on=["day", "store", "item"], how="left", suffixes=("", "_last"))
    scored = last[last["day"] > days.max() - pd.Timedelta(days=42)]
    rmse = float(np.sqrt(((scored["sold"] - scored["sold_last"]) ** 2).mean()))
    found = series_baselines(FeatureStore(Workspace(root, "toy"), load_spec(path)))
    assert found["last"] == pytest.approx(rmse)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length = 14", "length = 15", "of at most the horizon 14"),
        ('kind = "time"', 'kind = "shuffled"', "is for kind"),
        ('key = ["store", "item"]', 'key = ["shop"]', "no column 'shop'"),
    ],
)
def test_what_could_leak_or_lacks_is_refused(root: Path, old: str, new: str, message: str) -> None:
    path = root / "data" / "toy" / "competition.toml"
    path.write_text(path.read_text().replace(old, new))
    refused = run_command("features", "-c", "toy", "--root", str(root))
    assert refused.exit_code == PipelineError.exit_code
    assert message in refused.output


def test_a_key_is_the_same_with_and_without_a_fraction_of_zero() -> None:
    written = RawTable(Path("a.csv"), pd.DataFrame({"store": ["1", "2.0", None]}, dtype="str"))
    numbers = RawTable(Path("b.parquet"), pd.DataFrame({"store": [1.0, 2.0, np.nan]}))
    assert series_of(written, ["store"]).tolist() == series_of(numbers, ["store"]).tolist()


@pytest.mark.slow
def test_new_rows_are_not_predicted_from_another_past(root: Path) -> None:
    submitted = run_command("submit", "-c", "toy", "-m", "ridge", "--no-upload", "--root", str(root))
    assert submitted.exit_code == 0, submitted.output
    (path,) = (root / "submissions" / "toy").glob("*.csv")
    raw = root / "data" / "toy" / "raw"
    train = pd.read_csv(raw / "train.csv")
    train.assign(sold=train["sold"] + 1.0).to_csv(raw / "train.csv", index=False)
    refused = run_command("predict", path.stem, str(raw / "test.csv"), "-c", "toy", "--root", str(root))
    assert refused.exit_code == PipelineError.exit_code
    assert "was changed after the features were built" in refused.output
