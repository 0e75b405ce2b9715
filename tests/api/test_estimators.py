"""The estimators are scikit-learn's in every way but those named here, and read a frame as its dtypes say."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipeline import TabularClassifier, TabularRegressor
from pipeline.base.errors import ArtifactError, DataError, SpecError
from pipeline.metrics import METRICS

QUICK: dict[str, Any] = {"model": "ridge", "n_folds": 2, "n_workers": 1, "device": "cpu"}
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 lies in one fold, two equal rows may lie in two"
}


@pytest.mark.slow
@parametrize_with_checks(
    [TabularRegressor(**QUICK), TabularClassifier(**QUICK)], expected_failed_checks=lambda _: EXPECTED_FAILURES
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_column_is_what_its_dtype_says(homes: pd.DataFrame, price: pd.Series) -> None:
    fitted = TabularRegressor(**QUICK).fit(homes, price)
    kinds = {recipe.source: recipe.kind for recipe in fitted._recipes}
    assert kinds == {
        **{"area": "number", "zone": "code", "quality": "ordered", "roof": "category"},
        **{"garden": "flag", "sold": "date", "rooms": "number"},
    }
    as_objects = homes.astype({"zone": object, "quality": object}).astype(object)
    as_objects["sold"] = homes["sold"].astype("str").mask(homes["sold"].isna())
    np.testing.assert_allclose(fitted.predict(as_objects), fitted.predict(homes))


def test_text_that_reads_na_is_a_value_of_a_frame(homes: pd.DataFrame, price: pd.Series) -> None:
    fitted = TabularRegressor(**QUICK).fit(homes, price + 90.0 * (homes["roof"] == "NA"))
    gap = fitted.predict(homes.assign(roof="NA")) - fitted.predict(homes.assign(roof=None))
    assert gap.min() > 30


def test_the_cv_score_is_that_of_the_out_of_fold_predictions(homes: pd.DataFrame, price: pd.Series) -> None:
    fitted = TabularRegressor(metric="mae", **QUICK).fit(homes, price)
    assert fitted.cv_score_ == METRICS["mae"](price.to_numpy(), fitted.oof_prediction_)
    assert len(fitted.fold_scores_) == 2
    assert list(fitted.feature_names_in_) == list(homes.columns)


def test_probabilities_stand_in_the_order_of_the_classes(homes: pd.DataFrame, price: pd.Series) -> None:
    label = pd.cut(price, 3, labels=["low", "mid", "high"]).astype("str")
    fitted = TabularClassifier(**QUICK).fit(homes, label)
    assert fitted.classes_.tolist() == ["high", "low", "mid"]
    probability = fitted.predict_proba(homes)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert (fitted.predict(homes) == fitted.classes_[probability.argmax(axis=1)]).all()
    oof = fitted.classes_[fitted.oof_prediction_.argmax(axis=1)]
    assert fitted.cv_score_ == pytest.approx((oof == label).mean())


def test_several_targets_are_predicted_at_once(homes: pd.DataFrame, price: pd.Series) -> None:
    fitted = TabularRegressor(**QUICK).fit(homes, np.column_stack([price, -price]))
    assert fitted.predict(homes.head(3)).shape == (3, 2)
    assert fitted.oof_prediction_.shape == (60, 2)


def test_a_row_of_weight_0_takes_no_part(homes: pd.DataFrame, price: pd.Series) -> None:
    weight = np.repeat([1.0, 0.0], 30)
    weighted = TabularRegressor(**QUICK).fit(homes, price, sample_weight=weight)
    alone = TabularRegressor(**QUICK).fit(homes.head(30), price.head(30))
    np.testing.assert_allclose(weighted.predict(homes), alone.predict(homes))
    assert np.isnan(weighted.oof_prediction_[30:]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        QUICK,
        {**QUICK, "model": "random_forest", "params": {"n_trees": 3}},
        {**QUICK, "model": None, "params": {"epochs": 2, "hidden_sizes": [4], "seeds": 1}},
        {**QUICK, "params": {"final": "refit"}},
    ],
)
def test_a_saved_estimator_predicts_the_same(
    homes: pd.DataFrame, price: pd.Series, tmp_path: Path, settings: dict[str, Any]
) -> None:
    fitted = TabularRegressor(**settings).fit(homes, price)
    fitted.save(tmp_path / "saved")
    loaded = TabularRegressor.load(tmp_path / "saved")
    assert loaded.get_params() == fitted.get_params()
    for other in (loaded, pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.predict(homes), fitted.predict(homes))
        np.testing.assert_array_equal(other.oof_prediction_, fitted.oof_prediction_)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]


def test_a_saved_classifier_keeps_its_labels(homes: pd.DataFrame, price: pd.Series, tmp_path: Path) -> None:
    fitted = TabularClassifier(metric="f1", **QUICK).fit(homes, price > price.median())
    fitted.save(tmp_path)
    loaded = TabularClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(homes), fitted.predict(homes))
    assert loaded.predict(homes).dtype == np.bool_
    with pytest.raises(ArtifactError, match="holds a TabularClassifier"):
        TabularRegressor.load(tmp_path)
    (tmp_path / "estimator.json").write_text("{}")
    with pytest.raises(ArtifactError, match="not a fitted estimator"):
        TabularClassifier.load(tmp_path)


@pytest.mark.slow
def test_it_works_inside_scikit_learn(homes: pd.DataFrame, price: pd.Series) -> None:
    scores = cross_val_score(TabularRegressor(**QUICK), homes, price, cv=2, error_score="raise")
    assert scores.mean() > 0.4
    steps = make_pipeline(FunctionTransformer(lambda frame: frame.drop(columns="zone")), TabularRegressor(**QUICK))
    assert steps.fit(homes, price).score(homes, price) > 0.5
    assert clone(TabularRegressor(**QUICK)).get_params() == TabularRegressor(**QUICK).get_params()


@pytest.mark.slow
def test_the_same_random_state_gives_the_same_folds(homes: pd.DataFrame, price: pd.Series) -> None:
    first, again, other = (TabularRegressor(random_state=seed, **QUICK).fit(homes, price) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.oof_prediction_, again.oof_prediction_)
    assert not np.array_equal(first.oof_prediction_, other.oof_prediction_)


@pytest.mark.slow
def test_preset_best_makes_an_ensemble(homes: pd.DataFrame, price: pd.Series, tmp_path: Path) -> None:
    settings = {**QUICK, "model": None}
    fitted = TabularRegressor("best", minutes=0.05, **settings).fit(homes, price)
    assert fitted.cv_score_ == METRICS["rmse"](price.to_numpy(), fitted.oof_prediction_)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(TabularRegressor.load(tmp_path).predict(homes), fitted.predict(homes))


MISTAKES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "model": ({"model": "rigde"}, SpecError, "Did you mean 'ridge'"),
    "preset": ({"preset": "fst"}, SpecError, "unknown preset 'fst'"),
    "metric": ({"metric": "accuracy"}, ValueError, "cannot score a regression"),
    "minutes": ({"minutes": 3.0}, SpecError, "only preset best"),
    "best and model": ({"preset": "best"}, SpecError, "chooses models"),
    "folds": ({"n_folds": 1}, SpecError, "n_folds is 1"),
    "parameter": ({"params": {"learning_rate": 1}}, SpecError, "learning_rate"),
}


@pytest.mark.parametrize(("settings", "error", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_settings_is_told(
    homes: pd.DataFrame, price: pd.Series, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        TabularRegressor(**{**QUICK, **settings}).fit(homes, price)


def test_other_columns_than_fitted_are_refused(homes: pd.DataFrame, price: pd.Series) -> None:
    fitted = TabularRegressor(**QUICK).fit(homes, price)
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- surface"):
        fitted.predict(homes.rename(columns={"area": "surface"}))
    with pytest.raises(ValueError, match="same order"):
        fitted.predict(homes[homes.columns[::-1]])
    with pytest.raises(DataError, match="X, column 'area', row 3: 'big'"):
        fitted.predict(homes.assign(area=homes["area"].astype(object).where(homes.index != 2, "big")))


def test_a_target_that_cannot_be_learned_is_told(homes: pd.DataFrame, price: pd.Series) -> None:
    with pytest.raises(DataError, match="needs targets > 0"):
        TabularRegressor(metric="log_rmse", **QUICK).fit(homes, price - 500)
    with pytest.raises(DataError, match="only 1 class, 'a'"):
        TabularClassifier(**QUICK).fit(homes, ["a"] * 60)
    with pytest.raises(DataError, match="the class rare has 1 row"):
        TabularClassifier(**QUICK).fit(homes, ["rare"] + ["a"] * 59)
    with pytest.raises(DataError, match=r"X, column 'area', row 2: .*infinity"):
        TabularRegressor(**QUICK).fit(homes.assign(area=[0.0, np.inf] * 30), price)
