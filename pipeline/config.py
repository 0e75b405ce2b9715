"""What the user writes down: a competition's spec and a run's configuration (preset + overrides).

Knows TOML and pydantic; knows no data. Every mistake becomes a `SpecError` naming file, table, key and nearest key.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import SpecError, did_you_mean
from pipeline.metrics import METRICS, Metric, Task

TargetTransform = Literal["none", "log", "log1p", "standardise"]
Scope = Literal["train", "train+test"]
FoldKind = Literal["contiguous", "shuffled", "stratified", "group", "stratified_group", "time", "column", "file"]
FinalStrategy = Literal["average", "refit"]
ModelT = TypeVar("ModelT", bound=BaseModel)


class Table(BaseModel):
    """A TOML table: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(Table):
    """Roles the values of a column cannot tell."""

    categories: list[str] = Field(default=[], description="numeric codes that are names, not amounts")
    ordered: dict[str, list[str]] = Field(default={}, description="column -> its levels, lowest first")
    dates: list[str] = Field(default=[], description="expanded into year, month, day, weekday, hour")
    drop: list[str] = Field(default=[], description="columns no model sees")
    na_is_category: list[str] = Field(default=[], description="columns where the text NA is a value")
    sample_weight: str | None = Field(default=None, description="train column that weighs rows in the loss")


class Folds(Table):
    """How train rows are given to folds."""

    kind: FoldKind = "shuffled"
    number: int = Field(default=5, ge=2, le=100)
    seed: int = Field(default=0, ge=0)
    bins: int = Field(default=10, ge=2, description="quantile bins of a numeric target when stratified")
    group: str | None = Field(default=None, description="column whose equal values stay in one fold")
    time: str | None = Field(default=None, description="column that orders rows for forward chaining")
    column: str | None = Field(default=None, description="train column holding the fold of each row")
    file: str | None = Field(default=None, description="csv beside the spec: id column and `fold`")

    @model_validator(mode="after")
    def _names_what_its_kind_needs(self) -> Folds:
        needed = {
            "group": "group",
            "stratified_group": "group",
            "time": "time",
            "column": "column",
            "file": "file",
        }
        key = needed.get(self.kind)
        if key and getattr(self, key) is None:
            raise ValueError(f'kind = "{self.kind}" needs the key {key!r}')
        return self


class Encoder(Table):
    """Which rows encoders may learn unsupervised statistics from."""

    scope: Scope = "train"


class Files(Table):
    """Names of the raw files; `.csv` is also found as `.csv.gz` and as `.parquet`."""

    train: str = "train.csv"
    test: str = "test.csv"
    sample_submission: str = "sample_submission.csv"


class Submission(Table):
    """How predictions become the columns of the sample submission."""

    columns: list[str] = Field(default=[], description="prediction columns; default: the targets")
    classes: list[str] = Field(default=[], description="class each column stands for, when there is one column a class")
    writes: Literal["value", "probability", "label"] | None = Field(
        default=None, description="default: what the metric reads"
    )


class SpaceEntry(Table):
    """One dimension of a search space: a range, or choices; `when` names the choices of others it depends on."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = Field(default=False, description="whole numbers only")
    choices: list[Any] | None = None
    when: dict[str, Any] = Field(default={}, description="parameter -> value it must have for this one to be asked")
    tasks: list[Task] = Field(default=["regression", "binary", "multiclass"])

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> SpaceEntry:
        is_range = self.low is not None and self.high is not None
        if is_range == (self.choices is not None):
            raise ValueError("wants either low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and (self.low or 0.0) <= 0:
            raise ValueError("a log range must start above 0")
        if self.choices is not None and not self.choices:
            raise ValueError("choices is empty")
        return self


class CompetitionSpec(Table):
    """One competition: `data/<competition>/competition.toml`."""

    name: str
    kaggle_slug: str
    id: str
    target: list[str] = Field(min_length=1)
    task: Task
    metric: str
    target_transform: TargetTransform = "none"
    feature_function: str | None = Field(
        default=None, description="python file beside the spec with `add_features(frame) -> frame`"
    )
    columns: Columns = Columns()
    folds: Folds = Folds()
    encoder: Encoder = Encoder()
    files: Files = Files()
    submission: Submission = Submission()
    tune: dict[str, dict[str, SpaceEntry]] = Field(default={}, description="model -> entries over its search space")

    @field_validator("target", mode="before")
    @classmethod
    def _one_target_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, value: str) -> str:
        if value not in METRICS:
            raise ValueError(f"unknown metric {value!r}. {did_you_mean(value, METRICS)}")
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> CompetitionSpec:
        if self.task not in self.scorer.tasks:
            fitting = [name for name, metric in METRICS.items() if self.task in metric.tasks]
            raise ValueError(f"metric {self.metric!r} cannot score a {self.task} task; one of {', '.join(fitting)}")
        if self.task != "regression" and self.target_transform != "none":
            raise ValueError('target_transform belongs to regression; remove it or set it to "none"')
        if self.task != "regression" and len(self.target) > 1:
            raise ValueError("several targets are supported for regression only")
        taken = {self.id, *self.target}
        for key in ("categories", "dates", "drop", "na_is_category"):
            for column in getattr(self.columns, key):
                if column in taken and column != self.id:
                    raise ValueError(f"columns.{key} names {column!r}, which is a target")
        return self

    @property
    def scorer(self) -> Metric:
        """The metric's entry in the table of metrics."""
        return METRICS[self.metric]

    @property
    def prediction_columns(self) -> list[str]:
        """The sample submission's prediction columns, in its order."""
        return self.submission.columns or self.target

    @property
    def writes(self) -> Literal["value", "probability", "label"]:
        """What a submission holds: values, probabilities or labels."""
        return self.submission.writes or self.scorer.reads


class FeatureSteps(Table):
    """Optional steps of the encoders; all off unless a preset or the spec asks."""

    feature_function: bool = Field(default=False, description="run the competition's own add_features, if it has one")
    log1p_skewed: float | None = Field(default=None, gt=0, description="log1p of numerics with |skew| above this")
    missing_indicators: bool = False
    rare_min_count: int = Field(default=0, ge=0, description="pool categories seen fewer times in the fit rows")
    ordered_mapping: bool = Field(default=False, description="ordered categories become their level's number")
    target_encoding: int | None = Field(
        default=None,
        ge=2,
        description="cross-fitted target means of categories with at least this many levels",
    )
    codes_as_numbers: bool = Field(default=False, description="read categories written with digits as amounts")
    scaling: Literal["standard", "robust"] = "standard"


class RunConfig(Table):
    """One run: a preset with the user's overrides applied."""

    preset: str
    description: str = ""
    model: str
    params: dict[str, Any] = {}
    features: FeatureSteps = FeatureSteps()
    scope: Scope | None = Field(default=None, description="overrides the spec's encoder scope")
    target_transform: TargetTransform | None = Field(default=None, description="overrides the spec's")
    seeds: int = Field(default=1, ge=1, le=1000, description="members trained per fold; predictions are averaged")
    seed: int = Field(default=0, ge=0)
    final: FinalStrategy = "average"
    final_reason: str = Field(default="", description="why `final` is what it is; shown to the user")

    @property
    def run_name(self) -> str:
        """`<preset>-<model>-<hash>`: the same configuration has the same name, on every machine."""
        text = json.dumps(self.model_dump(exclude={"description", "final", "final_reason"}), sort_keys=True)
        return f"{self.preset}-{self.model}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; syntax errors name the file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"not valid TOML: {error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise SpecError("not UTF-8 text", where=str(path), hint="Save the file as UTF-8.") from error
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(path)) from error


def load_spec(path: Path) -> CompetitionSpec:
    """Read and check `competition.toml`. Raises SpecError with every mistake found."""
    if not path.exists():
        raise SpecError(
            f"there is no spec for the competition {path.parent.name!r}",
            where=str(path),
            hint=f"`python -m pipeline init {path.parent.name}` writes one from the competition's own files.",
        )
    return validated(CompetitionSpec, read_toml(path), where=str(path))


def preset_names() -> list[str]:
    """The built-in presets, by name."""
    return sorted(p.name[:-5] for p in resources.files("pipeline.presets").iterdir() if p.name.endswith(".toml"))


def load_search_space(model: str, spec: CompetitionSpec) -> dict[str, SpaceEntry]:
    """The model's search space with the spec's entries over it, for the spec's task. Raises SpecError."""
    file = resources.files("pipeline.models.spaces").joinpath(f"{model}.toml")
    known = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    space = {name: validated(SpaceEntry, raw, where=f"search space of {model}, {name}") for name, raw in known.items()}
    space |= spec.tune.get(model, {})
    for name, entry in space.items():
        for other in entry.when:
            if other not in space:
                raise SpecError(
                    f"{name} depends on {other!r}", where=f"[tune.{model}]", hint=did_you_mean(other, space)
                )
    return {name: entry for name, entry in space.items() if spec.task in entry.tasks}


def load_run_config(preset: str, *, model: str | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """The preset's configuration with `model` and `key=value` overrides applied.

    `preset` is a built-in name, the path of a TOML file, or that of a `best.json` of `tune`. Another `model` than the
    preset's drops the preset's params. Override keys are dotted (`features.rare_min_count=5`); a bare key that is no
    field of a run is a parameter of the model (`lr=0.01`). Raises SpecError.
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
        raw = tomllib.loads(resources.files("pipeline.presets").joinpath(f"{preset}.toml").read_text("utf-8"))
    if model is not None and model != raw.get("model"):
        raw = {**raw, "model": model, "params": {}}
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


def validated(model: type[ModelT], raw: Mapping[str, Any], *, where: str) -> ModelT:
    """`raw` as `model`, or a SpecError that lists each mistake as `[table] key: what`."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_mistake(model, item) for item in error.errors(include_url=False)]
        raise SpecError("\n  ".join(["the configuration has mistakes:", *lines]), where=where) from None


def _mistake(model: type[BaseModel], item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    table = f"[{'.'.join(location[:-1])}] " if len(location) > 1 else ""
    key = location[-1] if location else "the file"
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return f"{table}unknown key {key!r}. {did_you_mean(key, known)}"
    if item["type"] == "missing":
        return f"{table}missing key {key!r}"
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], dict | BaseModel):  # a check of a whole table
        return f"[{'.'.join(location)}] {message}" if location else message
    return f"{table}{key}: {message} (it is {item['input']!r})"


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the nested table at `location`."""
    annotation: Any = model
    for part in location:
        if get_origin(annotation) is dict:  # a table whose keys are the user's
            annotation = get_args(annotation)[1]
            continue
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        field = annotation.model_fields.get(part)
        annotation = field.annotation if field else None
    is_table = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return list(annotation.model_fields) if is_table else []
