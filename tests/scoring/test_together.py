"""Laws of cross-validating many configurations together: each is what it is alone; one that diverges stops no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.config.run import RunConfig
from pipeline.models.base import FitContext
from pipeline.models.networks.model import Pruned
from pipeline.models.run_configuration import resolved
from pipeline.scoring.cross_validation import CVResult, cross_validate
from pipeline.scoring.together import Together, cross_validate_together
from tests.models.conftest import make_problem, make_splits

SPLITS = make_splits()


def network(**params: Any) -> RunConfig:
    return resolved(RunConfig(preset="test", model="mlp", seeds=2, params={"epochs": 3, "hidden_sizes": [8], **params}))


@pytest.mark.parametrize(
    "configs",
    [
        [network(lr=0.01), network(lr=0.02), network(lr=0.01, hidden_sizes=[4]), network(loss="mse")],
        [resolved(RunConfig(preset="test", model="ridge")), resolved(RunConfig(preset="test", model="ridge", seed=7))],
    ],
)
def test_each_is_what_it_is_alone(configs: list[RunConfig]) -> None:
    problem = make_problem("regression")
    shares: list[float] = []
    context = FitContext(on_progress=lambda share, _: shares.append(share))
    together = cross_validate_together(configs, lambda _: problem, SPLITS, context, seed_offset=1)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for config, found in zip(configs, together, strict=True):
        alone = cross_validate(config, lambda _: problem, SPLITS, FitContext(), seed_offset=1)
        assert found is not None
        assert found.config == config
        np.testing.assert_allclose(found.oof_prediction, alone.oof_prediction, rtol=1e-5)


def test_one_that_diverges_stops_no_other() -> None:
    problem = make_problem("regression")
    wild, tame = network(lr=1000.0, epochs=60), network()
    first, second = cross_validate_together([wild, tame], lambda _: problem, SPLITS, FitContext())
    assert first is None
    assert second is not None


def test_what_is_pruned_is_told_by_its_number() -> None:
    problem, asked = make_problem("regression"), set[int]()

    def should_prune(number: int, epoch: int, fold_scores: list[float]) -> bool:
        assert len(fold_scores) == len(SPLITS)
        asked.add(number)
        return number == 2 and epoch >= 1

    configs = [network(evaluate_every=1), network(loss="mse", evaluate_every=1), network(lr=0.02, evaluate_every=1)]
    found = dict(Together(lambda _: problem, SPLITS, FitContext(), 0).fit(configs, should_prune=should_prune))
    assert asked == {0, 1, 2}
    assert isinstance(found[2], Pruned)
    assert all(isinstance(found[number], CVResult) for number in (0, 1))
