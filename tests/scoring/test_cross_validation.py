"""Laws of cross-validation: one function for a single configuration and an ensemble; what diverges is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.base.errors import SpecError, TrainingError
from pipeline.config.run import Part, RunConfig
from pipeline.models.base import FitContext
from pipeline.models.run_configuration import resolved
from pipeline.scoring.cross_validation import check_configuration, cross_validate, fit_splits
from tests.models.conftest import make_problem, make_splits

SPLITS = make_splits()


def config_of(model: str = "ridge", **settings: Any) -> RunConfig:
    return resolved(RunConfig(preset="test", model=model, **settings))


def test_an_ensemble_is_the_average_of_its_parts_on_the_scale_of_the_metric() -> None:
    problem, shares = make_problem("regression"), []
    parts = [Part(model="ridge", weight=3.0), Part(model="baseline", weight=1.0)]
    whole = cross_validate(config_of(parts=parts), lambda _: problem, SPLITS, FitContext())
    alone = [cross_validate(config_of(part.model), lambda _: problem, SPLITS, FitContext()) for part in parts]
    for name in ("oof_prediction", "test_prediction"):
        logs = [np.log(getattr(one, name)) for one in alone]
        np.testing.assert_allclose(np.log(getattr(whole, name)), 0.75 * logs[0] + 0.25 * logs[1], rtol=1e-9)
    cv_score, fold_scores = whole.scores()
    assert cv_score == problem.metric(problem.target, whole.oof_prediction)
    assert fold_scores == [
        problem.metric(problem.target[split.valid_rows], whole.oof_prediction[split.valid_rows]) for split in SPLITS
    ]
    config = config_of("random_forest", params={"n_trees": 5})
    for seed_offset in (0, 0, 1):
        found = cross_validate(config, lambda _: problem, SPLITS, FitContext(), seed_offset=seed_offset)
        shares.append(found.scores()[0])
    assert shares[0] == shares[1] != shares[2]


def test_rows_that_no_split_validates_have_no_prediction_and_no_say() -> None:
    problem = make_problem("binary")
    found = cross_validate(config_of("logistic"), lambda _: problem, SPLITS[:2], FitContext())
    outside = SPLITS[2].valid_rows
    assert np.isnan(found.oof_prediction[outside]).all()
    validated = np.sort(np.concatenate([split.valid_rows for split in SPLITS[:2]]))
    expected = problem.metric(problem.target[validated], found.oof_prediction[validated])
    assert found.scores()[0] == expected
    report = found.classification_report(["no", "yes"])
    assert report is not None
    assert [one.label for one in report.by_class] == ["no", "yes"]


@pytest.mark.parametrize(("model", "params"), [("ridge", {}), ("mlp", {"epochs": 2}), ("lightgbm", {"rounds": 5})])
def test_a_fit_of_some_rows_sees_no_other_rows(model: str, params: dict[str, Any]) -> None:
    splits = make_splits(n_rows=400)
    problem, config = make_problem("regression", n_train=400), config_of(model, params=params, max_fit_rows=100)
    drawn = fit_splits(config, splits, seed=0)
    for split, whole in zip(drawn, splits, strict=True):
        assert len(split.train_rows) == 100 < len(whole.train_rows)
        assert set(split.train_rows) <= set(whole.train_rows)
        assert np.all(np.diff(split.train_rows) > 0)  # in their order
        assert split.valid_rows is whole.valid_rows
    before = cross_validate(config, lambda _: problem, splits[:1], FitContext()).fitted[0].oof_prediction
    target = problem.target.copy()
    target[np.setdiff1d(np.arange(400), drawn[0].train_rows)] *= 100.0
    other = replace(problem, target=target)
    after = cross_validate(config, lambda _: other, splits[:1], FitContext()).fitted[0].oof_prediction
    np.testing.assert_array_equal(after, before)
    assert cross_validate(config, lambda _: problem, splits, FitContext(), seed_offset=1).config == config
    assert fit_splits(config, splits, seed=1)[0].train_rows.tolist() != drawn[0].train_rows.tolist()
    assert fit_splits(config_of(model, params=params), splits, seed=0) == splits


def test_a_network_that_diverges_is_a_training_error() -> None:
    problem = make_problem("regression", target_transform="none")
    config = config_of("mlp", params={"lr": 1e3, "optimizer": "sgd", "epochs": 30})
    with pytest.raises(TrainingError):
        cross_validate(config, lambda _: problem, SPLITS, FitContext())


def test_predictions_that_are_not_finite_are_a_training_error() -> None:
    problem = make_problem("regression")
    found = cross_validate(config_of("baseline"), lambda _: problem, SPLITS, FitContext())
    found.fitted[0].oof_prediction[[3, 5]] = np.inf
    with pytest.raises(TrainingError, match="2 valid rows are not finite"):
        replace(found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"calibration": "isotonic"}, "no probabilities"),
        ({"threshold": "best"}, "no threshold to choose"),
    ],
)
def test_what_cannot_begin_is_refused(settings: dict[str, Any], words: str) -> None:
    problem = make_problem("regression")
    with pytest.raises(SpecError, match=words):
        check_configuration(config_of(**settings), problem.task, problem.metric)
