"""Check that spec, train, test and sample submission fit together, before anything is learned from them.

Must not know: how features are typed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.base.text import TEXT
from pipeline.competition.tables.reading import (
    LARGEST,
    MISSING_MARKERS,
    TOO_LARGE,
    RawTable,
    as_written,
    first_true,
    is_text,
    listed,
    numbers_of,
    whole_numbers,
)
from pipeline.config.sections import Scoring
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label

CLASS_MARKERS = MISSING_MARKERS - {"None"}  # in a class column `None` is a class more often than a missing value


def check_columns(raw: RawTable, named: Iterable[tuple[str, str]]) -> None:
    """Raise DataError if the file lacks a column of the spec; `named` pairs keys of the spec with columns."""
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
    for key in ("categories", "ordered", "dates", "texts", "missing", "drop", "na_is_category"):
        named += [(f"columns.{key}", column) for column in getattr(columns, key)]
    named += [("columns.sample_weight", columns.sample_weight)] if columns.sample_weight else []
    named += [("scoring.weight", spec.scoring.weight)] if spec.scoring.weight else []
    named += [("scoring.columns", column) for column in spec.scoring.columns]
    for key in ("group", "time", "column"):
        named += [(f"folds.{key}", getattr(folds, key))] if getattr(folds, key) else []
    return named + columns_of_time(spec)


def columns_of_time(spec: CompetitionSpec) -> list[tuple[str, str]]:
    """Each (key, column) of [time], which all rows must have."""
    if spec.time is None:
        return []
    country = [("time.country", spec.time.country)] if spec.time.country is not None else []
    return [("time.date", spec.time.date), *(("time.key", name) for name in spec.time.key), *country]


def ids_of(raw: RawTable, name: str, *, are_unique: bool = True) -> pd.Series:
    """The ids as text, exactly as written. Raises DataError for a missing id and, with `are_unique`, a repeated one."""
    ids = as_written(raw.column(name, markers=("",)))
    if (row := first_true(ids.isna())) is not None:
        raise DataError("the id is missing", where=raw.where(name, row))
    if are_unique and (second := first_true(ids.duplicated())) is not None:
        first = first_true(ids == ids.iloc[second]) or 0
        raise DataError(
            f"the id {ids.iloc[second]!r} is in row {first + 1} and again in row {second + 1}",
            where=raw.where(name),
            hint="Ids must be unique. Is another column the id?",
        )
    return ids


def with_same_type(parts: list[pd.Series]) -> list[pd.Series]:
    """Ids as int64 if all parts are written as whole numbers; else all as text."""
    whole = [whole_numbers(part) for part in parts]
    return parts if any(part is None for part in whole) else [part for part in whole if part is not None]


def markers_of_target(sample: RawTable, spec: CompetitionSpec) -> frozenset[str]:
    """The texts that mark a missing target. A text that the sample submission has as a label is one."""
    if spec.task == "regression":
        return MISSING_MARKERS
    return class_markers(sample, spec.prediction_columns)


def class_markers(sample: RawTable, columns: Iterable[str]) -> frozenset[str]:
    """The texts that mark a missing class, such as NA where the sample submission does not predict NA."""
    texts = [sample.frame[name] for name in columns if name in sample.frame.columns and is_text(sample.frame[name])]
    return CLASS_MARKERS.difference(*(column.unique() for column in texts)) | {""}


def regression_target(raw: RawTable, spec: CompetitionSpec) -> pd.DataFrame:
    """The targets as float64. Raises DataError that names the first row with an unusable value."""
    numbers = {}
    for name in spec.target:
        series = raw.column(name)
        values = numbers_of(series)
        _refuse_missing(raw, name, series)
        if (row := first_true(~(np.abs(values) <= LARGEST))) is not None:
            is_number = np.isfinite(values[row])
            raise DataError(
                f"the target is {series.iloc[row]!r}, {TOO_LARGE if is_number else 'not a finite number'}",
                where=raw.where(name, row),
                hint="Correct the value"
                + ("." if is_number else '; if the target is a class, set task = "multiclass" in the spec.'),
            )
        _refuse_outside_domain(raw, name, values, spec)
        numbers[name] = values
    return pd.DataFrame(numbers, index=pd.RangeIndex(len(raw.frame)))


def _refuse_missing(raw: RawTable, name: str, series: pd.Series) -> None:
    if (row := first_true(series.isna())) is not None:
        raise DataError(
            f"the target is missing (in {int(series.isna().sum())} rows)",
            where=raw.where(name, row),
            hint='Fill it in, or leave such rows out: missing_target = "drop" in the spec.',
        )


def _refuse_outside_domain(raw: RawTable, name: str, values: FloatArray, spec: CompetitionSpec) -> None:
    metric = spec.scorer
    limits: list[tuple[str, float, bool]] = []
    if metric.min_target is not None:
        limits.append((f"metric {metric.name!r}", metric.min_target, metric.is_min_target_valid))
    if spec.target_transform in ("log", "log1p"):
        limits.append((f"target_transform {spec.target_transform!r}", 0.0, spec.target_transform == "log1p"))
    for what, smallest, is_allowed in limits:
        if (row := first_true(values < smallest if is_allowed else values <= smallest)) is not None:
            raise DataError(
                f"the target is {values[row]:g}; {what} needs targets {'>=' if is_allowed else '>'} {smallest:g}",
                where=raw.where(name, row),
                hint="Correct the value, or choose another metric or target_transform in the spec.",
            )


def class_target(
    raw: RawTable, spec: CompetitionSpec, markers: frozenset[str] = CLASS_MARKERS
) -> tuple[pd.DataFrame, list[Label]]:
    """Return int64 class codes and the class labels, which all targets share: sorted, or in the spec's order.

    Raises DataError, SpecError.
    """
    columns = {name: raw.column(name, markers=markers) for name in spec.target}
    for name, series in columns.items():
        _refuse_missing(raw, name, series)
    where = raw.where(", ".join(spec.target[:5]))
    labels = class_labels(pd.concat(columns.values()))
    if order := spec.class_order:
        if unknown := [str(label) for label in labels if str(label) not in order]:
            hint = did_you_mean(unknown[0], order)
            raise DataError(
                f"the class {unknown[0]!r} is not among its levels in columns.ordered", where=where, hint=hint
            )
        labels.sort(key=lambda label: order.index(str(label)))
    if len(labels) == 1:
        raise DataError(f"every row has the same class {labels[0]!r}", where=where, hint="There is nothing to learn.")
    if spec.task == "binary" and len(labels) != 2:
        whose = "target has" if len(columns) == 1 else "targets have together"
        raise DataError(
            f'the {whose} {len(labels)} classes ({listed(labels, 5)}); task = "binary" needs 2',
            where=where,
            hint='Set task = "multiclass"' + (' or "regression".' if len(labels) > 20 else ".")
            if len(columns) == 1
            else 'Write the same two classes in all of them, or set task = "regression" if they are numbers.',
        )
    code_of_text = {str(label): code for code, label in enumerate(labels)}
    named = spec.submission.classes
    if named and sorted(named) != sorted(code_of_text):
        raise SpecError(f"submission.classes are {', '.join(named)}; the target has {', '.join(code_of_text)}")
    codes = {name: as_written(one).map(code_of_text).to_numpy(dtype=np.int64) for name, one in columns.items()}
    return pd.DataFrame(codes, index=pd.RangeIndex(len(raw.frame))), labels


def known_class_target(
    raw: RawTable, spec: CompetitionSpec, markers: frozenset[str], classes: list[Label]
) -> pd.DataFrame:
    """The int64 codes of another file's labels, which are among `classes`. Raises DataError."""
    code_of_text, codes = {str(label): code for code, label in enumerate(classes)}, {}
    for name in spec.target:
        series = raw.column(name, markers=markers)
        _refuse_missing(raw, name, series)
        texts = as_written(series)
        code = texts.map(code_of_text)
        if (row := first_true(code.isna())) is not None:
            raise DataError(
                f"no train row has the class {texts.iloc[row]!r}",
                where=raw.where(name, row),
                hint=f"The classes of train are {listed(map(str, classes))}. Write the labels as train has them.",
            )
        codes[name] = code.to_numpy(dtype=np.int64)
    return pd.DataFrame(codes, index=pd.RangeIndex(len(raw.frame)))


def class_labels(series: pd.Series) -> list[Label]:
    """The distinct labels, sorted: bools, ints or floats if Python writes them as the file does; else text."""
    texts = sorted(as_written(series.dropna()).unique())
    if set(texts) <= {"True", "False"}:
        return [text == "True" for text in texts]
    if whole_numbers(pd.Series(texts, dtype=TEXT)) is not None:
        return sorted(int(text) for text in texts)
    numbers = numbers_of(pd.Series(texts, dtype=TEXT))
    if np.isfinite(numbers).all() and [str(number) for number in numbers.tolist()] == texts:
        return sorted(numbers.tolist())
    return list(texts)


def metric_weight_of(raw: RawTable, scoring: Scoring) -> FloatArray:
    """The weights of the train rows in the metric: by the column's values, or the numbers that it holds.

    Raises DataError for a value without a weight.
    """
    name = str(scoring.weight)
    if not scoring.weights:
        return sample_weight_of(raw, name, "metric weight")
    texts = as_written(raw.column(name))
    known = dict(scoring.weights)
    by_case = {value.lower(): weight for value, weight in known.items()}
    for value in texts.dropna().unique():  # TOML writes true what files write True or TRUE
        if value not in known and value.lower() in by_case and value.lower() in ("true", "false"):
            known[value] = by_case[value.lower()]
    weights: FloatArray = np.asarray(texts.map(known), dtype=np.float64)
    if (row := first_true(np.isnan(weights))) is not None:
        value = "a missing value" if pd.isna(texts.iloc[row]) else repr(texts.iloc[row])
        hint = f"scoring.weights has: {listed(scoring.weights)}."
        raise DataError(f"{value} has no weight in scoring.weights", where=raw.where(name, row), hint=hint)
    if not weights.any():
        raise DataError("every metric weight is 0", where=raw.where(name))
    return weights


def sample_weight_of(raw: RawTable, name: str, what: str = "sample weight") -> FloatArray:
    """The weights of the train rows. Raises DataError unless all are numbers >= 0 and some are above 0."""
    series = raw.column(name)
    weights = numbers_of(series)
    if (row := first_true(~((weights >= 0) & (weights <= LARGEST)))) is not None:
        value = series.iloc[row]
        fault = "is missing" if pd.isna(value) else f"is {value}"
        raise DataError(f"the {what} {fault}; it must be a number from 0 to {LARGEST:g}", where=raw.where(name, row))
    if not weights.any():
        raise DataError(f"every {what} is 0", where=raw.where(name))
    return weights


def check_sample_submission(sample: RawTable, test: RawTable, test_ids: pd.Series, spec: CompetitionSpec) -> list[str]:
    """Raise DataError unless the sample has the spec's columns and ids of test rows; note if not of all of them."""
    check_columns(sample, [("id", spec.id)])
    found = [column for column in sample.frame.columns if column != spec.id]
    expected = spec.prediction_columns
    if found != expected:
        kind = "order" if sorted(found) == sorted(expected) else "names"
        raise DataError(
            f"the prediction columns are {listed(found)}; the spec has {listed(expected)}",
            where=sample.where(),
            hint=f"Set their {kind} in the spec: [submission] columns = [...].",
        )
    sample_ids = ids_of(sample, spec.id)
    n_rows = f"{len(sample_ids)} ids for {len(test_ids)} test rows"
    is_unknown = _not_among(sample_ids, test_ids)
    if (row := first_true(is_unknown)) is not None:
        is_form = _are_equal_numbers(sample_ids, test_ids)
        hint = "They are equal as numbers but written differently: write them alike in both files."
        first = f"(the first is {sample_ids.iloc[row]!r}, row {sample.row_number(row)})"
        raise DataError(
            f"{n_rows}; {int(is_unknown.sum())} not in {test.path.name} {first}",
            where=sample.where(spec.id),
            hint=hint if is_form else "Are the files of the same competition?",
        )
    is_unasked = _not_among(test_ids, sample_ids)
    if (row := first_true(is_unasked)) is None:
        return []
    first = f"(the first is {test_ids.iloc[row]!r}, row {test.row_number(row)})"
    return [f"{sample.path.name} has {n_rows}: {int(is_unasked.sum())} {first} are not asked for"]


def _are_equal_numbers(ids: pd.Series, others: pd.Series) -> bool:
    """Whether two id columns hold the same numbers, such as 1 and 1.0."""
    mine, theirs = np.sort(numbers_of(ids)), np.sort(numbers_of(others))
    return np.array_equal(mine, theirs)  # NaN, of text, equals nothing


def _not_among(ids: pd.Series, others: pd.Series) -> NDArray[np.bool_]:
    """Which ids are not among the others; for long text a set is a hundred times faster than `isin`."""
    known = set(others)
    return np.fromiter((value not in known for value in ids), dtype=np.bool_, count=len(ids))
