"""Which process trains which trial: owners send heartbeats, and trials of dead owners are given back.

Knows Optuna's storages; knows nothing of training. Heartbeats are study attributes, so every storage works.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.base import files
from pipeline.base.locks import is_alive, this_machine
from pipeline.tuning.outage import without_waiting
from pipeline.tuning.turns import turn

OWNER, KILLED = "owner", "killed"  # user attributes of trials
PROPOSED = "proposed"  # user attribute of trials: every value is known
ORDINAL = "ordinal"  # user attribute of a trial that repeats a killed one
SEAL = "seal"  # user attribute of complete trials: a hash of their parameters and value
BEAT = "beat:"  # prefix of the study attributes that hold owners' last heartbeats, in seconds since 1970
BEAT_EVERY_S = 10.0
GRACE_S = 120.0  # longer than clocks of hosts differ and networks are cut
OWNERLESS_GRACE_S = 10.0  # a trial is marked with its owner within milliseconds


@dataclass
class Ownership:
    """One process's part in a study: its heartbeats, its trials, and the trials of dead processes."""

    study: optuna.Study
    storage: BaseStorage
    clock: Callable[[], float] = time.time
    owner: str = field(default_factory=lambda: f"{this_machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    stop: threading.Event = field(default_factory=threading.Event)
    up_since: Callable[[], float] = lambda: -math.inf  # by the clock: nobody could send a heartbeat before
    _ownerless_since: dict[int, float] = field(default_factory=dict)

    def beat(self) -> None:
        """Send a heartbeat."""
        self.study.set_user_attr(BEAT + self.owner, self.clock())

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Send a heartbeat now and every `BEAT_EVERY_S` from a thread, however long an epoch takes."""
        self.beat()
        is_over = threading.Event()

        def go_on() -> None:
            with without_waiting():
                while not is_over.wait(BEAT_EVERY_S):
                    with contextlib.suppress(Exception):  # the storage is unavailable for a moment
                        self.beat()

        thread = threading.Thread(target=go_on, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def take(self, trial: Trial) -> None:
        """Mark the trial as trained by this process."""
        trial.set_user_attr(OWNER, self.owner)

    def note_proposed(self, trial: Trial) -> None:
        """Mark the trial's values as whole: if it is killed, they are proposed again."""
        trial.set_user_attr(PROPOSED, True)

    def give_back(self, trials: Sequence[Trial]) -> None:
        """Return unfinished trials to the study, for other processes or a later call."""
        running = {t.number: t for t in self._running()}
        for trial in trials:
            if trial.number in running:
                self._fail_and_enqueue(running[trial.number])

    @contextlib.contextmanager
    def turn(self) -> Iterator[Callable[[], bool]]:
        """Keep other processes from taking trials; yields a function that tells whether that held until now."""
        with turn(self.study, "trials", self.stop) as is_held:
            yield is_held

    def reap(self) -> None:
        """Give back the trials of dead owners."""
        running = self._running()
        silence_s = self._silences() if running else {}
        for trial in running:
            if self._is_abandoned(trial, silence_s):
                self._fail_and_enqueue(trial)

    def has_silent_others(self) -> bool:
        """Return whether a running trial has no owner, or one that has missed heartbeats and may be dead."""
        silence_s = self._silences()
        owners = (trial.user_attrs.get(OWNER) for trial in self._running())
        return any(silence_s.get(str(owner), math.inf) > 3 * BEAT_EVERY_S for owner in owners)

    def others(self) -> list[str]:
        """Return the hosts of the other processes that send heartbeats, one for each process."""
        beating = (owner for owner, silence_s in self._silences().items() if silence_s < 3 * BEAT_EVERY_S)
        return sorted(owner.rsplit(":", 2)[0].partition("/")[0] for owner in beating if owner != self.owner)

    def _silences(self) -> dict[str, float]:
        """Return for how many seconds each owner has sent no heartbeat though it could."""
        now, up_since = self.clock(), self.up_since()
        beats = {name: float(at) for name, at in self.study.user_attrs.items() if name.startswith(BEAT)}
        return {name.removeprefix(BEAT): now - max(at, up_since) for name, at in beats.items()}

    def _is_abandoned(self, trial: FrozenTrial, silence_s: Mapping[str, float]) -> bool:
        if OWNER not in trial.user_attrs:  # killed between starting and marking the trial
            since = self._ownerless_since.setdefault(trial.number, self.clock())
            return self.clock() - since > OWNERLESS_GRACE_S
        owner = str(trial.user_attrs[OWNER])
        machine, pid, token = [*owner.rsplit(":", 2), "", ""][:3]
        own_machine, own_pid, own_token = self.owner.rsplit(":", 2)
        if machine == own_machine and pid == own_pid:  # process ids are reused, in containers all the time
            return token != own_token
        return (machine == own_machine and not is_alive(pid)) or silence_s.get(owner, math.inf) > GRACE_S

    def _fail_and_enqueue(self, trial: FrozenTrial) -> None:
        """Fail the trial and enqueue its values again, unless another process was first."""
        try:
            study_id = self.storage.get_study_id_from_name(self.study.study_name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            self.storage.set_trial_user_attr(trial_id, KILLED, True)
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, UpdateFinishedTrialError):
            return
        values = trial.params if trial.user_attrs.get(PROPOSED) else trial.system_attrs.get("fixed_params", {})
        self.study.enqueue_trial(values, user_attrs={ORDINAL: ordinals(self.study)[trial.number]})

    def _running(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def was_killed(trial: FrozenTrial) -> bool:
    """Return whether the trial was given back; it is not if its result came first."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(KILLED))


def ordinals(study: optuna.Study) -> dict[int, int]:
    """Return the numbers that the trials would have, had none been killed: what repeats a killed one has that one's."""
    found: dict[int, int] = {}
    n_repeats = 0
    for trial in study.get_trials(deepcopy=False):
        is_repeat = ORDINAL in trial.user_attrs
        n_repeats += is_repeat
        found[trial.number] = int(trial.user_attrs[ORDINAL]) if is_repeat else trial.number - n_repeats
    return found


def without_killed(study: optuna.Study) -> optuna.Study:
    """Return the study as it would be, had no trial been killed: without those, the others with their ordinals."""

    def get_trials(
        deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = study._get_trials(deepcopy=deepcopy, states=states, use_cache=use_cache)
        number_of = ordinals(study)  # read after the trials, which another process may add to
        trials = [copy.copy(trial) for trial in found if not was_killed(trial)]
        for trial in trials:
            trial.number = number_of[trial.number]
        return sorted(trials, key=lambda trial: trial.number)

    seen = copy.copy(study)
    seen.get_trials = seen._get_trials = get_trials  # type: ignore[method-assign]
    return seen


def tell_if_mine(study: optuna.Study, trial: Trial, **told: Any) -> None:
    """Tell a result, unless the trial was given back because this process was silent for too long."""
    with contextlib.suppress(ValueError, UpdateFinishedTrialError):
        if "values" in told:
            trial.set_user_attr(SEAL, _seal(trial.params, told["values"]))
        study.tell(trial, skip_if_finished=True, **told)


def check_seals(study: optuna.Study) -> None:
    """Raise ValueError if the storage holds other values of a complete trial than were told."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.user_attrs.get(SEAL, (seal := _seal(trial.params, trial.value))) != seal:
            raise ValueError(f"trial {trial.number} was changed after it was finished")


def _seal(params: dict[str, Any], value: float | None) -> str:
    return files.sha256_of_json([params, value])[:16]
