"""Laws of every entry of the registry: no leak, same bits, stored whole, weights count, any row can be predicted."""

from __future__ import annotations

import importlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.base.errors import PipelineError, SpecError
from pipeline.base.interruption import Stopped
from pipeline.config.run import FeatureSteps
from pipeline.config.run_report import RunReport
from pipeline.encoders.encoded import Encoded
from pipeline.encoders.table import TableEncoder
from pipeline.metrics import METRICS, Task
from pipeline.models.arrays.learners import FitRows, Job
from pipeline.models.arrays.model import ArrayModel
from pipeline.models.base import FitContext
from pipeline.models.registry import MODELS, entry_of
from pipeline.models.run_configuration import load_run_config, run_defaults
from tests.conftest import Toy
from tests.models.conftest import (
    ARRAY_MODELS,
    EXTRA,
    LEARNERS,
    PRETRAINED,
    QUICK,
    STEPS,
    TASKS,
    default_model,
    make_problem,
    make_splits,
    quick,
)

ONE_TASK: dict[str, Task] = {"huber": "regression", "logistic": "binary"}
CASES = [(name, task) for name in ARRAY_MODELS for task in TASKS if task == ONE_TASK.get(name, task)]
SEEDED = {name for name in ARRAY_MODELS if MODELS[name].is_seeded}


def fitted(name: str, task: Task, *, n_seeds: int = 1, context: FitContext | None = None, **changes: Any) -> Any:
    problem = make_problem(task, **changes)
    return quick(name).fit(problem, make_splits(), seed=1, n_seeds=n_seeds, context=context or FitContext())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_model_is_stored_whole_and_predicts_any_row(name: str, task: Task, tmp_path: Path) -> None:
    model = fitted(name, task, n_seeds=2)
    new = make_problem(task).test
    new.loc[0, ["zone", "qual", "cabin"]] = "never seen"
    new.loc[1] = pd.NA
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["members.npz", "model.json"]
    loaded = entry_of(name).load(tmp_path)
    for splits in ([0], [0, 1, 2]):
        prediction = model.predict(new, splits)
        assert np.isfinite(prediction).all()
        np.testing.assert_array_equal(loaded.predict(new, splits), prediction)
    if task == "regression":
        assert prediction.shape == (15,)
    else:
        assert prediction.shape == (15, 2 if task == "binary" else 3)
        np.testing.assert_allclose(prediction.sum(axis=1), 1.0, rtol=1e-6)
        assert (prediction >= 0).all()
    assert loaded.stored.n_seeds == (2 if name in SEEDED else 1)
    alone = loaded.predict(new[:1], [0])
    np.testing.assert_allclose(alone, model.predict(new, [0])[:1], rtol=1e-6)  # rows do not meet


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARRAY_MODELS if name != "baseline"])
def test_a_model_learns_more_than_the_floor(name: str) -> None:
    task = ONE_TASK.get(name, "regression")
    problem = make_problem(task)
    scores = {}
    for which in (name, "baseline"):
        more = {"max_rounds": 60} if which in EXTRA or which == "histogram_boosting" else {}
        model = quick(which, **more)
        found = model.fit(problem, make_splits(), seed=1, n_seeds=1, context=FitContext())
        scores[which] = problem.metric(problem.target, found.oof_prediction)
    assert scores[name] < 0.8 * scores["baseline"]


@pytest.mark.slow
@pytest.mark.parametrize("features", [STEPS, FeatureSteps(target_encoding=2, category_counts=True)])
@pytest.mark.parametrize("name", ["ridge", "random_forest", "mlp"])
def test_the_out_of_fold_prediction_is_that_of_each_splits_own_members(
    name: str, features: FeatureSteps, tmp_path: Path
) -> None:
    problem = make_problem("regression", features=features)
    problem = replace(problem, target=np.column_stack([problem.target, problem.target[::-1]]))
    splits, context = make_splits()[:2], FitContext(checkpoints=tmp_path, n_workers=2)
    for _ in range(2):  # the second fit takes all members from the first one's checkpoints
        model = quick(name)
        found = model.fit(problem, splits, seed=1, n_seeds=2, context=context)
        for number, split in enumerate(splits):
            expected = found.predict(problem.train.iloc[split.valid_rows], [number])
            np.testing.assert_array_equal(found.oof_prediction[split.valid_rows], expected)
        assert np.isnan(found.oof_prediction[make_splits()[2].valid_rows]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "random_forest", "mlp"])
def test_a_table_is_encoded_once_for_all_members_of_a_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n_rows, transform = list[int](), TableEncoder.transform

    def counted(self: TableEncoder, frame: pd.DataFrame, **options: Any) -> Encoded:
        n_rows.append(len(frame))
        return transform(self, frame, **options)

    monkeypatch.setattr(TableEncoder, "transform", counted)
    problem, model = make_problem("regression"), quick(name)
    model.fit(problem, make_splits(), seed=1, n_seeds=3, context=FitContext(n_workers=2))
    assert [number for number in n_rows if number] == 3 * [len(problem.train)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAY_MODELS)
def test_targets_and_values_of_held_rows_do_not_reach_their_predictions(name: str) -> None:
    task = ONE_TASK.get(name, "regression")
    problem, (split, *_) = make_problem(task), make_splits()
    target, train = problem.target.copy(), problem.train.copy()
    target[split.valid_rows] = target[split.valid_rows][::-1]
    train.loc[split.valid_rows, "rooms"] = 1000.0
    train.loc[split.valid_rows, "cabin"] = "X/1"
    changed = replace(problem, target=target, train=train)
    held = problem.train.iloc[split.valid_rows]
    one, other = (
        quick(name).fit(p, [split], seed=1, n_seeds=1, context=FitContext()).predict(held, [0])
        for p in (problem, changed)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAY_MODELS)
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(name: str) -> None:
    task = ONE_TASK.get(name, "binary")
    one, other = (fitted(name, task, context=FitContext(n_workers=number)) for number in (1, 3))
    test = make_problem(task).test
    np.testing.assert_array_equal(one.predict(test, [0, 1, 2]), other.predict(test, [0, 1, 2]))
    if name in SEEDED:
        two = fitted(name, task, n_seeds=2)
        assert (two.predict(test, [0]) != one.predict(test, [0])).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAY_MODELS)
def test_sample_weights_count(name: str) -> None:
    task = ONE_TASK.get(name, "regression")
    weight = np.where(np.arange(90) % 2 == 0, 0.05, 5.0)
    plain, weighted = fitted(name, task), fitted(name, task, sample_weight=weight)
    test = make_problem(task).test
    assert (plain.predict(test, [0]) != weighted.predict(test, [0])).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ridge", "text_linear", "kernel_ridge", "random_forest", "histogram_boosting", "lightgbm"]
)
def test_several_targets_are_learned_side_by_side(name: str) -> None:
    problem = make_problem("regression")
    both = np.column_stack([problem.target, 3.0 * problem.target])
    problem = replace(problem, target=both, metric=METRICS["rmse"])
    model = quick(name).fit(problem, make_splits(), seed=1, n_seeds=1, context=FitContext())
    prediction = model.predict(problem.test, [0, 1, 2])
    assert prediction.shape == (15, 2)
    assert np.corrcoef(prediction[:, 0], prediction[:, 1])[0, 1] > 0.7
    assert (prediction[:, 1] > 1.3 * prediction[:, 0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("huber", "cnn", *PRETRAINED)])
def test_several_targets_of_two_classes_are_learned_side_by_side(name: str, tmp_path: Path) -> None:
    problem = make_problem("binary")
    several = np.column_stack([problem.target, 1.0 - problem.target, np.zeros(len(problem.target))])
    problem = replace(problem, target=several)
    model = quick(name).fit(problem, make_splits(), seed=1, n_seeds=2, context=FitContext())
    assert model.oof_prediction.shape == (90, 3)
    if name != "baseline":
        assert METRICS["roc_auc"](several, model.oof_prediction) > 0.8
    prediction = model.predict(problem.test, [0, 1, 2])
    assert ((prediction >= 0.0) & (prediction <= 1.0)).all()
    assert prediction[:, 2].max() < (0.5 if MODELS[name].is_network else 1e-6)
    model.save(tmp_path)
    np.testing.assert_array_equal(MODELS[name].load(tmp_path).predict(problem.test, [0, 1, 2]), prediction)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ridge", "text_linear", "kernel_ridge", "svm", "random_forest", "histogram_boosting", *EXTRA]
)
def test_a_class_that_the_fit_rows_lack_gets_no_probability(name: str) -> None:
    problem = make_problem("multiclass")
    keeps = np.flatnonzero(problem.target != 1)
    split = make_splits()[0]
    model = quick(name).fit(
        problem,
        [replace(split, train_rows=np.intersect1d(split.train_rows, keeps))],
        seed=1,
        n_seeds=1,
        context=FitContext(),
    )
    prediction = model.predict(problem.test, [0])
    assert prediction[:, 1].max() < 1e-6
    np.testing.assert_allclose(prediction.sum(axis=1), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "random_forest", "extra_trees", *EXTRA])
def test_importance_names_the_columns_that_matter(name: str) -> None:
    importance = fitted(name, "regression").feature_importance()
    assert sum(importance.values()) == pytest.approx(1.0)
    assert next(iter(importance)) == "rooms"
    for other in ("neighbours", "histogram_boosting"):
        assert fitted(other, "regression").feature_importance() == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["histogram_boosting", *EXTRA])
def test_a_refit_takes_the_rounds_it_is_told(name: str) -> None:
    problem = make_problem("regression")
    model = quick(name)
    found = model.fit(problem, make_splits(), seed=1, n_seeds=1, context=FitContext())
    assert 1 <= (found.n_epochs or 0) <= 15
    again = model.with_epochs(7).fit(problem, make_splits(), seed=1, n_seeds=1, context=FitContext())
    assert again.n_epochs == 7
    assert fitted("ridge", "regression").n_epochs is None


@pytest.mark.parametrize("name", EXTRA)
def test_a_missing_library_is_told_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = importlib.import_module

    def without(module: str, *rest: Any) -> Any:
        if module == name:
            raise ImportError(f"No module named {name!r}")
        return plain(module, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    model = default_model(name, {})
    with pytest.raises(PipelineError, match=rf"needs the package '{name}'") as caught:
        model.fit(make_problem("binary"), make_splits(), seed=1, n_seeds=1, context=FitContext())
    assert "pip install -e '.[boosting]'" in caught.value.message


@pytest.mark.parametrize(("name", "task"), [("huber", "binary"), ("logistic", "regression")])
def test_a_model_of_the_wrong_task_is_refused(name: str, task: Task) -> None:
    with pytest.raises(SpecError, match="--model ridge predicts both"):
        fitted(name, task)


def test_a_loss_of_numbers_is_refused_for_classes() -> None:
    with pytest.raises(SpecError, match="is for regression"):
        quick("lightgbm", loss="mae").fit(
            make_problem("binary"), make_splits(), seed=1, n_seeds=1, context=FitContext()
        )


def test_a_killed_fit_goes_on_from_its_finished_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = FitContext(checkpoints=tmp_path)
    whole = fitted("random_forest", "regression", context=context)
    (tmp_path / "member-2.npz").unlink()
    calls = []
    from pipeline.models.arrays.trees import RandomForest

    plain = RandomForest.fit
    monkeypatch.setattr(RandomForest, "fit", lambda *given: calls.append(1) or plain(*given))
    again = fitted("random_forest", "regression", context=context)
    assert len(calls) == 1
    test = make_problem("regression").test
    np.testing.assert_array_equal(whole.predict(test, [0, 1, 2]), again.predict(test, [0, 1, 2]))


@pytest.mark.parametrize("name", ["ridge", "text_linear", *EXTRA])
def test_a_fit_that_is_told_to_stop_stops(name: str) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        fitted(name, "regression", context=FitContext(stop=stop))


@pytest.mark.parametrize("name", [name for name in LEARNERS if name not in ("baseline", "ridge", "neighbours")])
def test_a_learner_looks_by_itself_whether_it_shall_stop(name: str) -> None:
    model, rng, stop = quick(name), np.random.default_rng(0), threading.Event()
    assert isinstance(model, ArrayModel)
    x, n_classes = rng.normal(size=(60, 3)).astype(np.float32), 2 * (name != "huber")
    y = (x[:, 0] > 0).astype(np.float64)
    rows = FitRows(x, y, None, {}, n_classes, METRICS["log_loss" if n_classes else "rmse"])
    stop.set()
    with pytest.raises(Stopped):
        model.learner_class(model.params).fit(rows, Job(1, 1, torch.device("cpu"), stop))


# --- defaults by family


def test_every_model_has_its_familys_feature_steps_and_seeds() -> None:
    for name in ARRAY_MODELS:
        config = load_run_config("fast", model=name)
        assert config.features.text_parts == (name in LEARNERS)
        assert config.seeds == run_defaults(name)["seeds"]
    own = load_run_config("fast", model="ridge", overrides=["features.text_parts=false", "seeds=3"])
    assert (own.features.text_parts, own.seeds) == (False, 3)
    assert load_run_config("fast", model="mlp") == load_run_config("fast")


# --- through the command line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "random_forest", "lightgbm"])
def test_submit_and_predict_through_the_command_line(name: str, toy: Toy) -> None:
    quick(name)  # skips
    sets = [part for key, value in QUICK.get(name, {}).items() for part in ("--set", f"{key}={value}")]
    result = toy.run("submit", "--model", name, "--workers", "1", "--device", "cpu", *sets)
    assert result.exit_code == 0, result.output
    run = toy.only_run()
    report = RunReport.read(run.report)
    assert report.cv_score < 0.5
    assert next(iter(report.parts[0].feature_importance)) in ("area", "year")
    output = toy.workspace.root / "out.csv"
    test_file = str(toy.workspace.raw / "test.csv")
    result = toy.run("predict", run.name, test_file, "--output", str(output))
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(pd.read_csv(output)["price"], pd.read_csv(toy.submission())["price"], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_a_refit_on_all_rows(name: str, toy: Toy) -> None:
    quick(name)
    sets = [part for key, value in QUICK.get(name, {}).items() for part in ("--set", f"{key}={value}")]
    result = toy.run("submit", "--model", name, "--set", "final=refit", "--workers", "1", "--device", "cpu", *sets)
    assert result.exit_code == 0, result.output
    assert (toy.only_run().final_model / "model.json").exists()


def test_models_are_values() -> None:
    assert default_model("ridge", {}) == default_model("ridge", {})
    assert isinstance(default_model("ridge", {}), ArrayModel)
