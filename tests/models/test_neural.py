"""Laws of the packed networks as models: what is stored predicts as what was trained, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import FeatureSteps
from pipeline.metrics import METRICS
from pipeline.models.base import FitContext
from pipeline.models.networks import model
from pipeline.models.networks.architectures import FEW_NUMBERS, MLPParams
from pipeline.models.networks.columns import Columns
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import Fit, Pruned, fit_many, tensors_for
from pipeline.models.networks.params import NeuralParams
from pipeline.models.registry import entry_of, model_params
from pipeline.nets import training
from pipeline.nets.plan import PackJob
from pipeline.nets.workers import run_packs
from tests.models.conftest import default_model

N_ROWS = 60
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plr": {"number_embedding": "plr"},
    "pbld": {"number_embedding": "pbld"},
    "category embedding": {"category_embedding": 3},
    "norm, residual": {"hidden_sizes": [8, 8], "layer_norm": True, "residual": True},
    "heads": {"heads": 3},
    "input scale, mish": {"input_scale": True, "activation": "mish"},
    "all": {"number_embedding": "pbld", "category_embedding": 2, "layer_norm": True, "heads": 2, "input_scale": True},
}


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs are divided among the machine's cores: here every machine has one."""
    monkeypatch.setattr("pipeline.models.networks.model.cpu_count", lambda: 1)


def make_problem(task: Any) -> Problem:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=N_ROWS),
            "year": rng.integers(1990, 2020, N_ROWS).astype(float),
            "town": pd.Series(rng.choice(["a", "b", "c"], N_ROWS), dtype="str"),
            "kind": pd.Series(np.where(np.arange(N_ROWS) < 6, "seldom", "often"), dtype="str"),
        }
    )
    value = frame["size"] + (frame["town"] == "a") + rng.normal(0, 0.1, N_ROWS)
    is_regression = task == "regression"
    target = value.to_numpy() if is_regression else np.digitize(value, [-0.5, 0.7]).astype(float)
    return Problem(
        train=frame,
        test=frame.head(5),
        target=target,
        roles={"size": "number", "year": "number", "town": "category", "kind": "category"},
        ordered={},
        task=task,
        n_classes=0 if is_regression else 3,
        metric=METRICS["rmse" if is_regression else "log_loss"],
        sample_weight=None,
        features=FeatureSteps(),
        scope="train",
        target_transform="none",
    )


SPLITS = [Split(np.arange(6, N_ROWS), np.arange(6)), Split(np.arange(0, 40), np.arange(40, N_ROWS))]  # one level unseen


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "multiclass"])
@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
def test_a_stored_network_predicts_what_the_trained_one_does(extras: dict[str, Any], task: str, tmp_path: Path) -> None:
    problem = make_problem(task)
    params = {"hidden_sizes": [8], "epochs": 15, "batch_size": 16, "lr": 0.02, **extras}
    fitted = default_model("mlp", params).fit(problem, SPLITS, seed=1, n_seeds=2, context=FitContext())
    predicted = fitted.predict(problem.train, [0, 1])
    assert predicted.shape == ((N_ROWS,) if task == "regression" else (N_ROWS, 3))
    fitted.save(tmp_path)
    stored = entry_of("mlp").load(tmp_path)
    assert np.array_equal(stored.predict(problem.train, [0, 1]), predicted)
    floor = problem.metric(problem.target, problem.target.mean() + 0 * predicted) if task == "regression" else np.log(3)
    assert problem.metric(problem.target, predicted) < 0.8 * floor
    if task == "multiclass":
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0)


# --- configurations that share a pack

MIXED: list[dict[str, Any]] = [
    {"dropout": 0.2, "lr": 0.02},
    {"label_smoothing": 0.1, "beta2": 0.95},
    {"frequency_scale": 0.4, "schedule": "cosine", "dropout": 0.1},
    {"frequency_scale": 0.02, "weight_decay": 0.1, "initialisation": "he"},
]
SHARED = {"hidden_sizes": [6], "number_embedding": "pbld", "epochs": 8, "batch_size": 16, "lr": 0.01}


def params_of(own: dict[str, Any]) -> NeuralParams:
    params = model_params("mlp", {**SHARED, **own}, where="test")
    assert isinstance(params, NeuralParams)
    return params


def fit_mixed(configurations: Sequence[dict[str, Any]], context: FitContext | None = None, **other: Any) -> list[Fit]:
    problem, params = make_problem("multiclass"), [params_of(own) for own in configurations]
    context = context or FitContext()
    tensors = tensors_for(params[0], problem, SPLITS, seed=1, device=context.device)
    return fit_many(params, problem, SPLITS, tensors, seed=1, n_seeds=2, context=context, **other)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[PackJob]:
    """The packs that are trained."""
    seen: list[PackJob] = []

    def spy(jobs: Sequence[PackJob], **other: Any) -> Any:
        seen.extend(jobs)
        return run_packs(jobs, **other)

    monkeypatch.setattr(model, "run_packs", spy)
    return seen


def assert_same_fit(one: Fit, other: Fit) -> None:
    assert isinstance(one, FittedNeural)
    assert isinstance(other, FittedNeural)
    assert one.stored.network == other.stored.network
    np.testing.assert_allclose(one.weights, other.weights, rtol=2e-3, atol=2e-4)
    scores = [[(line.train_score, line.valid_score) for line in fit.history] for fit in (one, other)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_configurations_that_differ_in_their_own_numbers_and_start_share_a_pack(jobs: list[PackJob]) -> None:
    together = fit_mixed(MIXED)
    assert [len(job.members) for job in jobs] == [4 * len(MIXED)]
    for own, fit in zip(MIXED, together, strict=True):
        (alone,) = fit_mixed([own])
        assert_same_fit(fit, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "own", [{"batch_size": 32}, {"hidden_sizes": [5]}, {"hidden_sizes": [4, 4]}, {"activation": "tanh"}, {"epochs": 9}]
)
def test_configurations_of_another_plan_or_kind_have_a_pack_of_their_own(jobs: list[PackJob], own: Any) -> None:
    fit_mixed([{"hidden_sizes": [4]}, {"hidden_sizes": [4], **own}])
    assert len(jobs) == 2


def test_momentum_is_a_members_own_where_there_is_any(jobs: list[PackJob]) -> None:
    fit_mixed([{"hidden_sizes": [4], "optimizer": "sgd", "momentum": value} for value in (0.0, 0.5, 0.9)])
    assert sorted(len(job.members) for job in jobs) == [4, 8]


def test_the_pruned_leave_a_shared_pack_and_the_others_are_as_alone(jobs: list[PackJob]) -> None:
    together = fit_mixed(MIXED, should_prune=lambda number, epoch, _: number in (0, 2) and epoch == 3)
    assert len(jobs) == 1
    assert [type(fit) for fit in together] == [Pruned, FittedNeural, Pruned, FittedNeural]
    for number in (1, 3):
        (alone,) = fit_mixed([MIXED[number]])
        assert_same_fit(together[number], alone)


@pytest.mark.slow
def test_a_shared_pack_that_was_interrupted_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[PackJob]
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    patient = [{**own, "patience": 2} for own in MIXED]
    whole, n_told = fit_mixed(patient), 0

    def interrupt(*_: Any) -> None:
        nonlocal n_told
        n_told += 1
        if n_told == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_mixed(patient, FitContext(checkpoints=tmp_path, on_progress=interrupt))
    resumed = fit_mixed(patient, FitContext(checkpoints=tmp_path))
    assert len(jobs) == 3
    for one, other in zip(whole, resumed, strict=True):
        assert isinstance(one, FittedNeural)
        assert isinstance(other, FittedNeural)
        assert np.array_equal(one.weights, other.weights)
        assert one.history == other.history


@pytest.mark.parametrize(("n_numbers", "is_embedded"), [(FEW_NUMBERS, True), (FEW_NUMBERS + 1, False)])
def test_auto_embeds_the_numbers_of_tables_that_have_few(n_numbers: int, is_embedded: bool) -> None:
    params = model_params("mlp", {"number_embedding": "auto"}, where="test")
    assert isinstance(params, MLPParams)
    network = params.network(Columns([f"x{j}" for j in range(n_numbers)], []), 1)
    assert network.numbers.is_on == is_embedded
