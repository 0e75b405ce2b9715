"""Guesses -> the text of `competition.toml`, read back through the spec's own model before it is given out.

Must not know: how anything was guessed.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from pipeline.competition.draft.files import DraftFiles, find_files
from pipeline.competition.draft.roles import Roles, guess_roles
from pipeline.competition.draft.task import Prediction, guess_prediction
from pipeline.competition.tables.reading import as_written
from pipeline.config.spec import CompetitionSpec
from pipeline.config.table import validated

KAGGLE_SLUGS = {"house-prices": "house-prices-advanced-regression-techniques"}
USUAL_FOLDS = 5
LINE = 110  # characters a list may take before it is broken into lines


def draft_spec(raw: Path, name: str, *, metric: str | None = None) -> str:
    """The text of a spec for the raw files in `raw`; what was guessed says so, and from what.

    Raises DataError when the files do not tell which is which, SpecError for a `metric` that does not fit.
    """
    files = find_files(raw)
    prediction = guess_prediction(files, metric)
    roles = guess_roles(files, prediction.target)
    lines = [
        f"# The spec of {name}, drafted from its files by `python -m pipeline init {name}`.",
        "# Lines marked `guessed` were read off the data: check them.",
        "",
        *_head(name, files, prediction),
        *_columns(files, prediction, roles),
        *_encoder(roles),
        *_folds(files, prediction, roles),
        *_files(files),
        *_submission(prediction),
    ]
    text = "\n".join(lines).rstrip() + "\n"
    validated(CompetitionSpec, tomllib.loads(text), where=f"the spec drafted for {name}")
    return text


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    """A comment is one line, whatever the column names hold."""
    return "# " + re.sub(r"[\x00-\x1f\x7f]", " ", text)


def _line(key: str, value: str | list[str], evidence: str | None = None) -> list[str]:
    written = f"{key} = {_quoted(value)}"
    if isinstance(value, list) and len(written) > LINE:
        written = "\n".join([f"{key} = [", *(f"  {_quoted(item)}," for item in value), "]"])
    return ([_comment(f"guessed: {evidence}")] if evidence else []) + [written]


def _annotated(key: str, items: dict[str, str]) -> list[str]:
    """A list with the evidence beside each of its items."""
    if not items:
        return []
    return [f"{key} = [", *(f"  {_quoted(item)},  {_comment(f'guessed: {why}')}" for item, why in items.items()), "]"]


def _head(name: str, files: DraftFiles, prediction: Prediction) -> list[str]:
    evidence = prediction.evidence
    target: str | list[str] = prediction.target[0] if len(prediction.target) == 1 else prediction.target
    metric_line = f"metric = {_quoted(prediction.metric)}"
    if evidence["metric"].startswith("given"):
        metric = [metric_line]
    else:
        metric = [_comment(f"guessed: {evidence['metric']}"), metric_line]
    lines = [
        *_line("name", name),
        *_line("kaggle_slug", KAGGLE_SLUGS.get(name, name)),
        *_line("id", files.id, f"the same values in {files.sample.path.name} and {files.test.path.name}"),
        *_line("target", target, evidence["target"]),
        *_line("task", prediction.task, evidence["task"]),
        *metric,
    ]
    if prediction.task == "regression":
        lines += _line("target_transform", prediction.target_transform, evidence["target_transform"])
    return [*lines, ""]


def _columns(files: DraftFiles, prediction: Prediction, roles: Roles) -> list[str]:
    drop = dict(roles.drop)
    drop |= dict.fromkeys(prediction.other_lacking, f"{files.test.path.name} lacks it, and it is no target")
    lines = [
        *_annotated("categories", roles.categories),
        *_annotated("dates", roles.dates),
        *_annotated("texts", roles.texts),
        *_annotated("drop", drop),
        *_annotated("na_is_category", roles.na_is_category),
        *(_comment(remark) for remark in roles.remarks),
    ]
    if lines:
        lines = ["[columns]", *lines, ""]
    if roles.ordered:
        lines += ["[columns.ordered]", _comment("guessed: every text in the column belongs to a known scale")]
        lines += [f"{_quoted(column)} = {_quoted(levels)}" for column, levels in roles.ordered.items()]
        lines += [""]
    return lines


def _encoder(roles: Roles) -> list[str]:
    return [] if roles.pixels is None else ["[encoder]", _comment(f"guessed: {roles.pixels}"), "pixels = true", ""]


def _folds(files: DraftFiles, prediction: Prediction, roles: Roles) -> list[str]:
    later = [column for column, follows in roles.test_follows_train.items() if follows]
    mixed = [column for column, follows in roles.test_follows_train.items() if not follows]
    n_rows = len(files.train.frame)
    number, why_number = min(USUAL_FOLDS, n_rows), f"there are {n_rows} train rows"
    if later:
        kind, why = "time", f"every {later[0]!r} in {files.test.path.name} is later than all in {files.train.path.name}"
    elif prediction.rarest_class is not None and prediction.rarest_class > 1:
        kind, why = "stratified", "a class is predicted"
        if prediction.rarest_class < number:
            number, why_number = prediction.rarest_class, "the rarest class has no more rows"
    elif prediction.rarest_class is not None:
        kind, why = "shuffled", "a class has a single row, so folds cannot be stratified"
    else:
        kind, why = "shuffled", "an amount is predicted"
    if kind != "time" and mixed:
        why += f"; the test rows lie among the train rows in time ({mixed[0]!r})"
    lines = ["[folds]", *_line("kind", kind, why)]
    lines += _line("time", later[0]) if later else []
    lines += [] if number == USUAL_FOLDS else [_comment(f"guessed: {why_number}")]
    lines += [f"number = {max(number, 2)}"]
    ids = as_written(files.train.column(files.id, markers=("",)))
    prefix = ids.str.extract(r"^(\w+?)_(\d{1,3})$", expand=True)[0]
    if prefix.notna().all() and prefix.nunique() < len(ids):
        lines += [
            _comment(
                f"the ids are compound ({ids.iloc[0]!r}): {prefix.nunique()} first parts in {len(ids)} rows. Rows of "
                "one first part may be alike;"
            ),
            _comment(
                'to keep them in one fold, give folds.file = "folds.csv" (id column and `fold`) and kind = "file".'
            ),
        ]
    return [*lines, ""]


def _files(files: DraftFiles) -> list[str]:
    if not files.names:
        return []
    return ["[files]", *(f"{key} = {_quoted(name)}" for key, name in files.names.items()), ""]


def _submission(prediction: Prediction) -> list[str]:
    if not prediction.submission_columns:
        return []
    lines = ["[submission]", *_line("columns", prediction.submission_columns)]
    lines += _line("classes", prediction.submission_classes) if prediction.submission_classes else []
    return [*lines, ""]
