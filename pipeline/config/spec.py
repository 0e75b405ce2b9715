"""A competition's spec, `data/<competition>/competition.toml`: the only place where a competition is described.

Knows TOML and the metrics; must not know data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.base.errors import SpecError, did_you_mean
from pipeline.base.expressions import Expression
from pipeline.base.names import competition_slug, dataset_slug
from pipeline.base.target_transforms import TargetTransform
from pipeline.config.search_space import SpaceEntry
from pipeline.config.sections import (
    Columns,
    Encoder,
    ExtraRows,
    Files,
    Folds,
    GivenMember,
    IdColumns,
    JoinedTable,
    MissingTarget,
    Scoring,
    SeriesTime,
    Split,
    SubmissionFormat,
    Written,
    checked_file_name,
)
from pipeline.config.table import Table, read_toml, validated
from pipeline.metrics import METRICS, Metric, Task
from pipeline.metrics.own import own_metric, own_metric_parts


def _slug(value: str | None, info: ValidationInfo) -> str | None:
    """Return the name that `value`, which may be an address, gives. Raises ValueError."""
    if value is None:
        return None
    try:
        return (dataset_slug if info.field_name == "dataset" else competition_slug)(value)
    except SpecError as error:
        raise ValueError(error.what) from None


class CompetitionSpec(Table):
    """A competition's spec: `data/<competition>/competition.toml`."""

    name: str = Field(description="name of its folder in `data/`")
    kaggle_slug: str = Field(description="last part of the competition's address: kaggle.com/competitions/SLUG")
    dataset: str | None = Field(default=None, description="Kaggle dataset OWNER/NAME that has the files instead")
    id: str = Field(description="id column of the train, test and sample submission files; see `[ids]`")
    target: list[str] = Field(
        min_length=1, description="target column, or a list of several, over which the metric is averaged"
    )
    target_expression: str | None = Field(
        default=None,
        description="what the target is, if it is no column: an expression of train columns such as `close - open`; "
        "`[target]` with `name` and `expression` sets both keys",
    )
    task: Task = Field(description="what to predict: numbers, or one of two or several classes")
    metric: str = Field(
        description="how Kaggle scores; see [metrics](#metrics). `file.py:function`: "
        "[a metric of your own](spec.md#a-metric-of-your-own) beside the spec"
    )
    kaggle_metric: str | None = Field(
        default=None, description="Kaggle's name of the metric, if `metric` stands for it under another name"
    )
    public_share: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="share of the test rows behind the public scores, as the leaderboard page says; for `choose`",
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
    members: list[GivenMember] = Field(default=[], description="predictions made elsewhere; see `[[members]]`")
    extra_rows: list[ExtraRows] = Field(default=[], description="further rows to train on; see `[[extra_rows]]`")
    ids: IdColumns = IdColumns()
    submission: SubmissionFormat = SubmissionFormat()
    tune: dict[str, dict[str, SpaceEntry]] = Field(default={}, description="changes of the models' search spaces")

    _slugs_are_valid = field_validator("kaggle_slug", "dataset")(_slug)
    _file_can_exist = field_validator("feature_function")(checked_file_name)

    @model_validator(mode="before")
    @classmethod
    def _target_can_be_a_section(cls, data: Any) -> Any:
        section = data.get("target") if isinstance(data, dict) else None
        if not isinstance(section, dict):
            return data
        if set(section) != {"name", "expression"}:
            raise ValueError("[target] has the keys `name` and `expression`, both")
        return {**data, "target": section["name"], "target_expression": section["expression"]}

    @field_validator("target_expression")
    @classmethod
    def _expression_can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            Expression.parse(value)
        return value

    @field_validator("target", mode="before")
    @classmethod
    def _one_target_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, value: str) -> str:
        if own := own_metric_parts(value):
            checked_file_name(own[0])
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
        if self.target_expression is not None and (self.task != "regression" or len(self.target) > 1):
            raise ValueError("target_expression is for a regression of one target")
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
        self._check_joined_tables()
        self._check_time()
        self._check_extra_rows()
        taken = {self.id, *self.target}
        for key in ("categories", "dates", "texts", "missing", "drop", "na_is_category"):
            for column in getattr(self.columns, key):
                if column in taken and column != self.id:
                    raise ValueError(f"columns.{key} names {column!r}, which is a target")
        for column in self.target:
            if column in self.columns.ordered and (self.task == "regression" or len(self.target) > 1):
                raise ValueError(f"columns.ordered names {column!r}: only a single target of classes has an order")
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

    def _check_joined_tables(self) -> None:
        """Raise ValueError for tables of one name, or a table that is joined onto none of those that are joined."""
        prefixes = [table.prefix for table in self.tables]
        if repeated := sorted({name for name in prefixes if prefixes.count(name) > 1}):
            raise ValueError(f"two [[tables]] are called {repeated[0]!r}: give one another `name`")
        known: set[str | None] = {None}
        for _ in self.tables:
            known |= {table.prefix for table in self.tables if table.onto in known}
        for table in self.tables:
            if table.onto not in known:
                hint = did_you_mean(str(table.onto), [name for name in prefixes if name != table.prefix])
                raise ValueError(f"[[tables]] {table.file!r}: onto = {table.onto!r} leads to no joined table. {hint}")

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

    def _check_extra_rows(self) -> None:
        """Raise ValueError for extra rows whose place among folds in time nobody knows, or a file of two uses."""
        taken = [*self.files.model_dump().values(), *(table.file for table in self.tables)]
        for one in self.extra_rows:
            if one.file in taken:
                raise ValueError(f"[[extra_rows]] {one.file!r}: the spec names this file twice")
            taken.append(one.file)
        if self.extra_rows and (self.time is not None or self.folds.rules.is_chained):
            raise ValueError(
                '[[extra_rows]] cannot be used with [time] or folds of kind "time": a fold may only train on earlier '
                "rows, and they are of no known time"
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
        named |= {f"{table.prefix} table": table.file for table in self.tables}
        return named | {f"{one.file} (extra rows)": one.file for one in self.extra_rows}

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
    def class_order(self) -> list[str]:
        """The classes of the target, lowest first, if [columns.ordered] gives them; else []."""
        return self.columns.ordered.get(self.target[0], [])

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
