"""Laws of resumed studies: what is proposed and pruned depends on the study alone, not on the process or its kills."""

from __future__ import annotations

import random
import shutil
from typing import Any

import pytest
from optuna.trial import TrialState

from pipeline.competition.store import FeatureStore
from pipeline.models.base import FitContext
from pipeline.models.run_configuration import load_run_config
from pipeline.tuning.journal import Journal
from pipeline.tuning.ownership import OWNER, ordinals
from pipeline.tuning.session import Tuning, open_tuning
from pipeline.tuning.study import finished_trials, quiet_optuna
from tests.conftest import Toy

SPACE = """
[tune.mlp.hidden_sizes]
choices = [[8], [5], [4, 4]]

[tune.mlp.lr]
low = 1e-3
high = 1e-1
log = true

[tune.mlp.dropout]
low = 0.0
high = 0.5
"""
N_TRIALS, BATCH = 22, 4  # TPE proposes at random before the sixteenth


class Killed(BaseException):
    """Raised by every write of a process that was killed."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return the features of a competition with a small search space."""
    from pipeline.competition.workspace import Workspace
    from tests.conftest import SPEC, toy_tables

    workspace = Workspace(tmp_path_factory.mktemp("sampling"), "toy")
    workspace.raw.mkdir(parents=True)
    train, test = toy_tables()
    sample = test[["id"]].assign(price=1000.0)
    for name, table in {"train": train, "test": test, "sample_submission": sample}.items():
        table.to_csv(workspace.raw / f"{name}.csv", index=False)
    workspace.spec.write_text(SPEC + SPACE)
    toy = Toy(workspace)
    assert toy.run("features").exit_code == 0
    return toy.store()


def opened(store: FeatureStore, sampler: str, pruner: str) -> Tuning:
    base = load_run_config("fast", overrides=["epochs=4", "seeds=1"])
    return open_tuning(store, base, sampler=sampler, pruner=pruner)


@quiet_optuna()
def trained(store: FeatureStore, sampler: str, pruner: str, n_trials: int = N_TRIALS) -> Tuning:
    tuning = opened(store, sampler, pruner)
    tuning.tuner(FitContext()).run(n_trials, BATCH, lambda: True)
    return tuning


def trials_of(tuning: Tuning) -> dict[int, Any]:
    """Return state, values and score of each finished trial, by the number that it has without kills."""
    number_of = ordinals(tuning.study)
    return {number_of[one.number]: (one.state, one.params, one.value) for one in finished_trials(tuning.study)}


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "halving"), ("random", "none"), ("gp", "median")])
def test_a_killed_study_ends_with_the_trials_of_one_that_was_not(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, sampler: str, pruner: str
) -> None:
    folder = store.workspace.tuning("mlp")
    shutil.rmtree(folder, ignore_errors=True)
    append_logs, n_writes, last = Journal.append_logs, 0, 10**9

    def dying(journal: Journal, logs: list[dict[str, Any]]) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes > last:
            raise Killed
        append_logs(journal, logs)

    monkeypatch.setattr(Journal, "append_logs", dying)
    wanted = trials_of(trained(store, sampler, pruner))
    assert len(wanted) == N_TRIALS
    assert sorted(wanted) == list(range(N_TRIALS))
    n_all, rng, n_killed = n_writes, random.Random(0), 0
    while n_killed < 2:
        shutil.rmtree(folder)
        for _ in range(2):
            n_writes, last = 0, rng.randrange(10, n_all // 2)
            with pytest.raises(Killed):
                trained(store, sampler, pruner)
        last = 10**9
        tuning = opened(store, sampler, pruner)
        running = tuning.study.get_trials(states=(TrialState.RUNNING,))
        if any(OWNER not in one.user_attrs for one in running):  # it is given back later: nobody knows whose it is
            continue
        n_killed += 1
        assert trials_of(trained(store, sampler, pruner)) == wanted


def test_a_study_that_is_opened_again_proposes_what_it_would_have_proposed(store: FeatureStore) -> None:
    shutil.rmtree(store.workspace.tuning("mlp"), ignore_errors=True)
    wanted = trials_of(trained(store, "random", "none", 8))
    shutil.rmtree(store.workspace.tuning("mlp"))
    for n_trials in (4, 6, 8):
        tuning = trained(store, "random", "none", n_trials)
    assert trials_of(tuning) == wanted
