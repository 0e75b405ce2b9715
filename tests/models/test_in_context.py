"""Laws of the pretrained models, through the real packages with weights of random numbers."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch

from pipeline.base import weights
from pipeline.base.errors import ArtifactError, SpecError, TrainingError
from pipeline.base.interruption import Stopped
from pipeline.base.share import Share, ShareDone
from pipeline.config.run import FeatureSteps
from pipeline.metrics import METRICS, Task
from pipeline.models.base import FitContext
from pipeline.models.in_context import model as model_module
from pipeline.models.in_context import passes
from pipeline.models.in_context.engine import Context, Limits, Reading
from pipeline.models.in_context.passes import Stage
from pipeline.models.in_context.sampling import sample_context
from pipeline.models.registry import MODELS
from tests.models.conftest import PRETRAINED, TASKS, default_model, make_problem, make_splits
from tests.models.pretrained import write_weights

SMALL = {"estimators": 2, "context_rows": 40}

pytestmark = pytest.mark.slow  # importing the packages takes seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(params=PRETRAINED)
def name(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install -e '.[foundation]'")
    return str(request.param)


@pytest.fixture
def given(name: str, folder: Path) -> Callable[[Task], str]:
    return lambda task: str(write_weights(name, folder, is_regression=task == "regression"))


def fitted(
    name: str, weights: str, problem: Any, n_seeds: int = 1, context: FitContext | None = None, **params: Any
) -> Any:
    model = default_model(name, {**SMALL, "weights": weights, **params})
    return model.fit(problem, make_splits(), seed=1, n_seeds=n_seeds, context=context or FitContext())


@pytest.mark.parametrize("task", TASKS)
def test_it_is_stored_whole_and_predicts_any_row(
    name: str, given: Callable[[Task], str], task: Task, tmp_path: Path
) -> None:
    problem = make_problem(task)
    model = fitted(name, given(task), problem, n_seeds=2)
    assert model.oof_prediction.shape == problem.prediction_shape
    assert np.isfinite(model.oof_prediction).all()
    assert np.ptp(model.oof_prediction, axis=0).min() > 0
    new = problem.test.copy()
    new.loc[0, ["zone", "qual", "cabin"]] = "never seen"
    new.loc[1] = np.nan
    prediction = model.predict(new, [0, 1, 2])
    if task != "regression":
        np.testing.assert_allclose(prediction.sum(axis=1), 1.0, rtol=1e-5)
    stored = tmp_path / "model"
    model.save(stored)
    assert sorted(path.name for path in stored.iterdir()) == ["contexts.npz", "model.json"]
    np.testing.assert_array_equal(MODELS[name].load(stored).predict(new, [0, 1, 2]), prediction)


def test_a_prediction_is_what_the_package_makes_of_the_same_rows(folder: Path) -> None:
    """Split, encoding, scale of the target: the valid rows of a fold, read from its train rows alone."""
    tabicl = pytest.importorskip("tabicl")
    path = write_weights("tabicl", folder, is_regression=False)
    problem = make_problem("multiclass", features=FeatureSteps())
    model = fitted("tabicl", str(path), problem, context_rows=1000)
    split = make_splits()[0]
    x = model.stored.encoders[0].transform(problem.train).values
    seed = model._reading((0, 0, 0)).seed
    alone = tabicl.TabICLClassifier(
        model_path=path, allow_auto_download=False, n_estimators=2, random_state=seed, device="cpu"
    ).fit(x[split.train_rows], problem.target[split.train_rows].astype(int))
    np.testing.assert_allclose(
        model.oof_prediction[split.valid_rows], alone.predict_proba(x[split.valid_rows]), rtol=1e-4
    )


def test_several_targets_of_two_classes_are_read_side_by_side(
    name: str, given: Callable[[Task], str], tmp_path: Path
) -> None:
    problem = make_problem("binary")
    several = np.column_stack([problem.target, 1.0 - problem.target, np.zeros(len(problem.target))])
    model = fitted(name, given("binary"), replace(problem, target=several))
    assert model.oof_prediction.shape == (90, 3)
    assert model.oof_prediction[:, 2].max() == 0.0
    model.save(tmp_path)
    prediction = model.predict(problem.test, [0, 1, 2])
    np.testing.assert_array_equal(MODELS[name].load(tmp_path).predict(problem.test, [0, 1, 2]), prediction)


def test_a_class_that_the_fit_rows_lack_gets_no_probability(name: str, given: Callable[[Task], str]) -> None:
    problem = make_problem("multiclass")
    target = np.where(np.arange(90) % 3 == 0, problem.target, np.minimum(problem.target, 1))
    model = fitted(name, given("multiclass"), replace(problem, target=target))
    assert model.oof_prediction[::3, 2].max() == 0.0


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_workers_and_threads_do_not_change_a_bit(name: str, given: Callable[[Task], str], task: Task) -> None:
    problem, before, found = make_problem(task), torch.get_num_threads(), []
    for n_workers, n_threads in ((1, 1), (3, 4)):
        torch.set_num_threads(n_threads)
        model = fitted(name, given(task), problem, context=FitContext(n_workers=n_workers))
        found.append([model.oof_prediction, model.predict(problem.test, [0, 1, 2])])
        assert torch.get_num_threads() == n_threads
    torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_median_is_predicted_for_metrics_of_absolute_errors(name: str, given: Callable[[Task], str]) -> None:
    problem = make_problem("regression", target_transform="none")
    mean = fitted(name, given("regression"), problem).oof_prediction
    median = fitted(name, given("regression"), replace(problem, metric=METRICS["mae"])).oof_prediction
    assert not np.allclose(mean, median)


def test_a_fit_goes_on_from_its_checkpoints_and_processes_share_it(
    name: str, given: Callable[[Task], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem("binary")
    whole = fitted(name, given("binary"), problem).oof_prediction
    for number in range(2):
        with pytest.raises(ShareDone):
            fitted(name, given("binary"), problem, context=FitContext(checkpoints=tmp_path, share=Share(2, number)))
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr(type(MODELS[name].make.args[0]), "reader", None)  # type: ignore[attr-defined]
    again = fitted(name, given("binary"), problem, context=FitContext(checkpoints=tmp_path, share=Share(2)))
    np.testing.assert_array_equal(again.oof_prediction, whole)


def test_a_pass_through_the_network_can_be_interrupted(name: str, given: Callable[[Task], str]) -> None:
    """One pass can take minutes on a CPU."""
    engine = MODELS[name].make.args[0]  # type: ignore[attr-defined]
    n_asked = 0

    def check_stop() -> None:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 3:
            raise Stopped

    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    how = Reading(Path(given("binary")), False, False, 1, 0, torch.device("cpu"))
    predict = engine.reader(Context(x, (x[:, 0] > 0).astype(int), ()), how, check_stop)
    with pytest.raises(Stopped):
        predict(x)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        fitted(name, given("binary"), make_problem("binary"), context=FitContext(stop=stop))


# --- weights


def test_weights_are_found_by_file_folder_and_variable(
    name: str, given: Callable[[Task], str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in TASKS:
        given(task)
    problem = make_problem("binary")
    by_file = fitted(name, given("binary"), problem).oof_prediction
    monkeypatch.setenv(weights.VARIABLE, str(folder.parent))
    for place in (str(folder), "", "not/here/" + Path(given("binary")).name):
        np.testing.assert_array_equal(fitted(name, place, problem).oof_prediction, by_file)


def test_without_weights_nothing_is_fetched(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    for place in ("", str(tmp_path), str(tmp_path / "none.ckpt")):
        with pytest.raises(SpecError, match=r"no weights for classes[\s\S]*Nothing is downloaded by itself"):
            fitted(name, place, make_problem("binary"))


def test_hugging_face_is_asked_where_the_user_asks(
    name: str, given: Callable[[Task], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repo_id: str, filename: str) -> str:
        asked.append(f"{repo_id}/{filename}")
        if len(asked) > 1:
            raise OSError("no network")
        return given("binary")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    problem = make_problem("binary")
    found = fitted(name, "huggingface", problem)
    assert asked[0].startswith({"tabicl": "jingang/TabICL/tabicl-classifier-v2", "tabpfn": "Prior-Labs/tabpfn"}[name])
    np.testing.assert_array_equal(found.oof_prediction, fitted(name, given("binary"), problem).oof_prediction)
    with pytest.raises(SpecError, match=r"cannot be fetched from .*: no network"):
        fitted(name, "huggingface", problem)


def test_other_files_are_one_message(name: str, given: Callable[[Task], str], tmp_path: Path) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"nothing")
    with pytest.raises(SpecError, match=f"broken.ckpt cannot be read as weights of {name} for classes"):
        fitted(name, str(tmp_path / "broken.ckpt"), make_problem("binary"))
    with pytest.raises(SpecError, match="weights"):
        fitted(name, given("regression"), make_problem("binary"))
    for number in (1, 2):
        (tmp_path / f"{name}-{number}.ckpt").write_bytes(b"")
    with pytest.raises(SpecError, match=f"several weights of {name} fit: {name}-1.ckpt, {name}-2.ckpt"):
        fitted(name, str(tmp_path), make_problem("binary"))


def test_a_package_that_is_missing_is_one_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match=rf"the package {name} is not installed\npip install -e '.\[foundation\]'"):
        fitted(name, "", make_problem("binary"))


def test_a_stored_model_knows_its_weights(name: str, given: Callable[[Task], str], tmp_path: Path) -> None:
    own = tmp_path / "weights" / Path(given("binary")).name
    own.parent.mkdir()
    own.write_bytes(Path(given("binary")).read_bytes())
    problem = make_problem("binary")
    model = fitted(name, str(own), problem)
    model.save(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (stored["weights"], stored["weights_sha256"]) == (str(own), weights.sha256_of(own))
    loaded = MODELS[name].load(tmp_path / "model")
    own.unlink()
    with pytest.raises(ArtifactError, match="the file of weights is not there"):
        loaded.predict(problem.test, [0])
    own.write_bytes(b"others")
    with pytest.raises(ArtifactError, match="is not the file that the run was made with"):
        loaded.predict(problem.test, [0])


# --- limits


def test_tables_beyond_the_limits_are_refused_before_the_training(
    name: str, given: Callable[[Task], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "limits_of", lambda *_, **__: Limits(rows=30, columns=4, classes=2))
    with pytest.raises(SpecError, match="the target has 3 classes, the weights know 2"):
        fitted(name, given("multiclass"), make_problem("multiclass"))
    with pytest.raises(SpecError, match="the table has 5 columns after encoding, the weights take 4"):
        fitted(name, given("binary"), make_problem("binary"))
    monkeypatch.setattr(model_module, "limits_of", lambda *_, **__: Limits(rows=30, columns=None, classes=None))
    assert all(len(y) == 30 for y in fitted(name, given("binary"), make_problem("binary"), context_rows=50).y.values())


def test_tabpfns_limits_are_those_of_its_weights(folder: Path) -> None:
    pytest.importorskip("tabpfn")
    engine = MODELS["tabpfn"].make.args[0]  # type: ignore[attr-defined]
    path = write_weights("tabpfn", folder, is_regression=False)
    assert engine.limits(path, is_regression=False) == Limits(50_000, 2000, 10)


def test_rows_of_weight_0_are_left_out_and_other_weights_are_told(
    name: str, given: Callable[[Task], str], capfd: pytest.CaptureFixture[str]
) -> None:
    row_weight = 1.0 + np.arange(90.0) % 2
    row_weight[:30] = 0.0
    problem = make_problem("regression", sample_weight=row_weight)
    model = fitted(name, given("regression"), problem, context_rows=1000)
    assert [len(y) for y in model.y.values()] == [40, 40, 40]
    assert "the weights of rows are not used" in capfd.readouterr().err


def test_what_memory_does_not_hold_is_said_before_the_training_and_passes_fit_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(torch.device("cpu"), n_workers=4)

    def sizes(free: float, *shape: int) -> tuple[int, int]:
        monkeypatch.setattr(passes, "free_memory", lambda: int(free))
        return stage.sizes(10, (shape[0], shape[1]))

    assert sizes(1e12, 10_000, 80) == (4, 10_000)
    assert sizes(1e12, 500, 80) == (4, passes.USUAL_AT_ONCE)
    for free in (8e9, 4e9, 2e9):
        n_parallel, at_once = sizes(free, 1000, 80)
        assert n_parallel * (1000 + at_once) * 80 * passes.BYTES_OF_CELL <= free / 2
        assert at_once >= passes.FEWEST_AT_ONCE
    with pytest.raises(TrainingError, match=r"a context of 10000 rows x 80 columns takes about 8.1 GB") as caught:
        sizes(8e9, 10_000, 80)
    fewer = int(str(caught.value).rpartition("=")[2])
    assert 4000 < fewer < 5000
    sizes(8e9, fewer, 80)


# --- the sample of the context


def test_a_sample_has_every_class_in_its_share() -> None:
    y = np.repeat([0.0, 1.0, 2.0, 3.0], [7000, 2000, 999, 1])
    np.random.default_rng(0).shuffle(y)
    chosen = sample_context(y, 100, 5, is_regression=False)
    assert len(np.unique(chosen)) == 100
    counts = np.bincount(y[chosen].astype(int))
    assert counts[3] == 1
    np.testing.assert_allclose(counts[:3], [70, 20, 10], atol=1)
    np.testing.assert_array_equal(chosen, sample_context(y, 100, 5, is_regression=False))
    assert (chosen != sample_context(y, 100, 6, is_regression=False)).any()


def test_a_sample_covers_the_range_of_a_numeric_target() -> None:
    y = np.random.default_rng(0).lognormal(size=5000)
    chosen = sample_context(y, 200, 0, is_regression=True)
    np.testing.assert_allclose(np.quantile(y[chosen], [0.1, 0.5, 0.9]), np.quantile(y, [0.1, 0.5, 0.9]), rtol=0.05)
    np.testing.assert_array_equal(sample_context(y, 5000, 0, is_regression=True), np.arange(5000))
