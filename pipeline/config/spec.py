"""A competition's spec, `data/<competition>/competition.toml`: the only place where a competition is described.

Knows TOML and the metrics; must not know data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.base.names import competition_slug, dataset_slug, file_name
from pipeline.config.search_space import SpaceEntry
from pipeline.config.table import Table, bounded, read_toml, validated
from pipeline.metrics import METRICS, Metric, Task
from pipeline.metrics.own import Reads, own_metric, own_metric_parts

TargetTransform = Literal["none", "log", "log1p", "standardise"]
Scope = Literal["train", "train+test"]
MissingTarget = Literal["drop", "refuse"]
Aggregate = Literal["count", "mean", "std", "min", "max", "last", "nunique"]
Written = Literal["value", "probability", "label", "labels"]
FoldKind = Literal[
    "contiguous", "shuffled", "stratified", "group", "stratified_group", "time", "column", "file", "holdout"
]


@dataclass(frozen=True)
class FoldRules:
    """Properties of a kind of folds. `competition.folds` assigns the rows."""

    needs: str | None = None  # the required key of [folds]
    has_number: bool = True  # whether `number` sets the number of folds
    is_chained: bool = False  # whether a fold trains only on earlier folds
    redrawn_as: FoldKind | None = None  # the kind that other seeds assign differently, for repeats


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


def _file_name(value: str | None) -> str | None:
    return None if value is None else file_name(value)


def _slug(value: str | None, info: ValidationInfo) -> str | None:
    """Return the name that `value`, which may be an address, gives. Raises ValueError."""
    if value is None:
        return None
    try:
        return (dataset_slug if info.field_name == "dataset" else competition_slug)(value)
    except SpecError as error:
        raise ValueError(error.what) from None


class Columns(Table):
    """Roles of columns that cannot be inferred from their values."""

    categories: list[str] = Field(default=[], description="numeric columns that hold codes of categories")
    ordered: dict[str, list[str]] = Field(default={}, description="ordered categories: column = levels, lowest first")
    dates: list[str] = Field(
        default=[], description="dates; become year, month, day, weekday, hour, minute, second, elapsed days"
    )
    texts: list[str] = Field(default=[], description="free text, names, compound codes; models see only parts")
    missing: dict[str, list[str]] = Field(
        default={}, description='texts or numbers that mark a missing cell: column = ["-999"]'
    )
    drop: list[str] = Field(default=[], description="columns to leave out")
    na_is_category: list[str] = Field(default=[], description="columns in which the text NA is a value")
    sample_weight: str | None = Field(default=None, description="train column with the weight of each row in the loss")


class Folds(Table):
    """How train rows are assigned to folds."""

    kind: FoldKind = Field(default="shuffled", description="rule that assigns the rows")
    number: int = bounded(5, ge=2, le=100, usual="5 to 10", description="number of folds")
    seed: int = bounded(0, ge=0, le=2**31 - 1, usual="0 to 9", description="random seed of the assignment")
    bins: int = bounded(
        10, ge=2, le=1000, usual="5 to 20", description="quantile bins of a numeric target, for stratified kinds"
    )
    group: str | None = Field(default=None, description="column of group kinds: rows with equal values share a fold")
    time: str | None = Field(default=None, description="column of kind `time`: models train on earlier rows")
    length: float | None = bounded(
        None,
        gt=0.0,
        usual="the time from the last train row to the last test row",
        description="kind `time`: what each fold validates, in days (or the unit of a column of numbers), the last up "
        "to the last row; default: equal numbers of rows",
    )
    gap: float = bounded(
        0.0,
        ge=0.0,
        usual="0 to 30",
        description="kind `time`: days (or units) before a fold's valid rows that it leaves out of training",
    )
    max_train: float | None = bounded(
        None,
        gt=0.0,
        usual="a year or more",
        description="kind `time`: days (or units) before the gap that a fold trains on; default: all",
    )
    column: str | None = Field(default=None, description="train column of kind `column`: the fold of each row")
    file: str | None = Field(default=None, description="CSV of kind `file`, beside the spec: the id column and `fold`")
    share: float = bounded(
        0.2, gt=0.0, lt=1.0, usual="0.1 to 0.3", description="share of the rows that kind `holdout` validates"
    )

    _file_can_exist = field_validator("file")(_file_name)

    @model_validator(mode="after")
    def _has_the_key_its_kind_needs(self) -> Folds:
        if self.rules.needs and getattr(self, self.rules.needs) is None:
            raise ValueError(f'kind = "{self.kind}" needs the key {self.rules.needs!r}')
        for key in ("length", "gap", "max_train"):
            if getattr(self, key) and self.kind != "time":
                raise ValueError(f'the key {key!r} is for kind = "time", not for "{self.kind}"')
        return self

    @property
    def rules(self) -> FoldRules:
        """Properties of the kind."""
        return FOLD_KINDS[self.kind]


class Scoring(Table):
    """What a metric needs besides its name."""

    weight: str | None = Field(
        default=None,
        description="train column with the weight of each row in the metric, and in the loss without "
        "`columns.sample_weight`",
    )
    weights: dict[str, float] = Field(
        default={}, description="the weight of each value of that column, such as `{true = 5, false = 1}`"
    )
    columns: list[str] = Field(
        default=[], description="train columns that a metric of one's own finds in `solution` besides the targets"
    )
    reads: Reads | None = Field(
        default=None, description="what a metric of one's own reads in `submission`; default: found by trial"
    )
    greater_is_better: bool | None = Field(
        default=None, description="direction of a metric of one's own; default: found by trial"
    )
    min_prediction: float | None = Field(
        default=None, description="smallest value that a metric of one's own accepts, others become it"
    )

    @field_validator("weights")
    @classmethod
    def _weights_are_possible(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if weight < 0:
                raise ValueError(f"the weight of {name!r} is {weight:g}; a weight must be 0 or greater")
        return value

    @model_validator(mode="after")
    def _weights_have_a_column(self) -> Scoring:
        if self.weights and self.weight is None:
            raise ValueError('weights need the key "weight", the column whose values they are for')
        return self


class SeriesTime(Table):
    """Time series in the table, such as sales of stores by day: adds calendar and history of each row's series."""

    date: str = Field(description="column with the time of each row")
    key: list[str] = Field(default=[], description="columns that name a row's series; default: all rows are one")
    horizon: float = bounded(
        ...,
        gt=0,
        usual="the time from the last train row to the last test row",
        description="how long before a row the targets of its series are known, in days (or the unit of a column of "
        "numbers)",
    )

    @field_validator("key", mode="before")
    @classmethod
    def _one_column_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Encoder(Table):
    """What encoders may learn from."""

    scope: Scope = Field(default="train", description="rows for statistics without the target, such as means")
    pixels: bool = Field(default=False, description="all numbers are pixels; every run scales them into [0, 1]")


class Files(Table):
    """Names of the raw files. Each is also found in other formats: `.csv`, `.tsv`, `.jsonl`, `.parquet`, `.csv.zip`."""

    train: str = Field(default="train.csv", description="rows with the target")
    test: str = Field(
        default="test.csv", description="rows to predict; the same name as `train` if one file has both, see `[split]`"
    )
    sample_submission: str = Field(default="sample_submission.csv", description="the format to submit: ids and columns")
    labels: str | None = Field(
        default=None, description="the targets of the train rows, if they are apart: joined by the id, or row by row"
    )

    _files_can_exist = field_validator("*")(_file_name)


class Split(Table):
    """Which rows of a file that has train and test rows are test."""

    column: str | None = Field(
        default=None, description="column that says which rows are test; default: those without a target"
    )
    test: list[str] = Field(default=["test"], min_length=1, description="its values in test rows; the others are train")


class JoinedTable(Table):
    """A further file, joined onto train and test by columns that they share: `[[tables]]`."""

    file: str = Field(description="name of the file")
    by: list[str] = Field(min_length=1, description="key: a column, or a list of several, that all three files have")
    name: str = Field(default="", description="prefix of the new columns, `name.column`; default: the file's name")
    columns: list[str] = Field(default=[], description="columns to join; default: all but the key")
    aggregates: list[Aggregate] = Field(
        default=list(get_args(Aggregate)),
        description="for several rows a key: `count` is of rows; `last` and `nunique` are also for texts",
    )

    _file_can_exist = field_validator("file")(_file_name)

    @field_validator("by", mode="before")
    @classmethod
    def _one_column_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def prefix(self) -> str:
        """The name before the dot of each new column."""
        return self.name or self.file.partition(".")[0]


class IdColumns(Table):
    """Where the ids are, if a file calls its id column otherwise or has none. Ids keep their text in all files."""

    train: str | list[str] | None = Field(
        default=None, description='id column of the train file, or columns to join; "": none, its rows are numbered'
    )
    test: str | list[str] | None = Field(
        default=None,
        description='id column of the test file, or columns to join; "": none, its rows have the ids of the sample '
        "submission, in order",
    )
    sample_submission: str | None = Field(default=None, description="id column of the sample submission")
    separator: str = Field(default="_", description="text between joined columns")


class SubmissionFormat(Table):
    """How predictions fill the columns of the sample submission."""

    columns: list[str] = Field(default=[], description="prediction columns; default: the targets")
    classes: list[str] = Field(default=[], description="class of each prediction column, if there is one per class")
    writes: Written | None = Field(
        default=None,
        description="content of the prediction columns; default: what the metric reads. `labels`: the most probable "
        "classes in one cell, separated by blanks",
    )


class CompetitionSpec(Table):
    """A competition's spec: `data/<competition>/competition.toml`."""

    name: str = Field(description="name of its folder in `data/`")
    kaggle_slug: str = Field(description="last part of the competition's address: kaggle.com/competitions/SLUG")
    dataset: str | None = Field(default=None, description="Kaggle dataset OWNER/NAME that has the files instead")
    id: str = Field(description="id column of the train, test and sample submission files; see `[ids]`")
    target: list[str] = Field(
        min_length=1, description="target column, or a list of several, over which the metric is averaged"
    )
    task: Task = Field(description="what to predict: numbers, or one of two or several classes")
    metric: str = Field(
        description="how Kaggle scores; see [metrics](#metrics). `file.py:function`: "
        "[a metric of your own](spec.md#a-metric-of-your-own) beside the spec"
    )
    kaggle_metric: str | None = Field(
        default=None, description="Kaggle's name of the metric, if `metric` stands for it under another name"
    )
    target_transform: TargetTransform = Field(
        default="none", description="transformation of a numeric target for training"
    )
    missing_target: MissingTarget = Field(
        default="drop", description="train rows without a target are left out, or the file is refused"
    )
    feature_function: str | None = Field(
        default=None, description="Python file beside the spec with `add_features(frame) -> frame`"
    )
    columns: Columns = Columns()
    folds: Folds = Folds()
    time: SeriesTime | None = None
    scoring: Scoring = Scoring()
    encoder: Encoder = Encoder()
    files: Files = Files()
    split: Split = Split()
    tables: list[JoinedTable] = Field(default=[], description="further files, joined by keys; see `[[tables]]`")
    ids: IdColumns = IdColumns()
    submission: SubmissionFormat = SubmissionFormat()
    tune: dict[str, dict[str, SpaceEntry]] = Field(default={}, description="changes of the models' search spaces")

    _slugs_are_valid = field_validator("kaggle_slug", "dataset")(_slug)
    _file_can_exist = field_validator("feature_function")(_file_name)

    @field_validator("target", mode="before")
    @classmethod
    def _one_target_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, value: str) -> str:
        if own := own_metric_parts(value):
            file_name(own[0])
        elif ":" in value or value.endswith(".py"):
            raise ValueError(f"{value!r} names no function; write a metric of your own as metric.py:score")
        elif value not in METRICS:
            raise ValueError(f"unknown metric {value!r}. {did_you_mean(value, METRICS)}")
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> CompetitionSpec:
        self._check_scoring()
        if self.metric_file is None and self.task not in METRICS[self.metric].tasks:
            fitting = [name for name, metric in METRICS.items() if self.task in metric.tasks]
            raise ValueError(f"metric {self.metric!r} cannot score a {self.task} task; use one of {', '.join(fitting)}")
        if self.task != "regression" and self.target_transform != "none":
            raise ValueError('target_transform is for regression only; remove it or set it to "none"')
        if len(self.target) > 1 and self.task != "regression":
            self._check_several_targets_of_classes()
        if self.submission.writes == "labels" and self.scorer.n_labels is None:
            raise ValueError(f'submission.writes = "labels" needs a metric of ranked classes, not {self.metric!r}')
        if self.task == "regression" and self.submission.writes not in (None, "value"):
            raise ValueError(f'submission.writes = "{self.submission.writes}" is for classes, not for a regression')
        if self.submission.writes in ("label", "labels") and self.submission.classes:
            raise ValueError(f'writes = "{self.submission.writes}" fills one column; remove submission.classes')
        if self.split.column is not None and not self.is_one_file:
            raise ValueError(
                "split.column is for one file of train and test rows: give files.test the name of files.train"
            )
        prefixes = [table.prefix for table in self.tables]
        if repeated := sorted({name for name in prefixes if prefixes.count(name) > 1}):
            raise ValueError(f"two [[tables]] are called {repeated[0]!r}: give one another `name`")
        self._check_time()
        taken = {self.id, *self.target}
        for key in ("categories", "dates", "texts", "missing", "drop", "na_is_category"):
            for column in getattr(self.columns, key):
                if column in taken and column != self.id:
                    raise ValueError(f"columns.{key} names {column!r}, which is a target")
        return self

    def _check_scoring(self) -> None:
        """Raise ValueError for keys of [scoring] that do not suit the metric."""
        scoring = self.scoring
        for key in ("columns", "reads", "greater_is_better", "min_prediction"):
            if self.metric_file is None and getattr(scoring, key) not in (None, []):
                raise ValueError(f"scoring.{key} is for a metric of one's own, not for {self.metric!r}")
        if scoring.reads is not None and (scoring.reads == "value") != (self.task == "regression"):
            raise ValueError(f'scoring.reads = "{scoring.reads}" does not suit a {self.task} task')
        if self.metric_file is not None:
            return
        metric = METRICS[self.metric]
        if scoring.weight is not None and not metric.can_weigh:
            raise ValueError(f"the metric {self.metric!r} cannot weigh rows; remove scoring.weight")
        if scoring.weight is None and metric.needs_weight:
            raise ValueError(f"the metric {self.metric!r} needs scoring.weight, the train column with the weights")

    @property
    def metric_file(self) -> str | None:
        """The file beside the spec with a metric of one's own."""
        own = own_metric_parts(self.metric)
        return own[0] if own else None

    def _check_time(self) -> None:
        """Raise ValueError if the history of [time] could show a fold the targets that it validates."""
        time, folds = self.time, self.folds
        if time is None:
            return
        if self.task != "regression":
            raise ValueError("[time] is for a regression")
        if folds.kind != "time" or folds.time != time.date:
            raise ValueError(f'[time] needs [folds] kind = "time" and time = "{time.date}"')
        if folds.length is None or folds.length > time.horizon:
            raise ValueError(
                f"[time] needs [folds] length of at most the horizon {time.horizon:g}: rows of a longer fold know "
                "targets that it validates"
            )

    def _check_several_targets_of_classes(self) -> None:
        if self.task == "multiclass":
            raise ValueError('several targets are numbers (task = "regression") or have two classes each ("binary")')
        if self.submission.classes:
            raise ValueError("submission.classes is for one target with a column per class, not for several targets")
        if self.scorer.n_labels is not None:
            raise ValueError(f"metric {self.metric!r} ranks the classes of one target; there are {len(self.target)}")

    @property
    def data_slug(self) -> str:
        """The dataset with the raw files, or else the competition."""
        return self.dataset or self.kaggle_slug

    @property
    def raw_names(self) -> dict[str, str]:
        """The names of all raw files that are read, by what they are."""
        named = {key: name for key, name in self.files.model_dump().items() if name is not None}
        return named | {f"{table.prefix} table": table.file for table in self.tables}

    @property
    def is_one_file(self) -> bool:
        """Whether train and test rows are in one file."""
        return self.files.train == self.files.test

    @property
    def scorer(self) -> Metric:
        """The metric, without its rows."""
        if self.metric_file is not None:
            scoring = self.scoring
            return own_metric(
                self.metric,
                reads=scoring.reads or ("value" if self.task == "regression" else "probability"),
                greater_is_better=bool(scoring.greater_is_better),
                min_prediction=scoring.min_prediction,
            )
        return METRICS[self.metric].for_task(self.task)

    @property
    def prediction_columns(self) -> list[str]:
        """The prediction columns of the sample submission, in its order."""
        return self.submission.columns or self.target

    @property
    def sample_id(self) -> str:
        """The id column of the sample submission and of submissions."""
        return self.id if self.ids.sample_submission is None else self.ids.sample_submission

    @property
    def text_columns(self) -> list[str]:
        """Columns of a submission to be read as text: ids, which keep every digit, and labels, of which one may be NA.

        An id column without a header is called `Unnamed: 0`, as by pandas, in the spec and "" in the file.
        """
        ids = [self.sample_id, ""] if self.sample_id.startswith("Unnamed: ") else [self.sample_id]
        return ids + ([*self.prediction_columns, *self.target] if self.writes in ("label", "labels") else [])

    @property
    def writes(self) -> Written:
        """The content of the prediction columns."""
        is_ranking = self.scorer.n_labels is not None and not self.submission.classes
        return self.submission.writes or ("labels" if is_ranking else self.scorer.reads)


def load_spec(path: Path) -> CompetitionSpec:
    """Read and validate a `competition.toml`. Raises SpecError that lists all mistakes."""
    if not path.exists():
        raise SpecError(
            f"the competition {path.parent.name!r} has no spec",
            where=str(path),
            hint=f"`python -m pipeline init {path.parent.name}` writes one from the competition's files.",
        )
    return validated(CompetitionSpec, read_toml(path), where=str(path))
