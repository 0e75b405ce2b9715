"""A metric of one's own as a function of rows: builds the frames of Kaggle's metric notebooks and calls `score`.

Knows the user's file, the spec and the train rows; must not know folds or models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, did_you_mean
from pipeline.base.user_code import files_of, load_module, place_of
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label
from pipeline.metrics import Metric, kaggle_metric_utilities
from pipeline.metrics.metric import nearly_perfect
from pipeline.metrics.own import Reads, own_metric_parts

SENT = "sent"  # in what is pickled: the content of the files
UTILITIES = "kaggle_metric_utilities"
SOLUTION = "solution_{}"  # column of the train rows: a column of scoring.columns
METRIC_WEIGHT = "metric_weight"  # column of the train rows: the weights of scoring.weight


@dataclass(frozen=True)
class OwnScore:
    """`score(solution, submission, row_id_column_name)` as a function of arrays and row numbers.

    `solution` has the row id, the true content of the prediction columns, and the columns of `scoring.columns`.
    Where two classes are predicted by one probability, the truth is 0 or 1.
    """

    path: Path
    name: str  # of the function
    code: str  # sha256 of the files
    id: str
    columns: list[str]  # of the predictions
    reads: Reads
    classes: list[Label]
    class_of_column: list[str]
    rows: pd.DataFrame = field(repr=False, compare=False)  # of the train table: the row id, scoring.columns

    def __getstate__(self) -> dict[str, Any]:
        """The content of the user's files, too, which another machine does not have."""
        own = {str(one.relative_to(self.path.parent)): one.read_bytes() for one in files_of(self.path)}
        return {**self.__dict__, SENT: own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Use the user's files if they lie here, too; otherwise write what was sent into a folder of this process."""
        sent: dict[str, bytes] = state.pop(SENT)
        if code_of(state["path"]) != state["code"]:
            state["path"] = Path(_folder_of(tuple(sent.items())).name) / state["path"].name
        self.__dict__.update(state)

    def __call__(self, y_true: FloatArray, y_pred: FloatArray, rows: NDArray[np.int64]) -> float:
        """Score predictions; NaN where the perfect ones cannot be scored either. Raises DataError for a failure."""
        try:
            return self.strictly(y_true, y_pred, rows)
        except DataError:
            if self._is_scored(y_true, rows):
                raise
            return math.nan

    def strictly(self, y_true: FloatArray, y_pred: FloatArray, rows: NDArray[np.int64]) -> float:
        """Score predictions. Raises DataError with the line of the user's file that failed."""
        function = _function(self.path, self.name, self.code)
        own = self.rows.iloc[rows].reset_index(drop=True)
        solution = own[[self.id]].assign(**self._content(y_true, is_true=True), **own.drop(columns=self.id))
        submission = own[[self.id]].assign(**self._content(y_pred, is_true=False))
        try:
            found = function(solution, submission, self.id)
        except Exception as error:
            raise _failure(error, self.path) from error
        if isinstance(found, bool) or not isinstance(found, Real):
            raise DataError(f"{self.name} returned {found!r:.80}; it must return a number", where=str(self.path))
        return float(found)

    def _is_scored(self, y_true: FloatArray, rows: NDArray[np.int64]) -> bool:
        perfect = nearly_perfect(y_true, len(self.classes)) if self.reads == "probability" else y_true
        try:
            return math.isfinite(self.strictly(y_true, perfect, rows))
        except DataError:
            return False

    def _content(self, values: FloatArray, *, is_true: bool) -> dict[str, Any]:
        """The prediction columns; `values` are numbers, class codes, or probabilities (rows, classes or targets)."""
        is_by_target = len(self.columns) > 1 and not self.class_of_column
        if self.reads == "value" or (self.reads == "probability" and is_by_target):
            by_column = values[:, None] if values.ndim == 1 else values
            return {name: by_column[:, j] for j, name in enumerate(self.columns)}
        if self.reads == "label":
            labels = pd.Series(self.classes, dtype=object).infer_objects()
            codes = values.reshape(len(values), -1).astype(np.int64)
            return {name: labels.iloc[codes[:, j]].to_numpy() for j, name in enumerate(self.columns)}
        if not self.class_of_column:
            return {self.columns[0]: values.astype(np.int64) if is_true else values[:, 1]}
        by_class = np.eye(len(self.classes), dtype=np.int64)[values.astype(np.int64)] if is_true else values
        code = {str(label): j for j, label in enumerate(self.classes)}
        return {n: by_class[:, code[label]] for n, label in zip(self.columns, self.class_of_column, strict=True)}


def bound_metric(spec: CompetitionSpec, folder: Path, train_rows: pd.DataFrame, classes: Sequence[Label]) -> Metric:
    """The spec's metric of the train rows: with their weights and the classes' places, or a function in `folder`."""
    metric = spec.scorer
    if spec.metric_file is not None:
        function = own_score(spec, folder, train_rows, classes)
        return replace(metric, function=function, rows=np.arange(len(train_rows)))
    if METRIC_WEIGHT in train_rows:
        metric = replace(metric, rows=train_rows[METRIC_WEIGHT].to_numpy(dtype=np.float64))
    places = _places(spec, classes)
    return metric if places is None else metric.of_places(places)


def _places(spec: CompetitionSpec, classes: Sequence[Label]) -> list[float] | None:
    """Where ordered classes lie: numbers at their values, levels of [columns.ordered] at their positions."""
    if levels := spec.class_order:
        return [float(levels.index(str(label))) for label in classes]
    numbers = [float(label) for label in classes if isinstance(label, int | float)]
    return numbers if len(numbers) == len(classes) > 0 else None


def own_score(spec: CompetitionSpec, folder: Path, train_rows: pd.DataFrame, classes: Sequence[Label]) -> OwnScore:
    """The function of a metric of one's own."""
    file, function = own_metric_parts(spec.metric) or ("", "")
    path = (folder / file).resolve()
    ids = train_rows["id"] if train_rows["id"].is_unique else pd.Series(np.arange(len(train_rows)))
    extra = {name: train_rows[SOLUTION.format(j)].to_numpy() for j, name in enumerate(spec.scoring.columns)}
    if METRIC_WEIGHT in train_rows:
        extra |= {str(spec.scoring.weight): train_rows[METRIC_WEIGHT].to_numpy()}
    return OwnScore(
        path=path,
        name=function,
        code=code_of(path) or "",
        id=spec.sample_id,
        columns=spec.prediction_columns,
        reads=spec.scorer.reads,
        classes=list(classes),
        class_of_column=spec.submission.classes,
        rows=pd.DataFrame({spec.sample_id: ids.to_numpy(), **extra}),
    )


def code_of(path: Path) -> str | None:
    """A hash of a Python file and of the files beside it that it imports; None if it is missing."""
    if not path.is_file():
        return None
    return files.sha256_of_json(
        [(one.relative_to(path.parent).as_posix(), files.sha256_of(one)) for one in files_of(path)]
    )


@cache
def _folder_of(sent: tuple[tuple[str, bytes], ...]) -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="pipeline-")
    for name, content in sent:
        path = Path(folder.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@cache
def _function(path: Path, name: str, code: str) -> Callable[..., Any]:  # noqa: ARG001 (other code is another function)
    if not path.is_file():
        raise DataError("the file of the metric does not exist", where=str(path))
    try:
        module = load_module(path, substitutes={UTILITIES: kaggle_metric_utilities})
    except Exception as error:
        raise _failure(error, path) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [one for one, value in vars(module).items() if callable(value)]
        raise DataError(f"has no function {name!r}", where=str(path), hint=did_you_mean(name, known))
    return function  # type: ignore[no-any-return]


def _failure(error: Exception, path: Path) -> DataError:
    hint = "It gets (solution, submission, row_id_column_name), as in Kaggle's metric notebooks."
    if isinstance(error, ImportError) or (isinstance(error, AttributeError) and UTILITIES in str(error)):
        known = ", ".join(sorted(name for name in vars(kaggle_metric_utilities) if name[0].isalpha()))
        hint = f"Install it, or copy what you use of it into the file. {UTILITIES} has here: {known}."
    return DataError(f"{type(error).__name__}: {error}", where=place_of(error, path), hint=hint)
