"""Laws of the built-in competitions: they look like Kaggle's files, add up, and copy nobody's rows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from make_house_prices_sample import FILE, N_TRAIN_ROWS, make_house_prices_tables
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.competition.samples import SAMPLES, SampleCompetition, make_sample, quadrants

TABLES = ("train", "test", "sample_submission", "solution")
ID_AND_TARGET = {
    "house-prices": ("Id", "SalePrice"),
    "digits": ("id", "label"),
    "quadrants": ("id", "quadrant"),
    "spiral": ("id", "arm"),
}

# Kaggle's House Prices: what `read_csv` makes of its train.csv, and which columns have gaps in which file.
FLOAT_IN_TRAIN = {"LotFrontage", "MasVnrArea", "GarageYrBlt"}
FLOAT_IN_TEST_ONLY = {"BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF", "TotalBsmtSF", "BsmtFullBath", "BsmtHalfBath",
                      "GarageCars", "GarageArea"}  # fmt: skip
GAPS_IN_TEST_ONLY = {*FLOAT_IN_TEST_ONLY, "MSZoning", "Utilities", "Exterior1st", "Exterior2nd",
                     "KitchenQual", "Functional", "SaleType"}  # fmt: skip
GAPS_IN_BOTH = {"LotFrontage", "Alley", "MasVnrType", "MasVnrArea", "BsmtQual", "BsmtCond", "BsmtExposure",
                "BsmtFinType1", "BsmtFinType2", "FireplaceQu", "GarageType", "GarageYrBlt", "GarageFinish",
                "GarageQual", "GarageCond", "PoolQC", "Fence", "MiscFeature"}  # fmt: skip


@pytest.fixture(scope="module")
def houses() -> SampleCompetition:
    return make_sample("house-prices")


@pytest.fixture(scope="module")
def digits() -> SampleCompetition:
    return make_sample("digits")


@pytest.fixture(scope="module")
def all_houses(houses: SampleCompetition) -> pd.DataFrame:
    return pd.concat([houses.train, houses.test.merge(houses.solution, on="Id")], ignore_index=True)


@pytest.mark.parametrize("competition", SAMPLES)
def test_a_sample_has_the_same_bits_on_every_call(competition: str) -> None:
    first, second = make_sample(competition), make_sample(competition)
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(first, table), getattr(second, table), check_exact=True)


@pytest.mark.parametrize("competition", SAMPLES)
def test_ids_are_unique_and_the_solution_follows_the_sample_submission(competition: str) -> None:
    sample = make_sample(competition)
    id_column, target = ID_AND_TARGET[competition]
    ids = pd.concat([sample.train[id_column], sample.test[id_column]])
    assert ids.is_unique
    assert list(sample.sample_submission.columns) == [id_column, target]
    assert list(sample.solution.columns) == [id_column, target]
    pd.testing.assert_series_equal(sample.sample_submission[id_column], sample.test[id_column])
    pd.testing.assert_series_equal(sample.solution[id_column], sample.sample_submission[id_column])


@pytest.mark.parametrize("competition", SAMPLES)
def test_the_test_table_and_the_sample_submission_do_not_tell_the_target(competition: str) -> None:
    sample = make_sample(competition)
    target = ID_AND_TARGET[competition][1]
    assert list(sample.test.columns) == [column for column in sample.train.columns if column != target]
    assert sample.sample_submission[target].nunique() == 1


def test_house_prices_has_the_shape_and_types_of_kaggles_files(houses: SampleCompetition) -> None:
    assert houses.train.shape == (1460, 81)
    assert houses.test.shape == (1459, 80)
    assert houses.train["Id"].tolist() == list(range(1, 1461))
    assert houses.test["Id"].tolist() == list(range(1461, 2920))
    at_places = houses.train.columns[[0, 1, 3, 12, 43, 69, 79, 80]].tolist()
    assert at_places[:4] == ["Id", "MSSubClass", "LotFrontage", "Neighborhood"]
    assert at_places[4:] == ["1stFlrSF", "3SsnPorch", "SaleCondition", "SalePrice"]
    float_columns = {"train": FLOAT_IN_TRAIN, "test": FLOAT_IN_TRAIN | FLOAT_IN_TEST_ONLY}
    for name, floats in float_columns.items():
        kinds = getattr(houses, name).dtypes.astype(str)
        assert set(kinds.unique()) == {"int64", "float64", "str"}
        assert set(kinds.index[kinds == "float64"]) == floats
        assert (kinds == "str").sum() == 43


def test_house_prices_has_gaps_where_kaggles_files_have_them(houses: SampleCompetition) -> None:
    gaps = {name: set(table.columns[table.isna().any()]) for name, table in vars(houses).items()}
    assert gaps["train"] == GAPS_IN_BOTH | {"Electrical"}
    assert gaps["test"] == GAPS_IN_BOTH | GAPS_IN_TEST_ONLY
    assert not gaps["sample_submission"] | gaps["solution"]

    missing_share = houses.train.isna().mean()
    assert missing_share["LotFrontage"] == pytest.approx(0.18, abs=0.04)
    assert (missing_share[["PoolQC", "MiscFeature", "Alley"]] > 0.9).all()
    assert (houses.train["MasVnrType"] == "None").mean() > 0.5


def test_areas_add_up(all_houses: pd.DataFrame) -> None:
    floors = all_houses[["1stFlrSF", "2ndFlrSF", "LowQualFinSF"]].sum(axis=1)
    assert (floors == all_houses["GrLivArea"]).all()
    basement = all_houses[["BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF", "TotalBsmtSF"]].dropna()
    assert len(basement) == len(all_houses) - 1
    assert (basement.drop(columns="TotalBsmtSF").sum(axis=1) == basement["TotalBsmtSF"]).all()
    assert (all_houses.select_dtypes("number").min() >= 0).all()


def test_what_is_not_there_has_no_grade_and_no_area(all_houses: pd.DataFrame) -> None:
    garage = all_houses.dropna(subset="GarageArea")
    has_garage = garage["GarageCars"] > 0
    assert ((garage["GarageArea"] > 0) == has_garage).all()
    for column in ("GarageType", "GarageFinish", "GarageQual", "GarageCond", "GarageYrBlt"):
        assert (garage[column].notna() == has_garage).all()
    without_basement = all_houses[all_houses["TotalBsmtSF"] == 0]
    graded = ["BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinType2"]
    assert without_basement[graded].isna().all(axis=None)
    assert without_basement[["BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF"]].eq(0).all(axis=None)
    assert (all_houses["FireplaceQu"].notna() == (all_houses["Fireplaces"] > 0)).all()
    assert (all_houses["PoolQC"].notna() == (all_houses["PoolArea"] > 0)).all()
    assert (all_houses["MiscFeature"].notna() == (all_houses["MiscVal"] > 0)).all()
    veneer = all_houses.dropna(subset=["MasVnrType", "MasVnrArea"])
    assert ((veneer["MasVnrType"] == "None") == (veneer["MasVnrArea"] == 0)).all()


def test_years_are_in_order(all_houses: pd.DataFrame) -> None:
    assert all_houses["YrSold"].between(2006, 2010).all()
    assert all_houses["MoSold"].between(1, 12).all()
    assert (all_houses["YearBuilt"] <= all_houses["YearRemodAdd"]).all()
    assert (all_houses["YearRemodAdd"] <= all_houses["YrSold"]).all()
    assert not (all_houses["GarageYrBlt"] > all_houses["YrSold"]).any()


def test_prices_spread_like_a_housing_market(houses: SampleCompetition) -> None:
    for price in (houses.train["SalePrice"], houses.solution["SalePrice"]):
        assert price.min() > 10_000
        assert price.max() < 1_000_000
        assert price.mean() == pytest.approx(180_000, rel=0.06)
        assert price.std() == pytest.approx(80_000, rel=0.12)
        assert np.log(price).std() == pytest.approx(0.40, abs=0.04)


def test_the_price_rewards_a_model_of_its_logarithm(houses: SampleCompetition) -> None:
    """A ridge on log price must do well but not perfectly, and beat a linear model of the raw price."""
    features = houses.train.drop(columns=["Id", "SalePrice"])
    encoded = pd.get_dummies(features.fillna(features.median(numeric_only=True)), dtype=float)
    price = houses.train["SalePrice"].to_numpy(float)
    folds = KFold(5, shuffle=True, random_state=0)

    ridge = make_pipeline(StandardScaler(), Ridge(alpha=100.0))
    log_price = cross_val_predict(ridge, encoded, np.log(price), cv=folds)
    log_rmse = np.sqrt(np.mean((log_price - np.log(price)) ** 2))
    assert 0.10 < log_rmse < 0.14

    raw_price = cross_val_predict(LinearRegression(), encoded, price, cv=folds)
    raw_log_rmse = np.sqrt(np.mean((np.log(np.maximum(raw_price, 1.0)) - np.log(price)) ** 2))
    assert raw_log_rmse > 1.2 * log_rmse


def test_the_stored_houses_are_those_of_the_simulator(houses: SampleCompetition) -> None:
    train, labelled_test = make_house_prices_tables()
    pd.testing.assert_frame_equal(houses.train, train, check_exact=True)
    pd.testing.assert_frame_equal(houses.test, labelled_test.drop(columns="SalePrice"), check_exact=True)
    assert FILE.stat().st_size < 200_000  # it is part of the package


def test_another_seed_gives_other_houses(houses: SampleCompetition) -> None:
    other_train, other_test = make_house_prices_tables(seed=1)
    assert len(other_train) == N_TRAIN_ROWS
    assert list(other_test.columns) == list(houses.train.columns)
    assert (other_train["SalePrice"] != houses.train["SalePrice"]).mean() > 0.9


@pytest.fixture(scope="module")
def real_houses() -> dict[str, pd.DataFrame]:
    data_dir = os.environ.get("PIPELINE_DATA_DIR")
    if not data_dir:
        pytest.skip("PIPELINE_DATA_DIR is not set")
    folder = Path(data_dir) / "house-prices"
    return {
        name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=["NA"])
        for name in ("train", "test", "sample_submission")
    }


@pytest.mark.real_data
def test_simulated_tables_read_like_the_real_ones(
    houses: SampleCompetition,
    real_houses: dict[str, pd.DataFrame],
) -> None:
    for name, real in real_houses.items():
        pd.testing.assert_series_equal(getattr(houses, name).dtypes, real.dtypes)
        assert getattr(houses, name)["Id"].tolist() == real["Id"].tolist()

    real_train_and_test = pd.concat([real_houses["train"], real_houses["test"]])
    for column in houses.test.select_dtypes("str"):
        known = set(real_train_and_test[column].dropna())
        grades = {"Po", "Fa", "TA", "Gd", "Ex"} if known & {"TA", "Fa"} else set()
        assert set(houses.train[column].dropna()) <= known | grades, column


@pytest.mark.real_data
def test_no_simulated_house_is_a_real_one(
    all_houses: pd.DataFrame,
    real_houses: dict[str, pd.DataFrame],
) -> None:
    features = [column for column in all_houses.columns if column not in ("Id", "SalePrice")]
    real = pd.concat([real_houses["train"], real_houses["test"]])
    assert set(_row_keys(all_houses[features])).isdisjoint(_row_keys(real[features]))


def _row_keys(table: pd.DataFrame) -> pd.Index:
    """One text per row; numbers are written alike whether the column is int or float."""
    numbers = table.select_dtypes("number").columns
    cells = table.astype(dict.fromkeys(numbers, float)).astype(object).where(table.notna(), "NA")
    return pd.Index(["|".join(map(str, row)) for row in cells.itertuples(index=False)])


def test_digits_has_pixels_in_range_and_ten_classes(digits: SampleCompetition) -> None:
    pixel_columns = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    assert list(digits.train.columns) == ["id", *pixel_columns, "label"]
    assert (len(digits.train), len(digits.test)) == (1200, 597)
    assert set(digits.train.dtypes.astype(str)) == {"int64"}
    for table in (digits.train, digits.test):
        assert table[pixel_columns].min(axis=None) == 0
        assert table[pixel_columns].max(axis=None) == 16
    assert sorted(digits.train["label"].unique()) == list(range(10))
    assert (digits.sample_submission["label"] == 0).all()


def test_digits_is_stratified_and_shuffled(digits: SampleCompetition) -> None:
    train_share = digits.train["label"].value_counts(normalize=True).sort_index()
    test_share = digits.solution["label"].value_counts(normalize=True).sort_index()
    assert (train_share - test_share).abs().max() < 0.005
    assert not digits.train["label"].is_monotonic_increasing
    assert digits.train["label"].autocorr() == pytest.approx(0.0, abs=0.1)


def test_digits_solution_belongs_to_its_images(digits: SampleCompetition) -> None:
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    label_of_image = {tuple(image): digit for image, digit in zip(pixels.astype(int), label, strict=True)}
    images = digits.test.drop(columns="id").itertuples(index=False, name=None)
    assert [label_of_image[image] for image in images] == digits.solution["label"].tolist()


def test_quadrants_are_four_clouds_of_200_points_of_which_no_rule_gets_more_than_955_in_1000() -> None:
    points = quadrants.make_points()
    assert points["quadrant"].value_counts().to_dict() == dict.fromkeys(quadrants.CENTRES, 200)
    by_class = points.groupby("quadrant")[["x1", "x2"]]
    for name, centre in quadrants.CENTRES.items():
        np.testing.assert_allclose(by_class.mean().loc[name], centre, atol=0.15)
        np.testing.assert_allclose(by_class.std().loc[name], quadrants.SPREAD, atol=0.1)
    centres = np.array(points["quadrant"].map(quadrants.CENTRES).tolist())
    best = (np.sign(points[["x1", "x2"]].to_numpy()) == centres).all(axis=1).mean()
    assert best == pytest.approx(quadrants.BEST_ACCURACY, abs=0.015)


def test_the_parts_of_quadrants_and_spiral_are_stratified() -> None:
    for competition, sizes in (("quadrants", (150, 50)), ("spiral", (425, 75))):
        sample, target = make_sample(competition), ID_AND_TARGET[competition][1]
        assert (sample.train[target].value_counts() == sizes[0]).all()
        assert (sample.solution[target].value_counts() == sizes[1]).all()


def test_the_arms_of_the_spiral_wind_around_each_other() -> None:
    """Far from a line: softmax regression gets little more than half; near enough for the nearest neighbour."""
    sample = make_sample("spiral")
    x, y = sample.train[["x1", "x2"]], sample.train["arm"]
    test_x, test_y = sample.test[["x1", "x2"]], sample.solution["arm"]
    assert LogisticRegression().fit(x, y).score(test_x, test_y) < 0.6
    assert KNeighborsClassifier(5).fit(x, y).score(test_x, test_y) > 0.98
    assert np.hypot(x["x1"], x["x2"]).max() <= 1.0001
