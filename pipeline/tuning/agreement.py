"""One result of a study for all machines that share it: the first process finds it, the others take it over.

Knows studies; must not know how a result is found.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

from pipeline.base import files
from pipeline.base.progress import say
from pipeline.config.records import TuningResult
from pipeline.tuning.session import Tuning
from pipeline.tuning.study import finished_trials
from pipeline.tuning.turns import turn

RESULT = "result:"  # prefix of the study attributes that hold results, each of a number of trials
FOUND_BY, CONTENT = "found_by", "content"


def agreed(tuning: Tuning, find: Callable[[], TuningResult | None], stop: threading.Event) -> TuningResult | None:
    """Return the result of the study's finished trials: what a process stored, or what `find` returns.

    One process calls `find` while the others wait; if it dies, another one does.
    """
    trials = [(trial.number, trial.state.name, trial.value) for trial in finished_trials(tuning.study)]
    key = f"{RESULT}{len(trials)}:{files.sha256_of_json([trials, tuning.base.model_dump(mode='json')])[:16]}"

    def on_wait() -> None:
        say("tune: another process scores the best trials again; waiting for its result")

    found: TuningResult | None = None
    while True:
        with turn(tuning.study, "result", stop, on_wait) as is_held:
            if (stored := tuning.study.user_attrs.get(key)) is not None:
                say(f"tune: the result is the one that {stored[FOUND_BY]} has found")
                return TuningResult.parse(json.dumps(stored[CONTENT]).encode(), where=f"the study's {key}")
            found = found or find()
            if found is None:
                return None
            if is_held():  # otherwise a restart of the server may have let another process find one, too
                content = {FOUND_BY: socket.gethostname(), CONTENT: found.model_dump(mode="json")}
                tuning.study.set_user_attr(key, content)
                return found
