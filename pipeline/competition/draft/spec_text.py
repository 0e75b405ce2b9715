"""Guesses -> the text of `competition.toml`, validated as a spec before it is returned.

Must not know: how anything was guessed.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path

from pipeline.competition.draft.files import DraftFiles, find_files
from pipeline.competition.draft.roles import Roles, first_parts, guess_roles
from pipeline.competition.draft.series import DraftSeries, find_series
from pipeline.competition.draft.task import Prediction, guess_prediction
from pipeline.competition.structure import TimeOrder
from pipeline.competition.tables.reading import as_written
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated

KAGGLE_SLUGS = {"house-prices": "house-prices-advanced-regression-techniques"}
USUAL_FOLDS = 5
MIN_FOLDS = 2
MOST_TIMES_LONGER = 4  # than a fold is what test asks to forecast
MAX_LINE = 110  # a longer list gets one item per line


def draft_spec(raw: Path, name: str, *, metric: str | None = None, kaggle_metric: str = "") -> str:
    """The text of a spec for the raw files in `raw`; each guess is marked and followed by its evidence.

    Without a `metric`, it is the one that Kaggle calls `kaggle_metric`, or else a guess.
    Raises DataError if the files cannot be told apart, SpecError for a `metric` that does not fit.
    """
    files = find_files(raw)
    prediction = guess_prediction(files, metric, kaggle_metric)
    roles = guess_roles(files, prediction.target)
    lines = [
        f"# Drafted from the files of {name} by `python -m pipeline init {name}`.",
        "# Lines marked `guessed` were inferred from the data: check them.",
        "",
        *_head(name, files, prediction),
        *_scoring(prediction),
        *_columns(files, prediction, roles),
        *(["[encoder]", _comment(f"guessed: {roles.pixels}"), "pixels = true", ""] if roles.pixels else []),
        *_folds(files, prediction, roles),
    ]
    lines += _ids(files)
    lines += _files(files)
    if prediction.submission_columns:
        lines += ["[submission]", *_line("columns", prediction.submission_columns)]
        lines += _line("classes", prediction.submission_classes) if prediction.submission_classes else []
    text = "\n".join(lines).rstrip() + "\n"
    validated(CompetitionSpec, tomllib.loads(text), where=f"the spec drafted for {name}")
    return text


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    """A comment of one line, whatever column names contain."""
    return "# " + re.sub(r"[\x00-\x1f\x7f]", " ", text)


def _line(key: str, value: str | list[str], evidence: str | None = None) -> list[str]:
    written = f"{key} = {_quoted(value)}"
    if isinstance(value, list) and len(written) > MAX_LINE:
        written = "\n".join([f"{key} = [", *(f"  {_quoted(item)}," for item in value), "]"])
    return [_comment(f"guessed: {evidence}"), written] if evidence else [written]


def _annotated(key: str, items: dict[str, str]) -> list[str]:
    """A list with the evidence beside each of its items."""
    if not items:
        return []
    lines = (f"  {_quoted(item)},  {_comment(f'guessed: {evidence}')}" for item, evidence in items.items())
    return [f"{key} = [", *lines, "]"]


def _head(name: str, files: DraftFiles, prediction: Prediction) -> list[str]:
    evidence = prediction.evidence
    target: str | list[str] = prediction.target[0] if len(prediction.target) == 1 else prediction.target
    lines = [
        *_line("name", name),
        *_line("kaggle_slug", KAGGLE_SLUGS.get(name, name)),
        *_line("id", files.id, files.ids.evidence),
        *_line("target", target, evidence["target"]),
        *(_line("missing_target", "drop", prediction.missing) if prediction.missing else []),
        *_line("task", prediction.task, evidence["task"]),
        *([_comment(prediction.metric_source)] if prediction.metric_source else []),
        *_line("metric", prediction.metric, evidence.get("metric")),
    ]
    if prediction.task == "regression":
        lines += _line("target_transform", prediction.target_transform, evidence["target_transform"])
    return [*lines, ""]


def _scoring(prediction: Prediction) -> list[str]:
    if prediction.weights is None:
        return []
    column, values = prediction.weights.column, prediction.weights.values
    weights = ", ".join(f"{_quoted(value)} = 1" for value in values)
    lines = ["[scoring]", *_line("weight", column, prediction.weights.evidence)]
    return [*lines, *([f"weights = {{{weights}}}"] if values else []), ""]


def _files(files: DraftFiles) -> list[str]:
    lines = ["[files]"] if files.names else []
    for key, name in files.names.items():
        lines += _line(key, name, files.evidence.get(key))
    lines += [""] if files.names else []
    if files.split.column is not None:
        lines += ["[split]", *_line("column", files.split.column), *_line("test", files.split.test), ""]
    for table, evidence in files.tables.joined:
        by: str | list[str] = table.by[0] if len(table.by) == 1 else table.by
        lines += ["[[tables]]", *_line("file", table.file), *_line("by", by, evidence), ""]
    remarks = [_comment(remark) for remark in files.tables.remarks]
    return [*lines, *remarks, ""] if remarks else lines


def _ids(files: DraftFiles) -> list[str]:
    named = files.ids.columns.model_dump(exclude_defaults=True)
    lines = []
    for key, value in named.items():
        lines += _line(key, value, files.ids.evidence_of_train if key == "train" else None)
    return ["[ids]", *lines, ""] if lines else []


def _columns(files: DraftFiles, prediction: Prediction, roles: Roles) -> list[str]:
    drop = dict.fromkeys(prediction.other_train_only, f"not in {files.test.path.name}, and not a target")
    lines = [
        *_annotated("categories", roles.categories),
        *_annotated("dates", roles.dates),
        *_annotated("texts", roles.texts),
        *_annotated("drop", drop),
        *_annotated("na_is_category", roles.na_is_category),
        *map(_comment, roles.remarks),
    ]
    if lines:
        lines = ["[columns]", *lines, ""]
    ordered = roles.ordered | ({prediction.target[0]: [*prediction.class_order]} if prediction.class_order else {})
    if ordered:
        lines += ["[columns.ordered]", _comment("guessed: all texts of the column belong to a known scale")]
        lines += [f"{_quoted(column)} = {_quoted(levels)}" for column, levels in ordered.items()]
        lines += [""]
    return lines


def _folds(files: DraftFiles, prediction: Prediction, roles: Roles) -> list[str]:
    kind, why, key = _fold_kind(files, prediction, roles)
    n_rows, n_largest = len(files.train.frame), prediction.largest_class_size
    number, why_number = min(USUAL_FOLDS, n_rows), f"there are {n_rows} train rows"
    if kind == "stratified" and n_largest is not None and n_largest < number:
        number, why_number = n_largest, f"no class has more than {n_largest} rows"
    if key and "group" in kind and roles.keys[key].n_train < number:
        number, why_number = roles.keys[key].n_train, f"there are {roles.keys[key].n_train} groups"
    lines = ["[folds]", *_line("kind", kind, why)]
    lines += _line("group" if "group" in kind else "time", key) if key else []
    of_time = _forecast(files, prediction, roles.times[key], key) if kind == "time" else []
    if of_time:
        lines += of_time
    else:
        lines += [] if number == USUAL_FOLDS else [_comment(f"guessed: {why_number}")]
        lines += [f"number = {max(number, 2)}"]
    ids = as_written(files.train.column(files.id, markers=("",)))
    prefix = first_parts(ids)
    if prefix is not None:
        lines += [
            _comment(f"the ids are compound ({ids.iloc[0]!r}): {prefix.nunique()} first parts in {len(ids)} rows."),
            "# Rows with the same first part may be related. To keep them in one fold, set",
            '# kind = "file" and file = "folds.csv", a CSV beside this file with the id column and `fold`.',
        ]
    return [*lines, ""]


def _forecast(files: DraftFiles, prediction: Prediction, order: TimeOrder, date: str) -> list[str]:
    """Folds in time that forecast as test does, and the series of the table; [] where train is too short for them."""
    horizon, test = math.ceil(order.horizon), files.test.path.name
    series = find_series(files, date, files.shared_columns) if prediction.task == "regression" else None
    folds, why = _forecast_folds(order), f"{test} ends {horizon} days after train"
    if folds is None and series is not None:
        folds, why = _short_folds(order), f"{why}; beside a history as long as that, train has room for no longer folds"
    if folds is None:
        return []
    number, length = folds
    return [_comment(f"guessed: {why}"), f"length = {length}", f"number = {number}", *_time(series)]


def _time(series: DraftSeries | None) -> list[str]:
    if series is None:
        return []
    lines = ["", "[time]", *_line("date", series.date), *_line("key", series.key, series.evidence)]
    lines += [f"horizon = {math.ceil(series.horizon)}"]
    lines += _line("country", series.country, "all its texts are countries: public holidays") if series.country else []
    return [*lines, *([_comment(series.remark)] if series.remark else [])]


def _forecast_folds(order: TimeOrder) -> tuple[int, int] | None:
    """The number of time folds and their days, as many as test needs to be forecast; None where train is too short.

    The first fold trains on twice that time if it can.
    """
    horizon = math.ceil(order.horizon)
    if horizon < 1 or (n_whole := int(order.span // horizon)) <= MIN_FOLDS:
        return None
    return min(USUAL_FOLDS, max(MIN_FOLDS, n_whole - 2)), horizon


def _short_folds(order: TimeOrder) -> tuple[int, int] | None:
    """The same for series, of which the first fold trains on as many days with a known past as it validates.

    None where that is a small part of what test asks for.
    """
    horizon = math.ceil(order.horizon)
    length = int((order.span - horizon) // (MIN_FOLDS + 1))
    return (MIN_FOLDS, length) if 1 <= length <= horizon <= length * MOST_TIMES_LONGER else None


def _fold_kind(files: DraftFiles, prediction: Prediction, roles: Roles) -> tuple[str, str, str]:
    """The kind, its evidence and the column it needs, which mirrors how test was split from train."""
    train, test, n_largest = files.train.path.name, files.test.path.name, prediction.largest_class_size
    for name, order in roles.times.items():
        if order.is_forecast and not order.overlap:
            return "time", f"every {name!r} in {test} is later than all in {train}", name
        if order.is_forecast:
            share = f"{order.later:.0%} of the rows of {test} are later than all of {train} in {name!r}"
            return "time", f"{share}; both have rows from {order.overlap}", name
    if roles.keys:  # of nested keys, the coarsest keeps the finer ones together, too
        name, keys = min(roles.keys.items(), key=lambda item: item[1].n_train)
        why = f"no {name!r} of {test} ({keys.n_test}) is among the {keys.n_train} of {train}: a model meets new ones"
        return "group" if n_largest is None else "stratified_group", why, name
    kind, why = ("shuffled", "the target is numeric") if n_largest is None else ("stratified", "the target is a class")
    if n_largest is not None and len(prediction.target) > 1:
        why = "the targets are classes: each combination of them is divided evenly"
    if n_largest == 1:
        kind, why = "shuffled", "every class has only one row, so folds cannot be stratified"
    for name in list(roles.times)[:1]:
        why += f"; test rows are among the train rows in time ({name!r})"
    return kind, why, ""
