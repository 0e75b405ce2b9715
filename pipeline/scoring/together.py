"""Cross-validation of many configurations of one model on the same splits: networks train in common packs.

Knows configurations, models and splits; must not know studies or files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.base.errors import TrainingError
from pipeline.competition.folds import Split
from pipeline.competition.problem import Problem
from pipeline.config.run import RunConfig
from pipeline.models.base import EpochScores, FitContext
from pipeline.models.networks.fitted import FittedNeural
from pipeline.models.networks.model import Failed, Pruned, ShouldPrune, fit_many, tensors_for
from pipeline.models.networks.params import NeuralParams
from pipeline.models.networks.tensors import SplitTensors
from pipeline.models.registry import complete_params, entry_of
from pipeline.scoring.cross_validation import CVResult, cross_validate, fit_splits

MOST_TABLES = 4  # kept for further configurations: one for each choice of feature steps


def cross_validate_together(
    configs: Sequence[RunConfig],
    problem_of: Callable[[RunConfig], Problem],
    splits: Sequence[Split],
    context: FitContext,
    *,
    seed_offset: int = 0,
) -> list[CVResult | None]:
    """Cross-validate configurations of one model, of equal seeds and without parts; None for one that diverges.

    `seed_offset` is added to the seed. Raises SpecError.
    """
    if entry_of(configs[0].model).is_network:
        together = Together(problem_of, splits, context, configs[0].seed + seed_offset)
        found = dict(together.fit(configs))
        return [one if isinstance(one := found[number], CVResult) else None for number in range(len(configs))]

    def result_of(number: int) -> CVResult | None:
        def on_progress(share: float, new: Sequence[EpochScores]) -> None:
            if context.on_progress is not None:
                context.on_progress((number + share) / len(configs), new)

        own = replace(context, on_progress=on_progress)
        try:
            return cross_validate(configs[number], problem_of, splits, own, seed_offset=seed_offset)
        except TrainingError:
            return None

    return [*context.each(result_of, range(len(configs)))]


@dataclass
class Together:
    """Trains networks of many configurations; their tables are encoded once for each choice of feature steps."""

    problem_of: Callable[[RunConfig], Problem]
    splits: Sequence[Split]
    context: FitContext
    seed: int
    _tables: dict[str, tuple[Problem, list[Split], SplitTensors]] = field(default_factory=dict)

    def fit(
        self, configs: Sequence[RunConfig], *, should_prune: ShouldPrune | None = None, may_prune: bool = True
    ) -> Iterator[tuple[int, CVResult | Failed | Pruned]]:
        """Yield the number of each configuration and its result, those that read the same tables together.

        For `should_prune` and `may_prune` see `fit_many`. Raises SpecError.
        """
        groups: dict[str, list[int]] = {}
        params = [self._params(config) for config in configs]
        for number, config in enumerate(configs):
            groups.setdefault(_tables_key(config, params[number]), []).append(number)
        for key, numbers in groups.items():
            problem, splits, tensors = self._tables_of(key, configs[numbers[0]], params[numbers[0]])

            def should_prune_one(
                number: int, epoch: int, fold_scores: list[float], numbers: Sequence[int] = numbers
            ) -> bool:
                return should_prune is not None and should_prune(numbers[number], epoch, fold_scores)

            fits = fit_many(
                [params[number] for number in numbers],
                problem,
                splits,
                tensors,
                seed=self.seed,
                n_seeds=configs[numbers[0]].seeds,
                context=self.context,
                should_prune=None if should_prune is None else should_prune_one,
                may_prune=may_prune,
            )
            for number, fit in zip(numbers, fits, strict=True):
                yield number, self._result(configs[number], problem, fit) if isinstance(fit, FittedNeural) else fit

    def _result(self, config: RunConfig, problem: Problem, fit: FittedNeural) -> CVResult | Failed:
        try:
            return CVResult(config, [problem], [fit], self.splits)
        except TrainingError as error:
            return Failed(error.message)

    def _params(self, config: RunConfig) -> NeuralParams:
        params = complete_params(config.model, config.params, where=f"preset {config.preset}")
        assert isinstance(params, NeuralParams), "only networks train in packs"
        return params

    def _tables_of(
        self, key: str, config: RunConfig, params: NeuralParams
    ) -> tuple[Problem, list[Split], SplitTensors]:
        if key not in self._tables:
            if len(self._tables) >= MOST_TABLES:
                self._tables.pop(next(iter(self._tables)))
            problem = self.problem_of(config)
            splits = fit_splits(config, self.splits, self.seed)
            tensors = tensors_for(params, problem, splits, seed=self.seed, device=self.context.device)
            self._tables[key] = problem, splits, tensors
        return self._tables[key]


def _tables_key(config: RunConfig, params: NeuralParams) -> str:
    """A key that is equal for configurations that train on the same encoded tables."""
    whole = config.model_dump(mode="json")
    data = [whole[name] for name in ("features", "scope", "target_transform", "class_weights", "max_fit_rows")]
    return json.dumps([*data, params.scales_target], sort_keys=True)
