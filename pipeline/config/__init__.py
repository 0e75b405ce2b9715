"""What the user writes down: a competition's spec, a run's configuration, a search space. Knows TOML; knows no data."""

from pipeline.config.base import Table, read_toml, validated
from pipeline.config.run import (
    ClassWeights,
    FeatureSteps,
    FinalStrategy,
    Part,
    RunConfig,
    load_run_config,
    run_defaults,
    set_value,
)
from pipeline.config.search_space import SpaceEntry, load_search_space
from pipeline.config.spec import (
    Columns,
    CompetitionSpec,
    Folds,
    Scope,
    TargetTransform,
    load_spec,
)

__all__ = [
    "ClassWeights",
    "Columns",
    "CompetitionSpec",
    "FeatureSteps",
    "FinalStrategy",
    "Folds",
    "Part",
    "RunConfig",
    "Scope",
    "SpaceEntry",
    "Table",
    "TargetTransform",
    "load_run_config",
    "load_search_space",
    "load_spec",
    "read_toml",
    "run_defaults",
    "set_value",
    "validated",
]
