"""Laws of shared studies: trials of dead owners come back, those of living ones stay, none is asked for twice."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import pytest

from pipeline.base.locks import this_machine
from pipeline.metrics import METRICS
from pipeline.tuning.ownership import (
    BEAT_EVERY_S,
    GRACE_S,
    KILLED,
    OWNER,
    OWNERLESS_GRACE_S,
    Ownership,
    ordinals,
    tell_if_mine,
)
from pipeline.tuning.study import finished_trials, open_study


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shared:
    """One study, and processes on it as `host:pid:token`."""

    storage: str | Path
    clock: Clock = field(default_factory=Clock)

    def process(self, owner: str) -> Ownership:
        study, backend = open_study(
            self.storage, "s", metric=METRICS["rmse"], sampler="random", pruner="none", epochs=4, seed=0
        )
        process = Ownership(study, backend, self.clock, owner)
        process.beat()
        return process


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    if request.param == "postgresql":
        return Shared(request.getfixturevalue("postgresql").database())
    return Shared(tmp_path / "s.log" if request.param == "journal" else f"sqlite:///{tmp_path}/s.db")


def started(process: Ownership, x: float = 0.5) -> optuna.Trial:
    """A trial the process trains."""
    process.study.enqueue_trial({"x": x})
    trial = process.study.ask()
    process.take(trial)
    trial.suggest_float("x", 0, 1)
    process.note_proposed(trial)
    return trial


def states(process: Ownership) -> list[str]:
    return [trial.state.name for trial in process.study.get_trials(deepcopy=False)]


@pytest.mark.slow
def test_a_silent_owner_on_another_host_loses_its_trials_after_the_grace_time(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    started(there)
    shared.clock.now += GRACE_S - 1
    here.reap()
    assert states(here) == ["RUNNING"]
    assert here.has_silent_others()
    shared.clock.now += 2
    here.reap()
    assert states(here) == ["FAIL", "WAITING"]
    assert here.study.trials[0].user_attrs[KILLED]
    assert finished_trials(here.study) == []
    again = here.study.ask()
    assert again.suggest_float("x", 0, 1) == 0.5


@pytest.mark.slow
def test_an_owner_that_beats_keeps_its_trials(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    started(there)
    for _ in range(50):
        shared.clock.now += BEAT_EVERY_S
        there.beat()
        here.reap()
    assert states(here) == ["RUNNING"]
    assert not here.has_silent_others()


@pytest.mark.slow
def test_two_that_reap_ask_once(shared: Shared) -> None:
    there, here, third = (shared.process(f"{name}:7:a") for name in ("there", "here", "third"))
    started(there)
    shared.clock.now += GRACE_S + 1
    (seen_by_third,) = third._running()
    here.reap()
    third._fail_and_enqueue(seen_by_third)  # it looked before `here` acted
    assert states(here) == ["FAIL", "WAITING"]


@pytest.mark.slow
def test_a_result_that_comes_too_late_neither_counts_twice_nor_crashes(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    trial = started(there)
    shared.clock.now += GRACE_S + 1
    here.reap()
    tell_if_mine(there.study, trial, values=0.1)
    assert finished_trials(here.study) == []
    there.give_back([trial])
    assert states(here) == ["FAIL", "WAITING"]


def test_a_result_that_comes_first_is_not_lost(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    trial = started(there)
    shared.clock.now += GRACE_S + 1
    (seen,) = here._running()
    here.storage.set_trial_user_attr(seen._trial_id, KILLED, True)
    tell_if_mine(there.study, trial, values=0.1)
    here._fail_and_enqueue(seen)
    assert [t.value for t in finished_trials(here.study)] == [0.1]
    assert states(here) == ["COMPLETE"]


@pytest.mark.slow
@pytest.mark.parametrize("process_id", [999_999_999, os.getpid()], ids=["gone", "came again"])
def test_dead_on_this_host_is_known_at_once_even_when_the_process_id_came_again(
    shared: Shared, process_id: int
) -> None:
    started(shared.process(f"{this_machine()}:{process_id}:a"))
    here = shared.process(f"{this_machine()}:{os.getpid()}:b")
    here.reap()
    assert states(here) == ["FAIL", "WAITING"]


def test_living_on_this_host_keeps_its_trials(shared: Shared) -> None:
    started(shared.process(f"{this_machine()}:{os.getppid()}:a"))
    here = shared.process(f"{this_machine()}:{os.getpid()}:b")
    here.reap()
    assert states(here) == ["RUNNING"]


def test_a_trial_whose_process_died_before_it_said_so_is_given_back(shared: Shared) -> None:
    shared.process("there:7:a").study.ask()
    here = shared.process("here:8:b")
    here.reap()
    assert here.has_silent_others()
    shared.clock.now += OWNERLESS_GRACE_S + 1
    here.reap()
    assert states(here) == ["FAIL", "WAITING"]


def test_values_that_were_not_proposed_to_the_end_are_proposed_anew(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    there.study.enqueue_trial({"x": 0.5})
    trial = there.study.ask()
    there.take(trial)
    y = trial.suggest_float("y", 0, 1)  # `x` is not asked for yet
    shared.clock.now += GRACE_S + 1
    here.reap()
    again = here.study.ask()
    assert (again.suggest_float("x", 0, 1), again.suggest_float("y", 0, 1)) == (0.5, y)


def test_a_trial_that_repeats_a_killed_one_has_its_ordinal(shared: Shared) -> None:
    there, here = shared.process("there:7:a"), shared.process("here:8:b")
    for x in (0.1, 0.2):
        started(there, x)
    shared.clock.now += GRACE_S + 1
    here.reap()
    started(here, 0.3)
    assert list(ordinals(here.study).values()) == [0, 1, 0, 1, 2]


def test_the_heart_beats_while_something_runs(shared: Shared) -> None:
    process = shared.process("here:8:b")
    shared.clock.now += 500
    with process.beating():
        assert not any(OWNER in trial.user_attrs for trial in process.study.trials)
        assert process.study.user_attrs["beat:here:8:b"] == shared.clock.now
