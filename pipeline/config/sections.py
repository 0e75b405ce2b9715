"""The sections of a competition's spec, such as [columns] and [folds], each with its keys and their bounds.

Must not know how the sections fit together, or data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline.base.names import file_name
from pipeline.config.table import Table, bounded
from pipeline.metrics.own import Reads

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


def checked_file_name(value: str | None) -> str | None:
    """The name, if it can be a file's. Raises ValueError."""
    return None if value is None else file_name(value)


class Columns(Table):
    """Roles of columns that cannot be inferred from their values."""

    categories: list[str] = Field(default=[], description="numeric columns that hold codes of categories")
    ordered: dict[str, list[str]] = Field(
        default={}, description="ordered categories, or classes of the target: column = levels, lowest first"
    )
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

    _file_can_exist = field_validator("file")(checked_file_name)

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
    trend: bool = Field(
        default=False,
        description="whether models see the date's year and elapsed days (or the number of a numeric time), which grow "
        "beyond those that they were trained on",
    )
    holidays: list[str] = Field(
        default=[],
        description='codes of countries such as `"US"`, or of parts of them such as `"US-CA"`, whose public holidays '
        "become columns (extra: holidays)",
    )
    country: str | None = Field(
        default=None,
        description="column with the country of each row, by name or code, whose public holidays become columns "
        "(extra: holidays)",
    )

    @field_validator("key", "holidays", mode="before")
    @classmethod
    def _one_text_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _countries_are_named_once(self) -> SeriesTime:
        if self.holidays and self.country is not None:
            raise ValueError("the keys `holidays` and `country` name the countries twice: remove one")
        return self

    @property
    def has_holidays(self) -> bool:
        """Whether there are columns of public holidays."""
        return bool(self.holidays) or self.country is not None


class Encoder(Table):
    """What encoders may learn from."""

    scope: Scope = Field(default="train", description="rows for statistics without the target, such as means")
    pixels: bool = Field(default=False, description="all numbers are pixels; every run scales them into [0, 1]")
    text_embeddings: str | None = Field(
        default=None,
        min_length=1,
        description="folder of a sentence-transformers model, relative to the spec; its embeddings of sentences are "
        "further numbers of every model (extra `text`)",
    )


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

    _files_can_exist = field_validator("*")(checked_file_name)


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
    onto: str | None = Field(
        default=None, description="name of another of `[[tables]]` that has the key instead of train and test"
    )
    name: str = Field(default="", description="prefix of the new columns, `name.column`; default: the file's name")
    columns: list[str] = Field(default=[], description="columns to join; default: all but the key")
    aggregates: list[Aggregate] = Field(
        default=list(get_args(Aggregate)),
        description="for several rows a key: `count` is of rows; `last` and `nunique` are also for texts",
    )

    _file_can_exist = field_validator("file")(checked_file_name)

    @field_validator("by", mode="before")
    @classmethod
    def _one_column_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def prefix(self) -> str:
        """The name before the dot of each new column."""
        return self.name or self.file.partition(".")[0]


class GivenMember(Table):
    """Predictions made elsewhere, a candidate for the ensembles of presets `fast` and `best`: `[[members]]`."""

    folder: str = Field(description="folder beside the spec with the tables `oof` and `test`")
    label: str = Field(
        default="",
        pattern=r"^(\w[\w.-]{0,39})?$",
        description="name in tables and messages; default: the folder's name",
    )

    _folder_can_exist = field_validator("folder")(checked_file_name)

    @property
    def name(self) -> str:
        """The label."""
        return self.label or self.folder


class ExtraRows(Table):
    """A further file of rows like those of train, such as an original data set: they train, and are never validated."""

    file: str = Field(
        description="name of the file in `raw/`, with the target and columns as in train; those it lacks are missing"
    )
    weight: float = bounded(
        1.0, gt=0.0, le=1000.0, usual="0.1 to 1", description="weight of each of its rows in the loss"
    )

    _file_can_exist = field_validator("file")(checked_file_name)


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
