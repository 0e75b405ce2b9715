"""One run as its user sets it: a preset with overrides."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

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
        description="of numbers; pixels: divide all by the largest, so that images lie in [0, 1]; "
        "none: leave them as they are, missing values included (for trees)",
    )

    def of_pixels(self) -> FeatureSteps:
        """The same for a table whose numbers are pixels."""
        return self.model_copy(update={"scaling": "pixels", "log1p_skewed": None})


class Part(Table):
    """One configuration of an ensemble and its weight in the average."""

    weight: float = Field(default=1.0, gt=0.0, description="weight in the average")
    model: str = Field(description="a model of the registry")
    params: dict[str, Any] = Field(default={}, description="parameters of the model that differ from its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's")
    seeds: int | None = Field(default=None, ge=1, le=1000, description="default: the run's")
    seed: int | None = Field(default=None, ge=0, description="default: the run's")


class RunConfig(Table):
    """One run: a preset with the user's overrides applied. With `parts` it is an ensemble of other configurations."""

    preset: str = Field(description="name of the preset; set by the program")
    description: str = Field(default="", description="what the preset is for")
    model: str = Field(description="a model of the registry")
    params: dict[str, Any] = Field(default={}, description="parameters of the model that differ from its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's")
    class_weights: ClassWeights = Field(
        default="none", description="weight of each class in the loss; balanced: all classes alike"
    )
    calibration: Literal["none", "temperature", "isotonic"] = Field(
        default="none", description="of class probabilities, fitted on out-of-fold predictions"
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
        return [
            (
                part.weight,
                shared.model_copy(
                    update={key: getattr(part, key) for key in ("model", "params", "features", "scope")}
                    | {"target_transform": part.target_transform, "seeds": part.seeds or self.seeds}
                    | {"seed": self.seed if part.seed is None else part.seed}
                ),
            )
            for part in self.parts
        ]

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


def run_defaults(model: str) -> dict[str, Any]:
    """The `seeds` and `features` that suit the model's family; {} for a model that goes by the preset's."""
    text = resources.files("pipeline.config").joinpath("run_defaults.toml").read_text("utf-8")
    for family in tomllib.loads(text).values():
        if model in family.pop("models"):
            return dict(family)
    return {}


def load_run_config(preset: str, *, model: str | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """The preset's configuration with `model` and `key=value` overrides applied.

    `preset` is a built-in name, the path of a TOML file, or that of a `best.json` of `tune`. Another `model` than the
    preset's drops the preset's params; over a built-in preset it brings its family's feature steps and seeds. Override
    keys are dotted (`features.rare_min_count=5`); a bare key that is no field of a run is a parameter of the model
    (`lr=0.01`). Raises SpecError.
    """
    if preset.endswith(".json"):
        where, raw = preset, json.loads(Path(preset).read_text(encoding="utf-8"))["config"]
        name = str(raw["preset"])
    elif preset.endswith(".toml"):
        where, raw = preset, read_toml(Path(preset))
        name = Path(preset).stem
    else:
        if preset not in preset_names():
            raise SpecError(f"unknown preset {preset!r}", hint=did_you_mean(preset, preset_names()))
        where, name = f"preset {preset}", preset
        raw = tomllib.loads(resources.files("pipeline.config.presets").joinpath(f"{preset}.toml").read_text("utf-8"))
    if model is not None and model != raw.get("model"):
        is_own = preset.endswith((".json", ".toml"))  # what a user wrote stays
        raw = {**raw, "model": model, "params": {}, "parts": [], **({} if is_own else run_defaults(model))}
    for override in overrides:
        _apply_override(raw, override)
    return validated(RunConfig, {**raw, "preset": name}, where=where)


def _apply_override(raw: dict[str, Any], override: str) -> None:
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
