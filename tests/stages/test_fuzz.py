"""A sample of the fuzz test: no table, spec, setting, preset or search space ends with a traceback."""

from __future__ import annotations

import fuzz
import pytest
from hypothesis import HealthCheck, Phase, given, settings

TALLY = fuzz.Tally()


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(fuzz.examples())
def test_every_example_ends_with_a_result_or_a_message(example: fuzz.Example) -> None:
    fuzz.run(example, TALLY)


def test_the_fuzz_test_sees_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("pipeline.models.run_configuration.load_run_config", fail)
    with pytest.raises(fuzz.Fault, match="KeyError"):
        fuzz.run(fuzz.Example({}, ["train", "--dry-run", "--preset", "fast"]), fuzz.Tally())
