"""What is predicted: targets, the submission's columns, the task, its metric and target transform.

Must not know: the roles of feature columns.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.base.target_transforms import TargetTransform
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.draft.scales import ordered_levels
from pipeline.competition.draft.weights import DraftWeights, guess_weights
from pipeline.competition.tables.assembly import is_without_target
from pipeline.competition.tables.checks import class_labels
from pipeline.competition.tables.deciding import MIN_NUMBER_SHARE
from pipeline.competition.tables.ranked_labels import label_reader
from pipeline.competition.tables.reading import MISSING_MARKERS, as_written, first_true, inferred, listed, numbers_of
from pipeline.metrics import DEFAULT_METRIC, METRICS, Task
from pipeline.metrics.kaggle_names import metrics_of_kaggle
from pipeline.metrics.own import own_metric_parts

MAX_CLASSES = 20  # whole numbers with more distinct values than this are quantities
ROWS_PER_CLASS = 20  # ... and so are those with fewer rows per value than this
MIN_CLASS_ROWS = 5  # ... or fewer rows of one value than this
STRONG_SKEW = 1.0
USUAL_METRICS: dict[Task, tuple[str, ...]] = {  # alternatives to name where the metric is a guess
    "regression": ("rmsle", "mae", "mape", "smape", "rmspe", "r2"),
    "binary": ("roc_auc", "log_loss", "f1", "average_precision", "mcc"),
    "multiclass": ("log_loss", "f1_macro", "balanced_accuracy", "quadratic_kappa", "map_at_3"),
}
SIMILAR = 0.6  # names at least this similar may mean the same
MIN_PART_LENGTH = 3  # letters of a name that count when it is part of another


@dataclass(frozen=True)
class Prediction:
    """The part of a spec that is about the target, guessed. `evidence` maps a key of the spec to its comment."""

    target: list[str]
    submission_columns: list[str]  # [] if they are the targets
    submission_classes: list[str]  # the class of each column if there is one column per class; else []
    task: Task
    metric: str
    target_transform: TargetTransform
    other_train_only: list[str]  # columns that only train has, targets excepted
    largest_class_size: int | None  # in rows; None for regression
    evidence: dict[str, str]
    metric_source: str = ""  # where the metric comes from, if it is known
    missing: str = ""  # evidence of rows without a target
    weights: DraftWeights | None = None  # of rows, if the metric needs them
    class_order: tuple[str, ...] = ()  # of classes with a known order, if the metric depends on it


def guess_prediction(files: DraftFiles, metric: str | None, kaggle_metric: str = "") -> Prediction:
    """Guess target, task, metric and transform. Raises DataError, or SpecError for a `metric` that does not fit.

    `kaggle_metric` is Kaggle's name of the metric, which counts if no `metric` is given.
    """
    is_own = metric is not None and own_metric_parts(metric) is not None
    if metric is not None and not is_own and metric not in METRICS:
        raise SpecError(f"unknown metric {metric!r}", where="--metric", hint=did_you_mean(metric, METRICS))
    evidence: dict[str, str] = {}
    target, columns, classes, evidence["target"] = _guess_targets(files)
    task, evidence["task"] = _guess_task(
        files, target, is_one_per_class=bool(classes), metric=None if is_own else metric or _first_of(kaggle_metric)
    )
    source = ""
    if metric is None and (metric := _first_of(kaggle_metric, task)):
        source = f"Kaggle's evaluation metric: {kaggle_metric}"
        is_weighted = METRICS[metrics_of_kaggle(kaggle_metric)[0]].needs_weight
        source += f" ({metrics_of_kaggle(kaggle_metric)[0]}, with the weights in [scoring])" if is_weighted else ""
    is_metric_given = metric is not None
    if metric is None:
        metric, evidence["metric"] = _guess_metric(files, task, target, columns, is_one_per_class=bool(classes))
        if kaggle_metric:
            evidence["metric"] = f"Kaggle's metric is {kaggle_metric!r}, a name not known here; {evidence['metric']}"
    elif not is_own and task not in METRICS[metric].tasks:
        fitting = ", ".join(name for name, m in METRICS.items() if task in m.tasks)
        raise SpecError(
            f"{metric!r} cannot score a {task} task ({evidence['task']})", where="--metric", hint=f"One of {fitting}."
        )
    transform: TargetTransform = "none"
    largest = None
    if task == "regression":
        values = np.column_stack([numbers_of(files.train.column(name)) for name in target])
        transform, evidence["target_transform"] = guess_transform(values, metric, is_metric_given=is_metric_given)
    else:
        rows = pd.DataFrame({name: files.train.column(name, markers=files.markers_of(name)) for name in target})
        largest = int(rows.value_counts().max())  # of several targets: of combinations of their classes
    others = [c for c in files.train_only_columns if c not in target]
    missing = _rows_without_target(files, target, is_class=task != "regression")
    order = _class_order(files, target, metric)
    needs_weight = metric in METRICS and METRICS[metric].needs_weight
    weights = guess_weights(files, metric) if needs_weight else None
    return Prediction(
        target, columns, classes, task, metric, transform, others, largest, evidence, source, missing, weights, order
    )


def _class_order(files: DraftFiles, target: list[str], metric: str) -> tuple[str, ...]:
    if len(target) > 1 or metric not in METRICS or not METRICS[metric].is_ordinal:
        return ()
    labels = class_labels(files.train.column(target[0], markers=files.markers_of(target[0])))
    return tuple(ordered_levels([str(label) for label in labels]))


def _first_of(kaggle_metric: str, task: Task | None = None) -> str | None:
    """The usual meaning of Kaggle's name, for the task; not a metric with weights, which only a person knows."""
    known = (name for name in metrics_of_kaggle(kaggle_metric) if name in METRICS and not METRICS[name].needs_weight)
    return next((name for name in known if task is None or task in METRICS[name].tasks), None)


def _rows_without_target(files: DraftFiles, target: list[str], *, is_class: bool) -> str:
    """How many train rows lack a target, "" if none does."""
    train = files.train
    markers = {name: files.markers_of(name) if is_class else MISSING_MARKERS for name in target}
    n_lacking = int(is_without_target(train, target, markers).sum())
    return f"{n_lacking} of {len(train.frame)} rows of {train.path.name} lack a target" if n_lacking else ""


def _guess_targets(files: DraftFiles) -> tuple[list[str], list[str], list[str], str]:
    """Targets, submission columns if they differ, the class of each if there is one per class, and the evidence."""
    train, test_name, sample_name = files.train, files.test.path.name, files.sample.path.name
    predicted = files.predicted_columns
    if not predicted:
        raise DataError("has no prediction column", where=files.sample.where())
    unknown = [c for c in predicted if c not in train.frame.columns]
    if not unknown:
        return predicted, [], [], f"a column of both {sample_name} and {train.path.name}"
    candidates = files.train_only_columns
    if not candidates:
        raise DataError(
            f"has no target: {test_name} has all its columns",
            where=train.where(),
            hint=f"{sample_name} predicts {listed(predicted)}.",
        )
    hint = f"Columns that are not in {test_name}: {listed(candidates)}."
    if len(unknown) < len(predicted):
        raise DataError(f"has no column {listed(unknown)}, unlike {sample_name}", where=train.where(), hint=hint)
    by_similarity = sorted(candidates, key=lambda c: -_similarity(c, predicted[0]))
    if len(predicted) == 1:
        target, why = by_similarity[0], f"not in {test_name}, and similar to"
        if _similarity(target, predicted[0]) <= SIMILAR:
            target, why = candidates[-1], f"the last column that is not in {test_name}; taken for"
        return [target], predicted, [], f"{why} {predicted[0]!r} in {sample_name}"
    for target in by_similarity:
        labels = [str(label) for label in class_labels(train.column(target, markers=files.markers_of(target)))]
        classes = _class_of_each(predicted, labels)
        if classes:
            return [target], predicted, classes, f"{sample_name} has one column for each of its {len(classes)} classes"
    raise DataError(
        f"predicts {listed(predicted)}, which are neither columns of {train.path.name} nor classes of one",
        where=files.sample.where(),
        hint=hint,
    )


def _similarity(left: str, right: str) -> float:
    """How similar two names are, 0..1; at least 0.9 if one is part of the other, as `price` of `predicted_price`."""
    shorter, longer = sorted((left.lower(), right.lower()), key=len)
    if len(shorter) >= MIN_PART_LENGTH and shorter in longer:
        return 0.9 + 0.1 * len(shorter) / len(longer)
    return difflib.SequenceMatcher(None, left.lower(), right.lower()).ratio()


def _class_of_each(columns: list[str], labels: list[str]) -> list[str]:
    """The class each column stands for: `C`, `Status_C` or `C_probability`; [] if they do not match the labels."""
    for label in labels:
        prefix, suffix = columns[0].removesuffix(label), columns[0].removeprefix(label)
        if {prefix + other for other in labels} == set(columns):
            return [column.removeprefix(prefix) for column in columns]
        if {other + suffix for other in labels} == set(columns):
            return [column.removesuffix(suffix) for column in columns]
    return []


def _guess_task(
    files: DraftFiles, target: list[str], *, is_one_per_class: bool, metric: str | None
) -> tuple[Task, str]:
    if len(target) > 1:
        return _guess_task_of_several(files, target, metric)
    series = files.train.column(target[0], markers=files.markers_of(target[0]))
    _refuse_text_among_numbers(files, target[0], series)
    values = inferred(series.dropna())
    n_values, n_rows = int(values.nunique()), len(values)
    if n_values == 0:
        raise DataError("every target is missing", where=files.train.where(target[0]))
    is_number = pd.api.types.is_numeric_dtype(values.dtype) and values.dtype != np.bool_
    if is_one_per_class or n_values == 2 or not is_number:
        shown = ", ".join(str(label) for label in class_labels(series)[:6]) + (", …" if n_values > 6 else "")
        return "binary" if n_values == 2 else "multiclass", f"the target has {n_values} distinct values: {shown}"
    rarest = int(values.value_counts().min())
    is_whole = pd.api.types.is_integer_dtype(values.dtype) or bool((values == values.round()).all())
    is_few = n_values <= MAX_CLASSES and n_rows >= ROWS_PER_CLASS * n_values and rarest >= MIN_CLASS_ROWS
    shape = f"{'whole numbers' if is_whole else 'numbers'}, {n_values} distinct in {n_rows} rows"
    if metric is not None and is_whole and n_values <= n_rows / 2:
        if METRICS[metric].reads == "value":
            return "regression", f"{shape}; {metric} scores quantities"
        return "multiclass", f"{shape}; {metric} scores classes"
    if is_whole and is_few and not _is_sample_fractional(files):
        return "multiclass", f'{shape}; if they are quantities, set it to "regression"'
    return "regression", shape


def _guess_task_of_several(files: DraftFiles, target: list[str], metric: str | None) -> tuple[Task, str]:
    """Binary if all targets have the same two values, of which a target may lack one; else a regression."""
    if metric is not None and "binary" not in METRICS[metric].tasks:
        return "regression", f"{len(target)} targets; {metric} scores quantities"
    values: set[str] = set()
    for name in target:
        values |= set(as_written(files.train.column(name, markers=files.markers_of(name)).dropna()).unique()[:3])
        if len(values) > 2:
            return "regression", f"{len(target)} targets"
    return "binary", f"{len(target)} targets, each with the values {' and '.join(sorted(values))}"


def _refuse_text_among_numbers(files: DraftFiles, target: str, series: pd.Series) -> None:
    """Refuse a target of numbers with a few texts among them: neither a quantity nor a class."""
    is_text_cell = series.notna().to_numpy() & np.isnan(numbers_of(series))
    row = first_true(is_text_cell)
    if row is not None and is_text_cell.sum() <= (1 - MIN_NUMBER_SHARE) * series.notna().sum():
        raise DataError(
            f"the target is {series.iloc[row]!r}, but nearly all others are numbers",
            where=files.train.where(target, row),
            hint="Correct the value. Only a target of classes may contain text.",
        )


def _is_sample_fractional(files: DraftFiles) -> bool:
    """Whether the sample submission predicts numbers that are not whole."""
    numbers = np.concatenate([numbers_of(files.sample.column(c)) for c in files.predicted_columns])
    numbers = numbers[~np.isnan(numbers)]
    return bool((numbers != np.round(numbers)).any())


def _guess_metric(
    files: DraftFiles, task: Task, target: list[str], columns: list[str], *, is_one_per_class: bool
) -> tuple[str, str]:
    how = "not in the files: see Evaluation on the competition's page; set it here or by `init --metric NAME`, "
    how += f"such as {', '.join(USUAL_METRICS[task])}"
    if len(target) > 1:
        how = f"its mean over the targets; {how}"
    if is_one_per_class:
        return "log_loss", f"one probability per class; {how}"
    n_labels = (
        0 if task == "regression" or len(target) > 1 else _n_ranked_labels(files, target[0], (columns or target)[0])
    )
    if n_labels > 1:
        return f"map_at_{n_labels}", f"{files.sample.path.name} has {n_labels} classes in a cell; {how}"
    if task == "binary" and _is_probability_wanted(files, target[0], (columns or target)[0]):
        return "roc_auc", f"{files.sample.path.name} has numbers that are not classes: probabilities; {how}"
    return DEFAULT_METRIC[task], how


def _n_ranked_labels(files: DraftFiles, target: str, column: str) -> int:
    """The most classes in a cell of the sample submission; 0 if a cell has other content."""
    read = label_reader(class_labels(files.train.column(target, markers=files.markers_of(target))))
    lengths = [len(read(cell) or ()) for cell in as_written(files.sample.column(column).dropna()).unique()]
    return max(lengths) if lengths and min(lengths) > 0 else 0


def _is_probability_wanted(files: DraftFiles, target: str, column: str) -> bool:
    predicted = files.sample.column(column)
    if _is_sample_fractional(files):
        return True
    labels = {str(label) for label in class_labels(files.train.column(target, markers=files.markers_of(target)))}
    is_number = bool(np.isfinite(numbers_of(predicted)).all())
    return is_number and not set(as_written(predicted.dropna())) <= labels


def guess_transform(values: FloatArray, metric: str, *, is_metric_given: bool) -> tuple[TargetTransform, str]:
    """The transform of a regression target (rows, targets), and the evidence for it."""
    if metric in METRICS and METRICS[metric].scale != "none":
        return METRICS[metric].scale, f"matches the metric {metric}"
    if is_metric_given:
        return "standardise", f"{metric} scores plain differences"
    smallest = float(np.nanmin(values)) if np.isfinite(values).any() else -1.0
    if smallest < 0:
        return "standardise", "the default"
    transform: TargetTransform = "log1p"
    plain, logged = _skewness(values), _skewness(np.log1p(values))
    if smallest > 0 and abs(_skewness(np.log(values))) < abs(logged):
        transform, logged = "log", _skewness(np.log(values))
    if plain > STRONG_SKEW and abs(logged) < plain:
        return transform, f"the target's skewness is {plain:.1f}, and {logged:.1f} after {transform}"
    return "standardise", f"the target's skewness is {plain:.1f}"


def _skewness(values: FloatArray) -> float:
    """The skewness of the most skewed column; 0 for a constant one."""
    skews = pd.DataFrame(values).skew().to_numpy(dtype=np.float64)
    skews = skews[np.isfinite(skews)]
    return float(skews[np.argmax(np.abs(skews))]) if len(skews) else 0.0
