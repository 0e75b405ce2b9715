"""Fill predictions into Kaggle's sample submission by id, and check that Kaggle would accept a submission.

Knows the spec, the sample's frame and predictions; knows nothing of runs or of Kaggle's API.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.competition.tables.ranked_labels import join_labels, label_reader
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label


def make_submission(
    spec: CompetitionSpec, classes: Sequence[Label], sample: pd.DataFrame, test_ids: pd.Series, prediction: FloatArray
) -> pd.DataFrame:
    """Fill the sample's rows, in its order, with the prediction of each id.

    `prediction` has the shape that `Problem.prediction_shape` says, and the order of `classes` and `test_ids`. Raises
    DataError if an id of the sample has no prediction.
    """
    id_column = _id_column(spec, sample)
    position = pd.Series(np.arange(len(test_ids)), index=test_ids.astype(TEXT).to_numpy())
    sample_ids = sample[id_column].astype(TEXT)
    is_missing = ~sample_ids.isin(position.index).to_numpy()
    if is_missing.any():
        row = int(is_missing.argmax())
        what = f"the id {sample_ids.iloc[row]!r} of the sample submission has no prediction"
        raise DataError(what, where=f"row {row + 1}")
    rows = prediction[position.loc[sample_ids].to_numpy()]
    submission = pd.DataFrame({id_column: sample[id_column]})
    columns = _columns_of(spec, classes, rows)
    for name in sample.columns.drop(id_column):
        if name not in columns:
            what = f"the sample submission has a column {name!r} that the spec does not fill"
            raise SpecError(what, where="[submission] columns", hint=did_you_mean(name, columns))
        submission[name] = columns[name]
    return submission[list(sample.columns)]


def check_form(
    spec: CompetitionSpec, classes: Sequence[Label], sample: pd.DataFrame, test_ids: pd.Series, target: FloatArray
) -> None:
    """Raise SpecError or DataError if predictions cannot fill the sample submission, before any model is trained.

    `target` is that of the train rows: (rows,) or (rows, targets) numbers or class codes.
    """
    is_by_class = len(classes) > 0 and target.ndim == 1
    row = np.full(len(classes), 1.0 / len(classes)) if is_by_class else target.mean(axis=0)
    prediction = np.broadcast_to(row, (len(test_ids), *row.shape))
    check_submission(spec, classes, sample, make_submission(spec, classes, sample, test_ids, prediction))


def _id_column(spec: CompetitionSpec, sample: pd.DataFrame) -> str:
    return spec.sample_id if spec.sample_id in sample.columns else str(sample.columns[0])


def _columns_of(
    spec: CompetitionSpec, classes: Sequence[Label], rows: FloatArray
) -> dict[str, NDArray[np.generic] | pd.Series]:
    names = spec.prediction_columns
    if spec.task == "regression":
        by_target = rows[:, None] if rows.ndim == 1 else rows
        if spec.scorer.min_prediction is not None:  # clamp as the metric does
            by_target = np.maximum(by_target, spec.scorer.min_prediction)
        return {**_of_targets(names, by_target)}
    if len(spec.target) > 1:
        columns = _of_targets(names, rows)
        if spec.writes == "label":
            return {name: _labels(classes, np.where(column > 0.5, 1, 0)) for name, column in columns.items()}
        return {**columns}
    if spec.submission.classes:
        by_text = {str(label): code for code, label in enumerate(classes)}
        if len(names) != len(spec.submission.classes):
            raise SpecError(f"{len(spec.submission.classes)} classes for {len(names)} columns", where="[submission]")
        for label in spec.submission.classes:
            if label not in by_text:
                what, hint = f"no train row has the class {label!r}", did_you_mean(label, by_text)
                raise SpecError(what, where="[submission] classes", hint=hint)
        return {n: rows[:, by_text[label]] for n, label in zip(names, spec.submission.classes, strict=True)}
    if len(names) != 1:
        what = f"state the class of each of the {len(names)} prediction columns"
        raise SpecError(what, where="[submission] classes", hint=f"The classes are: {', '.join(map(str, classes))}.")
    if spec.writes == "label":
        return {names[0]: _labels(classes, rows.argmax(axis=1))}
    if spec.writes == "labels":
        ranked = np.argsort(-rows, axis=1, kind="stable")[:, : spec.scorer.n_labels]
        return {names[0]: pd.Series([join_labels(classes[code] for code in row) for row in ranked])}
    if len(classes) != 2:
        what = f"one column cannot hold the probabilities of {len(classes)} classes"
        raise SpecError(what, where="[submission] columns")
    return {names[0]: rows[:, 1]}


def _of_targets(names: Sequence[str], rows: FloatArray) -> dict[str, FloatArray]:
    """The column of each target of rows (rows, targets)."""
    if len(names) != rows.shape[1]:
        what = f"{rows.shape[1]} targets for {len(names)} prediction columns"
        raise SpecError(what, where="[submission] columns")
    return {name: rows[:, j] for j, name in enumerate(names)}


def _labels(classes: Sequence[Label], codes: NDArray[np.int64]) -> pd.Series:
    labels = pd.Series(list(classes), dtype=object).iloc[codes].reset_index(drop=True)
    return labels.infer_objects()


def check_submission(
    spec: CompetitionSpec, classes: Sequence[Label], sample: pd.DataFrame, submission: pd.DataFrame
) -> None:
    """Raise DataError unless Kaggle would accept `submission` and it matches the spec.

    Checks columns and their order, row count, ids and their order; that no value is missing or infinite; that values
    are numbers, probabilities in [0, 1] or known labels, and numbers the metric can score.
    """
    if list(submission.columns) != list(sample.columns):
        hint = f"Kaggle expects {list(sample.columns)}."
        raise DataError(f"has the columns {list(submission.columns)}", where="submission", hint=hint)
    if len(submission) != len(sample):
        raise DataError(f"has {len(submission)} rows", where="submission", hint=f"Kaggle expects {len(sample)}.")
    id_column = _id_column(spec, sample)
    ids, sample_ids = submission[id_column], sample[id_column]
    is_wrong = ids.astype(TEXT).to_numpy() != sample_ids.astype(TEXT).to_numpy()
    if is_wrong.any():
        expected = _python_value(sample_ids.iloc[int(is_wrong.argmax())])
        raise _wrong_cell(ids, is_wrong, f"Expected {expected!r}, as in the sample submission.")
    for name in sample.columns.drop(id_column):
        if spec.writes == "label":
            _check_labels(submission[name], classes)
        elif spec.writes == "labels":
            _check_ranked_labels(submission[name], classes, spec.scorer.n_labels or 1)
        else:
            _check_numbers(submission[name], spec)


def _check_labels(column: pd.Series, classes: Sequence[Label]) -> None:
    known = {str(label) for label in classes}
    is_wrong = (~column.astype(TEXT).isin(known) | column.isna()).to_numpy()
    if is_wrong.any():
        raise _wrong_cell(column, is_wrong, f"Expected one of the classes {', '.join(sorted(known)[:20])}.")


def _check_ranked_labels(column: pd.Series, classes: Sequence[Label], most: int) -> None:
    read = label_reader(classes)
    is_wrong = ~column.map(lambda cell: 0 < len(read(cell) or ()) <= most).to_numpy(dtype=bool)
    if is_wrong.any():
        known = ", ".join(sorted(map(str, classes))[:20])
        expected = f"Expected up to {most} different ones of the classes {known}, separated by blanks."
        raise _wrong_cell(column, is_wrong, expected)


def _check_numbers(column: pd.Series, spec: CompetitionSpec) -> None:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    is_wrong, expected = ~np.isfinite(numbers), "a finite number"
    if not is_wrong.any() and spec.writes == "probability":
        is_wrong, expected = (numbers < 0) | (numbers > 1), "a probability between 0 and 1"
    smallest = spec.scorer.min_target
    if not is_wrong.any() and smallest is not None:
        is_wrong = numbers < smallest if spec.scorer.is_min_target_valid else numbers <= smallest
        expected = f"a number {'of at least' if spec.scorer.is_min_target_valid else 'above'} {smallest:g}"
    if is_wrong.any():
        raise _wrong_cell(column, is_wrong, f"Expected {expected}.")


def _wrong_cell(column: pd.Series, is_wrong: NDArray[np.bool_], hint: str) -> DataError:
    """Return the error for the first wrong cell of a column."""
    row = int(is_wrong.argmax())
    where = f"submission, column {column.name!r}, row {row + 1}"
    return DataError(f"contains {_python_value(column.iloc[row])!r}", where=where, hint=hint)


def _python_value(value: object) -> object:
    """Convert a numpy scalar, whose repr names its type."""
    return value.item() if isinstance(value, np.generic) else value
