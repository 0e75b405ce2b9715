"""What is predicted: targets, the submission's columns, the task, its metric and target transform.

Must not know: feature columns' roles.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError, did_you_mean
from pipeline.competition.draft.files import DraftFiles
from pipeline.competition.tables.checks import CLASS_MARKERS, class_labels
from pipeline.competition.tables.reading import as_written, inferred, numbers_of
from pipeline.competition.tables.typed import MOSTLY
from pipeline.config.spec import TargetTransform
from pipeline.metrics import METRICS, USUAL_METRIC, Task

MOST_CLASSES = 20  # whole numbers with more different values than this are amounts
ROWS_PER_CLASS = 20  # ... and so are those that repeat less than this on average
RAREST_CLASS = 5
STRONG_SKEW = 1.0
SHORTEST_PART = 3  # letters of a name that count when they stand within another


@dataclass(frozen=True)
class Prediction:
    """The guessed half of a spec that speaks of the target. `evidence` maps a key of the spec to its comment."""

    target: list[str]
    submission_columns: list[str]  # [] when they are the targets
    submission_classes: list[str]  # [] unless there is one column a class
    task: Task
    metric: str
    target_transform: TargetTransform
    other_lacking: list[str]  # train columns that test lacks and that are no target
    rarest_class: int | None  # rows of the rarest class
    evidence: dict[str, str] = field(default_factory=dict)


def guess_prediction(files: DraftFiles, metric: str | None) -> Prediction:
    """Guess target, task, metric and transform. Raises DataError, or SpecError for a metric that does not fit."""
    if metric is not None and metric not in METRICS:
        raise SpecError(f"unknown metric {metric!r}", where="--metric", hint=did_you_mean(metric, METRICS))
    evidence: dict[str, str] = {}
    target, columns, classes = _targets(files, evidence)
    task = _task(files, target, classes, metric, evidence)
    metric = _metric(files, target, task, columns, classes, metric, evidence)
    transform = guess_transform(files, target, task, metric, evidence)
    rarest = None
    if task != "regression":
        rarest = int(files.train.column(target[0], markers=CLASS_MARKERS).value_counts().min())
    others = [c for c in files.lacking_columns if c not in target]
    return Prediction(target, columns, classes, task, metric, transform, others, rarest, evidence)


def _targets(files: DraftFiles, evidence: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Targets, submission columns where they differ, and the class of each when there is one column a class."""
    train, sample = files.train, files.sample
    predicted = [c for c in sample.frame.columns if c != files.id]
    if not predicted:
        raise DataError("there is no prediction column", where=sample.where())
    known = [c for c in predicted if c in train.frame.columns]
    if len(known) == len(predicted):
        evidence["target"] = f"{sample.path.name} asks for it, {train.path.name} has it"
        return predicted, [], []
    lacking = files.lacking_columns
    if not lacking:
        raise DataError(
            f"there is no target: {files.test.path.name} has every column of it",
            where=train.where(),
            hint=f"{sample.path.name} asks for {_listed(predicted)}.",
        )
    if known:
        unknown = [c for c in predicted if c not in known]
        raise DataError(
            f"there is no column {_listed(unknown)}, which {sample.path.name} asks for",
            where=train.where(),
            hint=f"Columns that {files.test.path.name} lacks: {_listed(lacking)}.",
        )
    if len(predicted) == 1:
        target = max(lacking, key=lambda c: (_similarity(c, predicted[0]) > 0.6, _similarity(c, predicted[0])))
        if _similarity(target, predicted[0]) <= 0.6:
            target = lacking[-1]
        others = f", the last of {len(lacking)}" if len(lacking) > 1 else ""
        evidence["target"] = f"{files.test.path.name} lacks it{others}; {sample.path.name} calls it {predicted[0]!r}"
        return [target], predicted, []
    for target in sorted(lacking, key=lambda c: -_similarity(c, predicted[0])):
        labels = [str(label) for label in class_labels(train.column(target, markers=CLASS_MARKERS))]
        classes = _class_of_each(predicted, labels)
        if classes:
            evidence["target"] = f"{sample.path.name} has one column for each of its {len(classes)} classes"
            return [target], predicted, classes
    raise DataError(
        f"asks for {_listed(predicted)}, which are neither columns of {train.path.name} nor classes of one",
        where=sample.where(),
        hint=f"Columns that {files.test.path.name} lacks: {_listed(lacking)}.",
    )


def _similarity(left: str, right: str) -> float:
    """How alike two names are, 0..1; a name within the other, as `price` in `predicted_price`, is as good as alike."""
    shorter, longer = sorted((left.lower(), right.lower()), key=len)
    if len(shorter) >= SHORTEST_PART and shorter in longer:
        return 0.9 + 0.1 * len(shorter) / len(longer)
    return difflib.SequenceMatcher(None, left.lower(), right.lower()).ratio()


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:10]) + (", …" if len(names) > 10 else "")


def _class_of_each(columns: list[str], labels: list[str]) -> list[str]:
    """The class each column stands for: `C`, `Status_C` or `C_probability`; [] when they do not pair up."""
    if len(columns) != len(labels):
        return []
    for label in labels:
        for cut, keep in ((str.removesuffix, "prefix"), (str.removeprefix, "suffix")):
            affix = cut(columns[0], label)
            if affix == columns[0] and label:
                continue
            if keep == "prefix":
                classes = [c.removeprefix(affix) if c.startswith(affix) else "" for c in columns]
            else:
                classes = [c.removesuffix(affix) if c.endswith(affix) else "" for c in columns]
            if sorted(classes) == sorted(labels):
                return classes
    return []


def _task(
    files: DraftFiles, target: list[str], classes: list[str], metric: str | None, evidence: dict[str, str]
) -> Task:
    if len(target) > 1:
        evidence["task"] = f"{len(target)} targets"
        return "regression"
    series = files.train.column(target[0], markers=CLASS_MARKERS)
    values = inferred(series.dropna())
    _refuse_nearly_numbers(files, target[0], series)
    n_values, n_rows = int(values.nunique()), len(values)
    reads = METRICS[metric].reads if metric else None
    if n_values == 0:
        raise DataError("every target is missing", where=files.train.where(target[0]))
    of_classes: Task = "binary" if n_values == 2 else "multiclass"
    if classes or n_values == 2 or not pd.api.types.is_numeric_dtype(values.dtype) or values.dtype == np.bool_:
        shown = ", ".join(str(label) for label in class_labels(series)[:6]) + (", …" if n_values > 6 else "")
        evidence["task"] = f"the target has {n_values} different values: {shown}"
        return of_classes
    rarest = int(values.value_counts().min())
    is_whole = pd.api.types.is_integer_dtype(values.dtype) or bool((values == values.round()).all())
    is_few = n_values <= MOST_CLASSES and n_rows >= ROWS_PER_CLASS * n_values and rarest >= RAREST_CLASS
    shape = f"{'whole numbers' if is_whole else 'numbers'}, {n_values} different in {n_rows} rows"
    if reads is not None and is_whole and n_values <= n_rows / 2:
        evidence["task"] = f"{shape}, and the metric {metric} scores {'amounts' if reads == 'value' else 'classes'}"
        return "regression" if reads == "value" else "multiclass"
    if is_whole and is_few and not _sample_is_fractional(files):
        evidence["task"] = f"{shape}; if they are amounts, set it to regression"
        return "multiclass"
    evidence["task"] = shape
    return "regression"


def _refuse_nearly_numbers(files: DraftFiles, target: str, series: pd.Series) -> None:
    """Refuse a target of numbers with a few texts among them: neither amounts nor classes."""
    is_text_cell = series.notna().to_numpy() & np.isnan(numbers_of(series))
    if is_text_cell.any() and is_text_cell.sum() <= (1 - MOSTLY) * series.notna().sum():
        index = int(np.argmax(is_text_cell))
        raise DataError(
            f"the target is {series.iloc[index]!r}, where most are numbers",
            where=files.train.where(target, index),
            hint="Mend the value; a target of classes may hold any text, one of amounts only numbers.",
        )


def _sample_is_fractional(files: DraftFiles) -> bool:
    """Whether the sample submission predicts numbers that are no whole numbers."""
    predicted = [c for c in files.sample.frame.columns if c != files.id]
    numbers = np.concatenate([numbers_of(files.sample.column(c)) for c in predicted])
    numbers = numbers[~np.isnan(numbers)]
    return bool((numbers != np.round(numbers)).any())


def _metric(
    files: DraftFiles,
    target: list[str],
    task: Task,
    columns: list[str],
    classes: list[str],
    metric: str | None,
    evidence: dict[str, str],
) -> str:
    if metric is not None:
        if task not in METRICS[metric].tasks:
            fitting = ", ".join(name for name, m in METRICS.items() if task in m.tasks)
            raise SpecError(
                f"{metric!r} cannot score a {task} task ({evidence['task']})",
                where="--metric",
                hint=f"One of {fitting}.",
            )
        evidence["metric"] = "given with --metric"
        return metric
    how = "not in the files: see the competition's Evaluation page; `init --metric NAME` or this line sets it"
    if classes:
        evidence["metric"] = f"one probability for each class; {how}"
        return "log_loss"
    if task == "binary" and _wants_probability(files, target[0], columns):
        evidence["metric"] = f"{files.sample.path.name} holds numbers that are no classes, so probabilities; {how}"
        return "roc_auc"
    evidence["metric"] = how
    return USUAL_METRIC[task]


def _wants_probability(files: DraftFiles, target: str, columns: list[str]) -> bool:
    predicted = files.sample.column((columns or [target])[0])
    if _sample_is_fractional(files):
        return True
    labels = {str(label) for label in class_labels(files.train.column(target, markers=CLASS_MARKERS))}
    is_number = bool(np.isfinite(numbers_of(predicted)).all())
    return is_number and not set(as_written(predicted.dropna())) <= labels


def guess_transform(
    files: DraftFiles, target: list[str], task: Task, metric: str, evidence: dict[str, str]
) -> TargetTransform:
    if task != "regression":
        return "none"
    if METRICS[metric].scale != "none":
        evidence["target_transform"] = f"what {metric} scores"
        return METRICS[metric].scale
    values = np.column_stack([numbers_of(files.train.column(name)) for name in target])
    smallest = float(np.nanmin(values)) if np.isfinite(values).any() else -1.0
    is_metric_given = evidence["metric"].startswith("given")
    if is_metric_given or smallest < 0:
        evidence["target_transform"] = f"{metric} scores plain differences" if is_metric_given else "the usual one"
        return "standardise"
    plain = _skew(values)
    transform: TargetTransform = "log1p"
    logged = _skew(np.log1p(values))
    if smallest > 0 and abs(_skew(np.log(values))) < abs(logged):
        transform, logged = "log", _skew(np.log(values))
    if plain > STRONG_SKEW and abs(logged) < plain:
        evidence["target_transform"] = f"the target's skew is {plain:.1f}, and {logged:.1f} after {transform}"
        return transform
    evidence["target_transform"] = f"the target's skew is {plain:.1f}"
    return "standardise"


def _skew(values: FloatArray) -> float:
    """The skewness farthest from 0 of the columns; 0 for a constant one."""
    skews = pd.DataFrame(values).skew().to_numpy(dtype=np.float64)
    skews = skews[np.isfinite(skews)]
    return float(skews[np.argmax(np.abs(skews))]) if len(skews) else 0.0
