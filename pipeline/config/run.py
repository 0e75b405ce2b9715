"""A run's configuration as the user writes it: a preset with overrides. `models.run_configuration` completes it.

Knows TOML and JSON; must not know the registry of models.
"""

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
from pipeline.base.target_transforms import TargetTransform
from pipeline.config.presets import preset_names
from pipeline.config.sections import Scope
from pipeline.config.table import MOST_ROWS, Table, bounded, parse_toml, read_text, read_toml, shown_value, validated

GIVEN = "given"  # in place of a model: predictions made elsewhere
PRESET_NAME = r"^\w[\w.-]{0,59}$"
LARGEST_SEED = 2**31 - 1  # of what the libraries take; other seeds are derived from it

FinalStrategy = Literal["average", "refit"]
ClassWeights = Literal["none", "balanced"] | dict[str, float]


class FeatureSteps(Table):
    """Optional steps of the encoders. Presets turn them on."""

    feature_function: bool = Field(default=False, description="apply the competition's `add_features`, if it has one")
    log1p_skewed: float | None = bounded(
        None,
        gt=0,
        le=1000,
        usual="0.5 to 2",
        description="apply log1p to numeric columns with a greater absolute skewness",
    )
    missing_indicators: bool = Field(default=False, description="add a 0/1 column for each number with missing values")
    rare_min_count: int = bounded(
        0, ge=0, le=MOST_ROWS, usual="0 to 20", description="pool the levels of a category with fewer fit rows"
    )
    max_levels: int = bounded(
        100,
        ge=2,
        le=100_000,
        usual="20 to 200",
        description="one-hot columns per category: its most frequent levels; the others are pooled",
    )
    ordered_mapping: bool = Field(default=False, description="encode an ordered category as the number of its level")
    target_encoding: int | None = bounded(
        None,
        ge=2,
        le=MOST_ROWS,
        usual="5 to 50",
        description="add cross-fitted target means for categories with at least this many levels",
    )
    category_counts: bool = Field(default=False, description="add the number of fit rows with the same level")
    text_parts: bool = Field(default=False, description="split `columns.texts` into parts, words, numbers and keys")
    text_components: int = bounded(
        0,
        ge=0,
        le=500,
        usual="0 to 50",
        description="add this many components of the TF-IDF of each column of sentences, and of all together",
    )
    key_target_means: int = bounded(
        0,
        ge=0,
        le=MOST_ROWS,
        usual="0 to 2000",
        description="add cross-fitted target means for keys in `columns.texts`, up to this many rows",
    )
    generated: int = bounded(
        0,
        ge=0,
        le=1000,
        usual="0 to 100",
        description="add at most this many columns generated from others (arithmetic, groups, pairs of levels, row "
        "statistics), chosen on the fit rows of each fold",
    )
    codes_as_numbers: bool = Field(default=False, description="treat categories with numeric levels as numbers")
    scaling: Literal["standard", "robust", "pixels", "none"] = Field(
        default="standard",
        description="scaling of numbers: `standard` by mean and standard deviation, `robust` by median and "
        "quartiles, `pixels` all together into [0, 1]; `none` keeps numbers and missing values as they are (for trees)",
    )

    def of_pixels(self) -> FeatureSteps:
        """Return the same steps for a table whose numbers are pixels."""
        return self.model_copy(update={"scaling": "pixels", "log1p_skewed": None})


class _ModelConfig(Table):
    """What a run and a part of an ensemble have in common."""

    model: str = Field(description="name of the model")
    params: dict[str, Any] = Field(default={}, description="parameters of the model; the others have its defaults")
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides `encoder.scope` of the spec")
    target_transform: TargetTransform | None = Field(default=None, description="overrides that of the spec")
    max_fit_rows: int | None = bounded(
        None,
        ge=100,
        le=MOST_ROWS,
        usual="100000 to 1000000",
        description="fit each fold on at most this many of its train rows, drawn by chance; default: on all",
    )


class Part(_ModelConfig):
    """A configuration in an ensemble."""

    weight: float = bounded(
        1.0, ge=1e-6, le=1e6, usual="0.1 to 10", description="weight in the average of the predictions"
    )
    seeds: int | None = bounded(None, ge=1, le=1000, usual="1 to 10", description="overrides `seeds` of the run")
    seed: int | None = bounded(None, ge=0, le=LARGEST_SEED, usual="0 to 9", description="overrides `seed` of the run")


class RunConfig(_ModelConfig):
    """A run: a preset with the user's overrides. With `parts` it is an ensemble of several configurations."""

    preset: str = Field(
        pattern=PRESET_NAME, description="name of the preset, a part of the run's name; set by the program"
    )
    description: str = Field(default="", description="what the preset is for")
    class_weights: ClassWeights = Field(
        default="none",
        description="weights of the classes in the loss: `balanced` is inverse to their frequency; a table has one per "
        "label",
    )
    calibration: Literal["none", "temperature", "isotonic"] = Field(
        default="none", description="calibration of class probabilities, fitted on out-of-fold predictions"
    )
    threshold: Literal["auto", "half", "best"] = Field(
        default="auto",
        description="probability above which the positive class is predicted: `half` is 0.5, `best` maximises the "
        "metric on out-of-fold predictions, `auto` is `best` for metrics that need it",
    )
    seeds: int = bounded(
        1, ge=1, le=1000, usual="1 to 10", description="models per fold, which differ in their seed; averaged"
    )
    seed: int = bounded(0, ge=0, le=LARGEST_SEED, usual="0 to 9", description="random seed")
    final: FinalStrategy = Field(
        default="average", description="model of the submission: average of the fold models, or refit on all train rows"
    )
    final_reason: str = Field(default="", description="reason for `final`, shown to the user")
    parts: list[Part] = Field(default=[], description="configurations whose predictions an ensemble averages")

    @model_validator(mode="after")
    def _ensembles_leave_settings_to_their_parts(self) -> RunConfig:
        for key in ("params", "features", "scope", "target_transform", "max_fit_rows") if self.parts else ():
            if getattr(self, key) != RunConfig.model_fields[key].default:
                raise ValueError(f"{key} cannot be set for an ensemble: set it in its parts")
        return self

    @property
    def weighted_parts(self) -> list[tuple[float, RunConfig]]:
        """Weights and configurations of the ensemble's parts; otherwise this configuration with weight 1."""
        if not self.parts:
            return [(1.0, self)]
        shared = self.model_copy(update={"parts": []})
        own = [{key: value for key, value in part if key != "weight" and value is not None} for part in self.parts]
        return [(part.weight, shared.model_copy(update=one)) for part, one in zip(self.parts, own, strict=True)]

    def as_part(self, weight: float, *, has_own_seeds: bool = True) -> Part:
        """Return this configuration as a part of an ensemble, with its own seeds or those of the ensemble."""
        keys = Part.model_fields.keys() - {"weight"} - (set() if has_own_seeds else {"seeds", "seed"})
        return Part(weight=weight, **{key: getattr(self, key) for key in keys})

    @property
    def identity(self) -> dict[str, Any]:
        """Every setting that affects predictions, as JSON values."""
        left_out = {"description", "final", "final_reason"} | (set() if self.parts else {"parts"})
        settings = self.model_dump(mode="json", exclude=left_out)
        for one in (settings, *settings.get("parts", [])):
            if not one["features"]["generated"]:  # names of runs are older than this step, and than this key
                del one["features"]["generated"]
            if one["max_fit_rows"] is None:
                del one["max_fit_rows"]
        return settings

    @property
    def run_name(self) -> str:
        """`<preset>-<model>-<hash of identity>`: equal configurations have equal names on every machine."""
        return self.run_name_with(None)

    def run_name_with(self, code: str | None) -> str:
        """The name of a run that uses a feature function of which `code` is the hash; `run_name` without one."""
        text = json.dumps(self.identity if code is None else [self.identity, code], sort_keys=True)
        return f"{self.preset}-{self.model}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class _Saved(BaseModel):
    """Any JSON file with a run's configuration: a `best.json`, a report, a submission's provenance."""

    config: RunConfig


def read_preset(preset: str) -> tuple[dict[str, Any], str]:
    """Return the raw configuration of a preset and its place for messages. Raises SpecError.

    `preset` is a built-in name, or the path of a TOML file or of a JSON file with a key `config`.
    """
    path = Path(preset)
    if path.suffix == ".toml":
        if not re.search(PRESET_NAME, path.stem):
            raise SpecError(
                "the file's name becomes a part of the run's name and cannot be used",
                where=f"--preset {shown_value(preset)}",
                hint="Rename it: letters, digits, `_`, `.` and `-`, at most 60 of them, the first one no `.` or `-`.",
            )
        return {**read_toml(path), "preset": path.stem}, preset
    if path.suffix == ".json":
        text = read_text(path)
        try:
            raw = json.loads(text)
        except RecursionError as error:
            raise SpecError("its brackets are nested too deeply", where=preset) from error
        except ValueError as error:
            raise SpecError(f"is not a complete JSON file: {error}", where=preset) from error
        return validated(_Saved, raw, where=preset).config.model_dump(), preset
    if preset not in preset_names():
        raise SpecError(f"unknown preset {preset!r}", hint=did_you_mean(preset, preset_names()))
    text = resources.files("pipeline.config.presets").joinpath(f"{preset}.toml").read_text("utf-8")
    return {**tomllib.loads(text), "preset": preset}, f"preset {preset}"


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set `key=value` in a raw run configuration. The value is TOML, or else plain text. Raises SpecError."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set needs key=value, got {override!r}", hint="For example: --set lr=0.01")
    try:
        override.encode("utf-8")
        value = parse_toml(f"value = {text}")["value"]
    except UnicodeEncodeError:
        raise SpecError("--set needs UTF-8 text", where=repr(override)) from None
    except tomllib.TOMLDecodeError:
        value = text
    except ValueError as error:
        raise SpecError(str(error), where=f"--set {key.strip()}") from error
    set_value(raw, key.strip(), value)


def set_value(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a raw run configuration; a bare key that is not a field of RunConfig is a model parameter."""
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
    """Format a dumped configuration as a preset file, with a comment for each unset value."""
    lines, tables = [], []
    for key, value in table.items():
        key = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else toml_value(key)
        inside = f"{path}{key}"
        if isinstance(value, Mapping):
            tables.append(f"\n[{inside}]\n{as_toml(value, f'{inside}.')}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{inside}]]\n{as_toml(one, f'{inside}.')}" for one in value]
        else:
            lines.append(f"# {key} is not set" if value is None else f"{key} = {toml_value(value)}")
    return "\n".join([*lines, *tables])


def toml_value(value: Any) -> str:
    """Format strings, numbers, booleans and lists, which are the same in JSON and TOML but for some characters."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
