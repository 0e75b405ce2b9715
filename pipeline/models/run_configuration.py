"""Resolves a run's configuration: preset, defaults of the model's family, `--set`, and all of the model's parameters.

Knows presets and the registry; must not know data or runs. All other code gets resolved configurations.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Any, TypeVar

from pipeline.config.presets import DEFAULT_PRESET
from pipeline.config.run import GIVEN, Part, RunConfig, apply_override, read_preset
from pipeline.config.table import validated
from pipeline.models.registry import entry_of, model_params

Config = TypeVar("Config", RunConfig, Part)


def load_run_config(
    preset: str = DEFAULT_PRESET, *, model: str | None = None, overrides: Iterable[str] = ()
) -> RunConfig:
    """The preset's configuration with `model` and `key=value` overrides applied, resolved.

    `preset` is a built-in name, or the path of a TOML file or of tune's `best.json`. A `model` other than the preset's
    drops the preset's params; with a built-in preset it also sets its family's feature steps and seeds. Override keys
    are dotted (`features.rare_min_count=5`); a bare key that is not a field of a run is a parameter of the model
    (`lr=0.01`). Raises SpecError.
    """
    raw, where = read_preset(preset)
    if model is not None and model != raw.get("model"):
        is_own = preset.endswith((".json", ".toml"))  # keep what a user wrote
        raw = {**raw, "model": model, "params": {}, "parts": [], **({} if is_own else run_defaults(model))}
    for override in overrides:
        apply_override(raw, override)
    return resolved(validated(RunConfig, raw, where=where), where=where)


def resolved(config: RunConfig, *, where: str = "") -> RunConfig:
    """The configuration with a value for every parameter of its model, or of its parts' models.

    Idempotent. Raises SpecError for an unknown model, key or value.
    """
    where = where or f"preset {config.preset}"
    if config.parts:
        return config.model_copy(update={"parts": [_with_all_params(part, where) for part in config.parts]})
    return _with_all_params(config, where)


def _with_all_params(config: Config, where: str) -> Config:
    if config.model == GIVEN:
        return config
    params = model_params(config.model, config.params, where=where)
    return config.model_copy(update={"params": params.model_dump(mode="json")})


def run_defaults(model: str) -> dict[str, Any]:
    """The `seeds` and `features` of the model's family; {} for a model that uses the preset's."""
    family = entry_of(model).family
    if family is None:
        return {}
    text = resources.files("pipeline.models").joinpath("run_defaults.toml").read_text("utf-8")
    defaults: dict[str, Any] = tomllib.loads(text)[family]
    return defaults
