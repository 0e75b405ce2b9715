"""One run as its user sets it. `models.run_configuration` reads one and completes it by what the registry knows."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.presets import preset_names
from pipeline.config.spec import Scope, TargetTransform
from pipeline.config.table import Table, read_toml, validated

FinalStrategy = Literal["average", "refit"]
ClassWeights = Literal["none", "balanced"] | dict[str, float]


class FeatureSteps(Table):
    """Optional steps of the encoders; off unless a preset or `--set` turns them on."""

    feature_function: bool = Field(default=False, description="run the competition's own `add_features`, if it has one")
    log1p_skewed: float | None = Field(
        default=None, gt=0, description="take log1p of numbers whose absolute skewness is above this"
    )
    missing_indicators: bool = Field(default=False, description="add a 0/1 column for numbers that can be missing")
    rare_min_count: int = Field(default=0, ge=0, description="pool categories with fewer fit rows than this")
    max_levels: int = Field(
        default=100,
        ge=2,
        description="most frequent levels of a category that get a one-hot column; the rest are pooled",
    )
    ordered_mapping: bool = Field(default=False, description="encode ordered categories by the number of their level")
    target_encoding: int | None = Field(
        default=None,
        ge=2,
        description="add cross-fitted target means of categories with at least this many levels",
    )
    category_counts: bool = Field(default=False, description="add the number of fit rows with the same category")
    text_parts: bool = Field(
        default=False, description="split `columns.texts` into parts, words, numbers and shared keys"
    )
    key_target_means: int = Field(
        default=0,
        ge=0,
        description="add cross-fitted target means of keys in `columns.texts`, up to this many fit rows",
    )
    codes_as_numbers: bool = Field(default=False, description="treat categories written in digits as numbers")
    scaling: Literal["standard", "robust", "pixels", "none"] = Field(
        default="standard",
        description="scaling of numbers; pixels: divide all by the largest, so that images lie in [0, 1]; "
        "none: leave them as they are, missing values included (for trees)",
    )

    def of_pixels(self) -> FeatureSteps:
        """The same for a table whose numbers are pixels."""
        return self.model_copy(update={"scaling": "pixels", "log1p_skewed": None})


class Part(Table):
    """One configuration of an ensemble and its weight in the average."""

    weight: float = Field(default=1.0, gt=0.0, description="weight in the average")
    model: str = Field(description="a model of the registry")
    params: dict[str, Any] = Field(default={}, description="parameters of the model; those left out get its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's transform")
    seeds: int | None = Field(default=None, ge=1, le=1000, description="as in the run; default: the run's")
    seed: int | None = Field(default=None, ge=0, description="as in the run; default: the run's")


class RunConfig(Table):
    """One run: a preset with the user's overrides applied. With `parts` it is an ensemble of other configurations."""

    preset: str = Field(description="name of the preset; set by the program")
    description: str = Field(default="", description="what the preset is for")
    model: str = Field(description="a model of the registry")
    params: dict[str, Any] = Field(default={}, description="parameters of the model; those left out get its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's transform")
    class_weights: ClassWeights = Field(
        default="none", description="weight of each class in the loss; balanced: all classes alike"
    )
    calibration: Literal["none", "temperature", "isotonic"] = Field(
        default="none", description="calibration of class probabilities, fitted on out-of-fold predictions"
    )
    threshold: Literal["auto", "half", "best"] = Field(
        default="auto",
        description="probability from which the positive class is predicted; auto: best where the metric needs it",
    )
    seeds: int = Field(
        default=1, ge=1, le=1000, description="models per fold with different seeds; their predictions are averaged"
    )
    seed: int = Field(default=0, ge=0, description="random seed")
    final: FinalStrategy = Field(
        default="average", description="the submission: average of the fold models, or refit on all train rows"
    )
    final_reason: str = Field(default="", description="why `final` has this value; shown to the user")
    parts: list[Part] = Field(default=[], description="of an ensemble: the configurations to average")

    @model_validator(mode="after")
    def _an_ensembles_numbers_are_its_parts(self) -> RunConfig:
        if self.parts:
            own = (key for key in ("params", "features", "scope", "target_transform") if key in self.model_fields_set)
            for key in own:
                if getattr(self, key) != RunConfig.model_fields[key].default:
                    raise ValueError(f"{key} cannot be set for an ensemble: each of its parts has its own")
        return self

    @property
    def weighted_parts(self) -> list[tuple[float, RunConfig]]:
        """Weights and single configurations: those of the ensemble's parts, or this one alone."""
        if not self.parts:
            return [(1.0, self)]
        shared = self.model_copy(update={"parts": []})
        own = [{key: value for key, value in part if key != "weight" and value is not None} for part in self.parts]
        return [(part.weight, shared.model_copy(update=one)) for part, one in zip(self.parts, own, strict=True)]

    def as_part(self, weight: float, *, has_own_seeds: bool = True) -> Part:
        """This configuration as a part of an ensemble; without seeds of its own it takes the ensemble's."""
        keys = Part.model_fields.keys() - {"weight"} - (set() if has_own_seeds else {"seeds", "seed"})
        return Part(weight=weight, **{key: getattr(self, key) for key in keys})

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides what is learned, as JSON values."""
        left_out = {"description", "final", "final_reason"} | (set() if self.parts else {"parts"})
        return self.model_dump(mode="json", exclude=left_out)

    @property
    def run_name(self) -> str:
        """`<preset>-<model>-<hash>`: the same configuration has the same name, on every machine."""
        text = json.dumps(self.identity, sort_keys=True)
        return f"{self.preset}-{self.model}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_preset(preset: str) -> tuple[dict[str, Any], str]:
    """The raw configuration of a preset, and where it stands: a built-in name, a TOML file, or a `best.json` of `tune`.

    Raises SpecError.
    """
    if preset.endswith(".json"):
        return _saved_config(Path(preset)).model_dump(), preset
    if preset.endswith(".toml"):
        return {**read_toml(Path(preset)), "preset": Path(preset).stem}, preset
    if preset not in preset_names():
        raise SpecError(f"unknown preset {preset!r}", hint=did_you_mean(preset, preset_names()))
    text = resources.files("pipeline.config.presets").joinpath(f"{preset}.toml").read_text("utf-8")
    return {**tomllib.loads(text), "preset": preset}, f"preset {preset}"


class _Saved(BaseModel):
    """Any JSON file that holds a run's configuration: a `best.json`, a report, a submission's provenance."""

    config: RunConfig


def _saved_config(path: Path) -> RunConfig:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise SpecError(f"is not a complete JSON file: {error}", where=str(path)) from error
    return validated(_Saved, raw, where=str(path)).config


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set `key=value` in a raw run configuration; the value is TOML, or text as it is. Raises SpecError."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set wants key=value, not {override!r}", hint="For example: --set lr=0.01")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    set_value(raw, key.strip(), value)


def set_value(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a raw run configuration; a bare key that is no field of a run is a model parameter."""
    path = key.split(".")
    if len(path) == 1 and path[0] not in RunConfig.model_fields:
        path = ["params", *path]
    table = raw
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise SpecError(f"{key}: {part!r} is not a table")
    table[path[-1]] = value


def as_toml(table: Mapping[str, Any], path: str = "") -> str:
    """A dumped configuration as a preset's file, values that are not set as comments."""
    lines, tables = [], []
    for key, value in table.items():
        key = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)
        inside = f"{path}{key}"
        if isinstance(value, Mapping):
            tables.append(f"\n[{inside}]\n{as_toml(value, f'{inside}.')}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{inside}]]\n{as_toml(one, f'{inside}.')}" for one in value]
        else:  # JSON's texts, numbers, booleans and lists are TOML's, too
            lines.append(f"# {key} is not set" if value is None else f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *tables])
