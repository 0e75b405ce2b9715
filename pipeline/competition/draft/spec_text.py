"""Guesses -> the text of `competition.toml`, validated as a spec before it is returned.

Must not know: how anything was guessed.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from pipeline.competition.draft.files import DraftFiles, find_files
from pipeline.competition.draft.roles import Roles, first_parts, guess_roles
from pipeline.competition.draft.task import Prediction, guess_prediction
from pipeline.competition.tables.reading import as_written
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated

KAGGLE_SLUGS = {"house-prices": "house-prices-advanced-regression-techniques"}
USUAL_FOLDS = 5
MAX_LINE = 110  # a longer list gets one item per line


def draft_spec(raw: Path, name: str, *, metric: str | None = None) -> str:
    """The text of a spec for the raw files in `raw`; each guess is marked and followed by its evidence.

    Raises DataError if the files cannot be told apart, SpecError for a `metric` that does not fit.
    """
    files = find_files(raw)
    prediction = guess_prediction(files, metric)
    roles = guess_roles(files, prediction.target)
    lines = [
        f"# Drafted from the files of {name} by `python -m pipeline init {name}`.",
        "# Lines marked `guessed` were inferred from the data: check them.",
        "",
        *_head(name, files, prediction),
        *_columns(files, prediction, roles),
        *(["[encoder]", _comment(f"guessed: {roles.pixels}"), "pixels = true", ""] if roles.pixels else []),
        *_folds(files, prediction, roles),
    ]
    if files.names:
        lines += ["[files]", *(f"{key} = {_quoted(file)}" for key, file in files.names.items()), ""]
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
        *_line("id", files.id, f"the same values in {files.sample.path.name} and {files.test.path.name}"),
        *_line("target", target, evidence["target"]),
        *_line("task", prediction.task, evidence["task"]),
        *_line("metric", prediction.metric, evidence.get("metric")),
    ]
    if prediction.task == "regression":
        lines += _line("target_transform", prediction.target_transform, evidence["target_transform"])
    return [*lines, ""]


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
    if roles.ordered:
        lines += ["[columns.ordered]", _comment("guessed: all texts of the column belong to a known scale")]
        lines += [f"{_quoted(column)} = {_quoted(levels)}" for column, levels in roles.ordered.items()]
        lines += [""]
    return lines


def _folds(files: DraftFiles, prediction: Prediction, roles: Roles) -> list[str]:
    later = [column for column, follows in roles.test_follows_train.items() if follows]
    mixed = [column for column, follows in roles.test_follows_train.items() if not follows]
    n_rows, n_largest = len(files.train.frame), prediction.largest_class_size
    number, why_number = min(USUAL_FOLDS, n_rows), f"there are {n_rows} train rows"
    if later:
        kind, why = "time", f"every {later[0]!r} in {files.test.path.name} is later than all in {files.train.path.name}"
    elif n_largest is None:
        kind, why = "shuffled", "the target is numeric"
    elif n_largest > 1:
        kind, why = "stratified", "the target is a class"
        if n_largest < number:
            number, why_number = n_largest, f"no class has more than {n_largest} rows"
    else:
        kind, why = "shuffled", "every class has only one row, so folds cannot be stratified"
    if not later and mixed:
        why += f"; test rows are among the train rows in time ({mixed[0]!r})"
    lines = ["[folds]", *_line("kind", kind, why)]
    lines += _line("time", later[0]) if later else []
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
