"""The form of a registry entry: the facts needed to list, configure, tune, race and ship a model.

Must not know any model, or who reads an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.table import Table
from pipeline.models.base import FittedModel, Model


@dataclass(frozen=True)
class ModelEntry:
    """A registered model."""

    description: str
    params: type[Table]
    make: Callable[[Any], Model]
    load: Callable[[Path], FittedModel]
    defaults: Mapping[str, Any] = field(default_factory=dict)  # where they differ from those of `params`
    family: str | None = None  # its table in run_defaults.toml; None: the preset's settings
    is_network: bool = False  # trains in packs
    uses_gpu: bool = False  # though it is no network, on large tables
    is_seeded: bool = True  # another seed gives another model
    package: str | None = None  # of an extra; import name and distribution name
    is_pretrained: bool = False  # reads weights that the user has
    storage_package: str | None = None  # reads and writes fitted models, if numpy cannot
    has_space: bool = False  # spaces/<model>.toml says what tuning varies
