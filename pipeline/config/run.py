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
    """Optional steps of the encoders; all off unless a preset or the spec asks."""

    feature_function: bool = Field(default=False, description="run the competition's own add_features, if it has one")
    log1p_skewed: float | None = Field(default=None, gt=0, description="log1p of numerics with |skew| above this")
    missing_indicators: bool = False
    rare_min_count: int = Field(default=0, ge=0, description="pool categories seen fewer times in the fit rows")
    max_levels: int = Field(
        default=100, ge=2, description="levels of a category with a onehot column; others are pooled"
    )
    ordered_mapping: bool = Field(default=False, description="ordered categories become their level's number")
    target_encoding: int | None = Field(
        default=None,
        ge=2,
        description="cross-fitted target means of categories with at least this many levels",
    )
    category_counts: bool = Field(default=False, description="how many fit rows hold a row's category, as a number")
    text_parts: bool = Field(default=False, description="split columns.texts: parts, words, numbers, shared keys")
    key_target_means: int = Field(
        default=0, ge=0, description="cross-fitted target means of the keys in columns.texts, up to so many fit rows"
    )
    codes_as_numbers: bool = Field(default=False, description="read categories written with digits as amounts")
    scaling: Literal["standard", "robust", "pixels", "none"] = Field(
        default="standard",
        description="of numbers; pixels: all by the largest of all, so that images lie in [0, 1]; "
        "none: as they are, missing stays missing (for trees)",
    )

    def of_pixels(self) -> FeatureSteps:
        """The same for a table whose numbers are pixels."""
        return self.model_copy(update={"scaling": "pixels", "log1p_skewed": None})


class Part(Table):
    """One configuration of an ensemble and its weight in the average."""

    weight: float = Field(default=1.0, gt=0.0)
    model: str
    params: dict[str, Any] = Field(default={})
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = None
    target_transform: TargetTransform | None = None
    seeds: int | None = Field(default=None, ge=1, le=1000, description="default: the run's")
    seed: int | None = Field(default=None, ge=0, description="default: the run's")


class RunConfig(Table):
    """One run: a preset with the user's overrides applied. With `parts` it is an ensemble of other configurations."""

    preset: str
    description: str = ""
    model: str
    params: dict[str, Any] = Field(default={}, description="parameters of the model, over its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's")
    class_weights: ClassWeights = Field(
        default="none", description="what a row of each class weighs in the loss; balanced: every class as much"
    )
    calibration: Literal["none", "temperature", "isotonic"] = Field(
        default="none", description="mends class probabilities, fitted on out-of-fold predictions"
    )
    threshold: Literal["auto", "half", "best"] = Field(
        default="auto", description="where the positive of two classes begins; auto: best where the metric wants it"
    )
    seeds: int = Field(default=1, ge=1, le=1000, description="members trained per fold; predictions are averaged")
    seed: int = Field(default=0, ge=0)
    final: FinalStrategy = "average"
    final_reason: str = Field(default="", description="why `final` is what it is; shown to the user")
    parts: list[Part] = Field(default=[], description="an ensemble: the configurations that are averaged")

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
