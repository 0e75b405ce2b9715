"""A competition as its user writes it down: `data/<competition>/competition.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.config.search_space import SpaceEntry
from pipeline.config.table import Table, read_toml, validated
from pipeline.metrics import METRICS, Metric, Task

TargetTransform = Literal["none", "log", "log1p", "standardise"]
Scope = Literal["train", "train+test"]
FoldKind = Literal[
    "contiguous", "shuffled", "stratified", "group", "stratified_group", "time", "column", "file", "holdout"
]


@dataclass(frozen=True)
class FoldRules:
    """What is special about a kind of folds; `competition.folds` assigns them."""

    needs: str | None = None  # the key of [folds] it cannot do without
    has_number: bool = True  # whether there are as many folds as `number` says
    is_chained: bool = False  # whether a fold trains on the folds before it alone, not on all others
    redrawn_as: FoldKind | None = None  # the kind that gives other cuts by other seeds; None: there are no others


FOLD_KINDS: dict[FoldKind, FoldRules] = {
    "contiguous": FoldRules(redrawn_as="shuffled"),
    "shuffled": FoldRules(redrawn_as="shuffled"),
    "stratified": FoldRules(redrawn_as="stratified"),
    "group": FoldRules(needs="group", redrawn_as="group"),
    "stratified_group": FoldRules(needs="group", redrawn_as="stratified_group"),
    "time": FoldRules(needs="time", is_chained=True),
    "column": FoldRules(needs="column", has_number=False),
    "file": FoldRules(needs="file", has_number=False),
    "holdout": FoldRules(has_number=False, redrawn_as="holdout"),
}
assert FOLD_KINDS.keys() == set(get_args(FoldKind))


class Columns(Table):
    """Roles of columns that their values do not show."""

    categories: list[str] = Field(default=[], description="numeric codes that are categories, not amounts")
    ordered: dict[str, list[str]] = Field(default={}, description="column -> its levels, lowest first")
    dates: list[str] = Field(default=[], description="expanded into year, month, day, weekday, hour")
    texts: list[str] = Field(default=[], description="free text, names and compound codes; models see only the parts")
    drop: list[str] = Field(default=[], description="columns that no model sees")
    na_is_category: list[str] = Field(default=[], description="columns where the text NA is a value")
    sample_weight: str | None = Field(default=None, description="train column with the weight of each row in the loss")


class Folds(Table):
    """How train rows are assigned to folds."""

    kind: FoldKind = Field(default="shuffled", description="how rows are assigned to folds")
    number: int = Field(default=5, ge=2, le=100, description="number of folds")
    seed: int = Field(default=0, ge=0, description="random seed of the assignment")
    bins: int = Field(default=10, ge=2, description="quantile bins of a numeric target when stratified")
    group: str | None = Field(default=None, description="column whose equal values stay in one fold")
    time: str | None = Field(default=None, description="column that orders rows for forward chaining")
    column: str | None = Field(default=None, description="train column holding the fold of each row")
    file: str | None = Field(default=None, description="csv beside the spec: id column and `fold`")
    share: float = Field(
        default=0.2, gt=0.0, lt=1.0, description="of a holdout: share of the train rows that is validated"
    )

    @model_validator(mode="after")
    def _names_what_its_kind_needs(self) -> Folds:
        if self.rules.needs and getattr(self, self.rules.needs) is None:
            raise ValueError(f'kind = "{self.kind}" needs the key {self.rules.needs!r}')
        return self

    @property
    def rules(self) -> FoldRules:
        """What is special about the kind."""
        return FOLD_KINDS[self.kind]


class Encoder(Table):
    """Which rows encoders may learn from, and what the numbers are."""

    scope: Scope = Field(default="train", description="rows that unsupervised statistics (means, levels) are fitted on")
    pixels: bool = Field(default=False, description="all numbers are pixels: scaled together into [0, 1] in every run")


class Files(Table):
    """Names of the raw files; `.csv` is also found as `.csv.gz` and as `.parquet`."""

    train: str = Field(default="train.csv", description="rows with the target")
    test: str = Field(default="test.csv", description="rows to predict")
    sample_submission: str = Field(default="sample_submission.csv", description="ids and columns to submit")


class SubmissionFormat(Table):
    """How predictions become the columns of the sample submission."""

    columns: list[str] = Field(default=[], description="prediction columns; default: the targets")
    classes: list[str] = Field(
        default=[], description="the class of each prediction column, where there is one column per class"
    )
    writes: Literal["value", "probability", "label"] | None = Field(
        default=None, description="what a submission holds; default: what the metric reads"
    )


class CompetitionSpec(Table):
    """One competition: `data/<competition>/competition.toml`."""

    name: str = Field(description="folder name under `data/`")
    kaggle_slug: str = Field(description="last part of the competition's address at Kaggle")
    dataset: str | None = Field(default=None, description="Kaggle data set that holds the files: owner/name")
    id: str = Field(description="id column of train, test and sample submission")
    target: list[str] = Field(min_length=1, description="target column, or a list of several")
    task: Task = Field(description="what is predicted")
    metric: str = Field(description="what Kaggle scores: one of the table of metrics")
    target_transform: TargetTransform = Field(
        default="none", description="transformation of a regression target before training"
    )
    feature_function: str | None = Field(
        default=None, description="Python file beside the spec that defines `add_features(frame) -> frame`"
    )
    columns: Columns = Columns()
    folds: Folds = Folds()
    encoder: Encoder = Encoder()
    files: Files = Files()
    submission: SubmissionFormat = SubmissionFormat()
    tune: dict[str, dict[str, SpaceEntry]] = Field(default={}, description="changes to the search space of a model")

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
        for key in ("categories", "dates", "texts", "drop", "na_is_category"):
            for column in getattr(self.columns, key):
                if column in taken and column != self.id:
                    raise ValueError(f"columns.{key} names {column!r}, which is a target")
        return self

    @property
    def data_slug(self) -> str:
        """What Kaggle is asked for to get the raw files: the data set when one is named, else the competition."""
        return self.dataset or self.kaggle_slug

    @property
    def scorer(self) -> Metric:
        """The metric's entry in the table of metrics."""
        return METRICS[self.metric]

    @property
    def prediction_columns(self) -> list[str]:
        """The sample submission's prediction columns, in its order."""
        return self.submission.columns or self.target

    @property
    def label_columns(self) -> list[str]:
        """Columns of a submission that hold labels: read as text, so that a class called NA or None is one."""
        return [*self.prediction_columns, *self.target] if self.writes == "label" else []

    @property
    def writes(self) -> Literal["value", "probability", "label"]:
        """What a submission holds: values, probabilities or labels."""
        return self.submission.writes or self.scorer.reads


def load_spec(path: Path) -> CompetitionSpec:
    """Read and check `competition.toml`. Raises SpecError with every mistake found."""
    if not path.exists():
        raise SpecError(
            f"there is no spec for the competition {path.parent.name!r}",
            where=str(path),
            hint=f"`python -m pipeline init {path.parent.name}` writes one from the competition's own files.",
        )
    return validated(CompetitionSpec, read_toml(path), where=str(path))
