"""What the registry says of a model: all that others need to know to list, configure, tune, race and ship it.

Knows no model; must not know who reads an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.table import Table
from pipeline.models.base import FittedModel, Model


@dataclass(frozen=True)
class Cost:
    """Seconds of one seed over House Prices' five folds on two cores, and how they grow with rows and columns."""

    seconds: float
    rows: float = 0.7  # exponents
    columns: float = 0.3
    most_rows: int = 10**9
    classes_factor: float = 1.0  # of two classes over numbers
    classes: float = 0.0  # exponent of the number of classes but one


@dataclass(frozen=True)
class Variant:
    """A configuration of a model that preset best may train."""

    cost: Cost  # measured: benchmarks/ablation.md
    overrides: tuple[str, ...] = ()  # key=value, as of --set
    for_classes: tuple[str, ...] | None = None  # the overrides for classes, where they are others
    column_share: str | None = None  # the parameter that limits the columns a quick fit looks at


@dataclass(frozen=True)
class ModelEntry:
    """A registered model."""

    description: str
    params: type[Table]
    make: Callable[[Any], Model]
    load: Callable[[Path], FittedModel]
    defaults: Mapping[str, Any] = field(default_factory=dict)  # that differ from those of `params`
    family: str | None = None  # the table of run_defaults.toml that suits it; None: any preset's settings do
    is_network: bool = False  # whether it trains in packs
    is_seeded: bool = True  # whether another seed gives another model
    package: str | None = None  # of the extra `boosting`, by the name it is imported and installed by
    storage_package: str | None = None  # that reads and writes the fitted models, where numpy does not suffice
    has_space: bool = False  # whether spaces/<model>.toml says what tuning varies
    variants: Mapping[str, Variant] = field(default_factory=dict)  # name -> configuration; "": the plain one
