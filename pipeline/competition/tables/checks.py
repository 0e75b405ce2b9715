"""What must hold between spec, train, test and sample submission before anything is learned.

Must not know: how features are typed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.competition.tables.reading import MISSING_MARKERS, RawTable, as_written, numbers_of, whole_numbers
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label

CLASS_MARKERS = MISSING_MARKERS - {"None"}  # `None` is a class in more competitions than it is a missing target


def check_columns(raw: RawTable, named: Iterable[tuple[str, str]]) -> None:
    """Refuse a spec that names a column the file has not; `named` pairs a key of the spec with a column."""
    columns = list(raw.frame.columns)
    for key, column in named:
        if column not in columns:
            raise DataError(
                f"there is no column {column!r}, which the spec names as {key}",
                where=raw.where(),
                hint=did_you_mean(column, columns),
            )


def columns_of_spec(spec: CompetitionSpec) -> list[tuple[str, str]]:
    """Each (key, column) of the spec that the train file must have."""
    columns, folds = spec.columns, spec.folds
    named = [("id", spec.id), *(("target", target) for target in spec.target)]
    for key in ("categories", "ordered", "dates", "texts", "drop", "na_is_category"):
        named += [(f"columns.{key}", column) for column in getattr(columns, key)]
    named += [("columns.sample_weight", columns.sample_weight)] if columns.sample_weight else []
    for key in ("group", "time", "column"):
        named += [(f"folds.{key}", getattr(folds, key))] if getattr(folds, key) else []
    return named


def ids_of(raw: RawTable, name: str) -> pd.Series:
    """The ids as text. Raises DataError for a missing or a repeated one."""
    ids = as_written(raw.column(name, markers=("",)))
    missing = ids.isna().to_numpy()
    if missing.any():
        raise DataError("the id is missing", where=raw.where(name, int(np.argmax(missing))))
    repeated = ids.duplicated().to_numpy()
    if repeated.any():
        second = int(np.argmax(repeated))
        first = int(np.argmax((ids == ids.iloc[second]).to_numpy()))
        raise DataError(
            f"the id {ids.iloc[second]!r} is in row {first + 1} and again in row {second + 1}",
            where=raw.where(name),
            hint="Every row needs an id of its own; is another column the id?",
        )
    return ids


def same_type(parts: list[pd.Series]) -> list[pd.Series]:
    """Ids as int64 when all parts are written as whole numbers, else all as text."""
    whole = [whole_numbers(part) for part in parts]
    return parts if any(part is None for part in whole) else [part for part in whole if part is not None]


def regression_target(raw: RawTable, spec: CompetitionSpec) -> pd.DataFrame:
    """The targets as float64. Raises DataError with the row of the first that cannot be learned from."""
    numbers = {}
    for name in spec.target:
        series = raw.column(name)
        values = numbers_of(series)
        _refuse_missing(raw, name, series)
        wrong = ~np.isfinite(values)
        if wrong.any():
            index = int(np.argmax(wrong))
            raise DataError(
                f"the target is {series.iloc[index]!r}, which is no finite number",
                where=raw.where(name, index),
                hint='Mend the value; if the target is a class, set task = "multiclass".',
            )
        _refuse_outside_domain(raw, name, values, spec)
        numbers[name] = values
    return pd.DataFrame(numbers, index=pd.RangeIndex(len(raw.frame)))


def _refuse_missing(raw: RawTable, name: str, series: pd.Series) -> None:
    missing = series.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"the target is missing ({int(missing.sum())} such rows)",
            where=raw.where(name, int(np.argmax(missing))),
            hint="Every train row needs a target: remove the row or fill it in.",
        )


def _refuse_outside_domain(raw: RawTable, name: str, values: FloatArray, spec: CompetitionSpec) -> None:
    metric = spec.scorer
    limits: list[tuple[str, float, bool]] = []
    if metric.smallest_target is not None:
        limits.append((f"metric {metric.name!r}", metric.smallest_target, metric.smallest_is_allowed))
    if spec.target_transform in ("log", "log1p"):
        limits.append((f"target_transform {spec.target_transform!r}", 0.0, spec.target_transform == "log1p"))
    for what, smallest, is_allowed in limits:
        wrong = values < smallest if is_allowed else values <= smallest
        if wrong.any():
            index = int(np.argmax(wrong))
            raise DataError(
                f"the target is {values[index]:g}; {what} needs targets {'>=' if is_allowed else '>'} {smallest:g}",
                where=raw.where(name, index),
                hint="Choose another metric or target_transform in the spec, or mend the value.",
            )


def class_target(raw: RawTable, spec: CompetitionSpec) -> tuple[pd.DataFrame, list[Label]]:
    """Int64 class codes and the class labels in code order (sorted). Raises DataError."""
    name = spec.target[0]
    series = raw.column(name, markers=CLASS_MARKERS)
    _refuse_missing(raw, name, series)
    labels = class_labels(series)
    if len(labels) == 1:
        raise DataError(
            f"every row has the same class {labels[0]!r}", where=raw.where(name), hint="There is nothing to learn."
        )
    if spec.task == "binary" and len(labels) != 2:
        shown = ", ".join(repr(label) for label in labels[:5]) + (", …" if len(labels) > 5 else "")
        raise DataError(
            f'the target has {len(labels)} classes ({shown}); task = "binary" has 2',
            where=raw.where(name),
            hint='Set task = "multiclass"' + (' or "regression".' if len(labels) > 20 else "."),
        )
    texts = as_written(series)
    code_of_text = {text: labels.index(_label_of(text, labels)) for text in texts.unique()}
    _check_submission_classes(spec, labels)
    codes = texts.map(code_of_text).to_numpy(dtype=np.int64)
    return pd.DataFrame({name: codes}, index=pd.RangeIndex(len(codes))), labels


def class_labels(series: pd.Series) -> list[Label]:
    """The distinct labels, sorted, as Python writes them back: bools, ints, floats or the text itself."""
    texts = sorted(as_written(series.dropna()).unique())
    if set(texts) <= {"True", "False"}:
        return [text == "True" for text in texts]
    if whole_numbers(pd.Series(texts, dtype="str")) is not None:
        return sorted(int(text) for text in texts)
    numbers = numbers_of(pd.Series(texts, dtype="str"))
    if np.isfinite(numbers).all() and [str(number) for number in numbers.tolist()] == texts:
        return sorted(numbers.tolist())
    return list(texts)


def _label_of(text: str, labels: list[Label]) -> Label:
    return next(label for label in labels if str(label) == text)


def _check_submission_classes(spec: CompetitionSpec, labels: list[Label]) -> None:
    named = spec.submission.classes
    if named and sorted(named) != sorted(str(label) for label in labels):
        found = ", ".join(str(label) for label in labels)
        raise SpecError(f"submission.classes are {', '.join(named)}; the classes of the target are {found}")


def sample_weight_of(raw: RawTable, name: str) -> FloatArray:
    """The weights of the train rows. Raises DataError for one that is missing, negative or no number."""
    series = raw.column(name)
    weights = numbers_of(series)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        index = int(np.argmax(wrong))
        value = series.iloc[index]
        what = "is missing" if pd.isna(value) else f"is {value}"
        raise DataError(f"the sample weight {what}; it must be a number >= 0", where=raw.where(name, index))
    if not weights.any():
        raise DataError("every sample weight is 0", where=raw.where(name))
    return weights


def check_sample_submission(sample: RawTable, test: RawTable, test_ids: pd.Series, spec: CompetitionSpec) -> None:
    """Refuse a sample whose columns are not the spec's, or whose ids are not those of the test rows."""
    check_columns(sample, [("id", spec.id)])
    found = [column for column in sample.frame.columns if column != spec.id]
    expected = spec.prediction_columns
    if found != expected:
        kind = "order" if sorted(found) == sorted(expected) else "names"
        raise DataError(
            f"its prediction columns are {_shown_list(found)}; the spec's are {_shown_list(expected)}",
            where=sample.where(),
            hint=f"Set the {kind} in the spec: [submission] columns = [...].",
        )
    sample_ids = ids_of(sample, spec.id)
    strange, absent = _not_among(sample_ids, test_ids), _not_among(test_ids, sample_ids)
    if strange.any() or absent.any():
        parts = [f"{len(sample_ids)} ids against {len(test_ids)} test rows in {test.path.name}"]
        for wrong, ids, what in (
            (strange, sample_ids, f"of its ids not in {test.path.name}"),
            (absent, test_ids, "test ids not in it"),
        ):
            if wrong.any():
                index = int(np.argmax(wrong))
                parts.append(f"{int(wrong.sum())} {what} (the first is {ids.iloc[index]!r}, row {index + 1})")
        raise DataError("; ".join(parts), where=sample.where(spec.id), hint="Are the files of the same competition?")


def _not_among(ids: pd.Series, others: pd.Series) -> NDArray[np.bool_]:
    """Which ids are none of the others; a set is a hundred times faster here than `isin` of long text."""
    known = set(others)
    return np.fromiter((value not in known for value in ids), dtype=np.bool_, count=len(ids))


def _shown_list(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:10]) + (", …" if len(names) > 10 else "") or "none"
