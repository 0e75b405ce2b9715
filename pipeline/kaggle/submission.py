"""A submission: predictions filled into Kaggle's own sample by id, and the check that Kaggle would accept it.

Knows the spec, the sample's frame and predictions; knows nothing of runs or of Kaggle's API.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label


def make_submission(
    spec: CompetitionSpec,
    classes: Sequence[Label],
    sample: pd.DataFrame,
    test_ids: pd.Series,
    prediction: FloatArray,
) -> pd.DataFrame:
    """Fill the sample's rows, in its order, with the prediction of each id.

    `prediction` is (rows,) or (rows, targets) values, or (rows, classes) probabilities in the order of `classes`,
    aligned with `test_ids`. Raises DataError when an id of the sample has no prediction.
    """
    id_column = sample.columns[0] if spec.id not in sample.columns else spec.id
    position = pd.Series(np.arange(len(test_ids)), index=test_ids.astype(str).to_numpy())
    wanted = sample[id_column].astype(str)
    absent = ~wanted.isin(position.index)
    if absent.any():
        raise DataError(
            f"the id {wanted[absent].iloc[0]!r} of the sample submission has no prediction",
            where=f"row {int(absent.to_numpy().argmax()) + 1}",
        )
    rows = prediction[position.loc[wanted].to_numpy()]
    submission = pd.DataFrame({id_column: sample[id_column]})
    columns = _columns_of(spec, classes, rows)
    for name in sample.columns:
        if name != id_column:
            if name not in columns:
                raise SpecError(
                    f"the sample submission has a column {name!r} that the spec does not fill",
                    where="[submission] columns",
                    hint=did_you_mean(name, columns),
                )
            submission[name] = columns[name]
    return submission[list(sample.columns)]


def _columns_of(
    spec: CompetitionSpec, classes: Sequence[Label], rows: FloatArray
) -> dict[str, NDArray[np.generic] | pd.Series]:
    names = spec.prediction_columns
    if spec.task == "regression":
        by_target = rows[:, None] if rows.ndim == 1 else rows
        if spec.scorer.smallest_prediction is not None:  # as the metric clamps: Kaggle refuses what it cannot log
            by_target = np.maximum(by_target, spec.scorer.smallest_prediction)
        if len(names) != by_target.shape[1]:
            raise SpecError(
                f"{by_target.shape[1]} targets for {len(names)} prediction columns", where="[submission] columns"
            )
        return {name: by_target[:, j] for j, name in enumerate(names)}
    if spec.submission.classes:
        by_text = {str(label): code for code, label in enumerate(classes)}
        if len(names) != len(spec.submission.classes):
            raise SpecError(f"{len(spec.submission.classes)} classes for {len(names)} columns", where="[submission]")
        for label in spec.submission.classes:
            if label not in by_text:
                raise SpecError(
                    f"no train row has the class {label!r}",
                    where="[submission] classes",
                    hint=did_you_mean(label, by_text),
                )
        return {n: rows[:, by_text[label]] for n, label in zip(names, spec.submission.classes, strict=True)}
    if len(names) != 1:
        raise SpecError(
            f"{len(names)} prediction columns need the class each stands for",
            where="[submission] classes",
            hint=f"The classes are: {', '.join(map(str, classes))}.",
        )
    if spec.writes == "label":
        labels = pd.Series(list(classes), dtype=object).iloc[rows.argmax(axis=1)].reset_index(drop=True)
        return {names[0]: labels.infer_objects()}
    if len(classes) != 2:
        raise SpecError(
            f"one column cannot hold the probabilities of {len(classes)} classes", where="[submission] columns"
        )
    return {names[0]: rows[:, 1]}


def check_submission(
    spec: CompetitionSpec, classes: Sequence[Label], sample: pd.DataFrame, submission: pd.DataFrame
) -> None:
    """Raise DataError unless Kaggle would accept `submission` and it can be what the spec says.

    Columns and their order, row count, ids and their order; no missing or infinite value; numbers, probabilities in
    [0, 1] or known labels; targets a log metric can score.
    """
    if list(submission.columns) != list(sample.columns):
        raise DataError(
            f"has the columns {list(submission.columns)}",
            where="submission",
            hint=f"Kaggle wants {list(sample.columns)}.",
        )
    if len(submission) != len(sample):
        raise DataError(f"has {len(submission)} rows", where="submission", hint=f"Kaggle wants {len(sample)}.")
    id_column = sample.columns[0] if spec.id not in sample.columns else spec.id
    differs = submission[id_column].astype(str).to_numpy() != sample[id_column].astype(str).to_numpy()
    if differs.any():
        row = int(differs.argmax())
        raise DataError(
            f"holds the id {_plain(submission[id_column].iloc[row])!r}",
            where=f"submission, row {row + 1}",
            hint=f"The sample submission has {_plain(sample[id_column].iloc[row])!r} there.",
        )
    for name in (column for column in sample.columns if column != id_column):
        if spec.writes == "label":
            _check_labels(name, submission[name], classes)
        else:
            _check_numbers(name, submission[name], spec)


def _check_labels(name: str, column: pd.Series, classes: Sequence[Label]) -> None:
    known = {str(label) for label in classes}
    is_wrong = ~column.astype(str).isin(known) | column.isna()
    if is_wrong.any():
        row = int(is_wrong.to_numpy().argmax())
        raise DataError(
            f"holds {_plain(column.iloc[row])!r}, which is no class",
            where=f"submission, column {name!r}, row {row + 1}",
            hint=f"Classes: {', '.join(sorted(known)[:20])}.",
        )


def _check_numbers(name: str, column: pd.Series, spec: CompetitionSpec) -> None:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    is_wrong, wanted = ~np.isfinite(numbers), "a finite number"
    if not is_wrong.any() and spec.writes == "probability":
        is_wrong, wanted = (numbers < 0) | (numbers > 1), "a probability between 0 and 1"
    smallest = spec.scorer.smallest_target
    if not is_wrong.any() and smallest is not None:
        is_wrong = numbers < smallest if spec.scorer.smallest_is_allowed else numbers <= smallest
        wanted = f"a number {'of at least' if spec.scorer.smallest_is_allowed else 'above'} {smallest:g}"
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise DataError(
            f"holds {_plain(column.iloc[row])!r}",
            where=f"submission, column {name!r}, row {row + 1}",
            hint=f"Wanted: {wanted}.",
        )


def _plain(value: object) -> object:
    """A cell as Python writes it, not as numpy does."""
    return value.item() if isinstance(value, np.generic) else value
