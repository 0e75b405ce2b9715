"""A metric of one's own is tried on the true target before anything is trained: what it reads, which way is better.

Knows the spec, the train rows and the function; writes `features/metric.json`, so that a trial is not repeated.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError, SpecError
from pipeline.base.progress import say
from pipeline.competition.own_metric import OwnScore, code_of, own_score
from pipeline.competition.workspace import Workspace
from pipeline.config.artifact import Artifact
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Label
from pipeline.metrics.metric import nearly_perfect
from pipeline.metrics.own import Reads

MOST_ROWS = 10_000


class MetricFinding(Artifact):
    """`features/metric.json`: what the trial of a metric of one's own found."""

    WHAT: ClassVar[str] = "the trial of a metric"
    REMEDY: ClassVar[str] = "Delete it; the next command tries the metric again."

    format: Literal[1] = 1
    fingerprint: str
    reads: Reads
    greater_is_better: bool
    min_prediction: float | None

    def applied_to(self, spec: CompetitionSpec) -> CompetitionSpec:
        """The spec with what was found."""
        found = self.model_dump(include={"reads", "greater_is_better", "min_prediction"})
        return spec.model_copy(update={"scoring": spec.scoring.model_copy(update=found)})


def known_finding(workspace: Workspace, spec: CompetitionSpec) -> CompetitionSpec:
    """The spec with what the last trial of its metric found; unchanged if there was none."""
    if spec.metric_file is None:
        return spec
    finding = MetricFinding.read_or_none(workspace.metric_trial, otherwise="the metric is tried again")
    return spec if finding is None else finding.applied_to(spec)


def tried_metric(
    workspace: Workspace, spec: CompetitionSpec, train_rows: pd.DataFrame, target: FloatArray, classes: Sequence[Label]
) -> CompetitionSpec:
    """Return the spec with what a trial of its metric finds, unless it was tried on the same rows before.

    Raises DataError if the function fails, SpecError if its direction cannot be told.
    """
    if spec.metric_file is None:
        return spec
    tables = files.sha256_of_json([train_rows.shape, int(pd.util.hash_pandas_object(train_rows, index=False).sum())])
    read = spec.model_dump(mode="json", include={"metric", "task", "target", "scoring", "submission", "id", "ids"})
    code = code_of(workspace.folder / spec.metric_file)
    fingerprint = files.sha256_of_json([read, code, tables, [str(label) for label in classes]])
    known = MetricFinding.read_or_none(workspace.metric_trial, otherwise="the metric is tried again")
    if known is None or known.fingerprint != fingerprint:
        score = own_score(spec, workspace.folder, train_rows, classes)
        rows = np.arange(len(train_rows))
        if len(rows) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = _finding(spec, score, target[rows], rows, fingerprint)
        known.write(workspace.metric_trial)
    return known.applied_to(spec)


def _finding(
    spec: CompetitionSpec, score: OwnScore, y: FloatArray, rows: np.ndarray, fingerprint: str
) -> MetricFinding:
    stated = spec.scoring
    options: list[Reads] = ["value"] if spec.task == "regression" else ["probability", "label"]
    if spec.task != "regression" and spec.task != "binary" and not spec.submission.classes:
        options = ["label"]
    if spec.submission.classes:
        options = ["probability"]
    order = np.random.default_rng(0).permutation(len(rows))
    failure: DataError | None = None
    for reads in options if stated.reads is None else [stated.reads]:
        tried = replace(score, reads=reads)
        perfect = nearly_perfect(y, len(score.classes)) if reads == "probability" else y
        try:
            good, bad = tried.strictly(y, perfect, rows), tried.strictly(y, perfect[order], rows)
        except DataError as error:
            failure = failure or error
            continue
        if math.isfinite(good) and math.isfinite(bad) and good != bad:
            break
    else:
        raise failure or SpecError(
            f"perfect and shuffled predictions score {good:g} and {bad:g}, which does not tell what is better",
            where=spec.metric,
            hint="Correct the function, or what it reads: [scoring] reads.",
        )
    greater = good > bad if stated.greater_is_better is None else stated.greater_is_better
    smallest = (
        stated.min_prediction if reads != "value" or stated.min_prediction is not None else _smallest(tried, y, rows)
    )
    better = "greater" if greater else "smaller"
    say(
        f"features: {spec.metric} reads {_content(spec, reads)}; {better} is better "
        f"(right predictions score {good:.5g}, shuffled ones {bad:.5g})"
    )
    if (good > bad) != greater:
        say(f"features: [scoring] greater_is_better = {str(greater).lower()} says otherwise, and is followed")
    if smallest is not None and stated.min_prediction is None:
        say(f"features: {spec.metric} refuses smaller predictions than {smallest:g}; they become {smallest:g}")
    return MetricFinding(fingerprint=fingerprint, reads=reads, greater_is_better=greater, min_prediction=smallest)


def _content(spec: CompetitionSpec, reads: Reads) -> str:
    if reads == "probability":
        return "a probability per class" if spec.submission.classes else "probabilities"
    return f"{reads}s"


def _smallest(score: OwnScore, y: FloatArray, rows: np.ndarray) -> float | None:
    """The smallest value to predict: 0, or half the smallest target, where the metric refuses smaller ones."""
    if y.min() < 0 or _is_accepted(score, y, rows, -1.0):
        return None
    return 0.0 if y.min() == 0 or _is_accepted(score, y, rows, 0.0) else float(y.min() / 2.0)


def _is_accepted(score: OwnScore, y: FloatArray, rows: np.ndarray, value: float) -> bool:
    predicted = y.copy()
    predicted[0] = value
    try:
        return math.isfinite(score.strictly(y, predicted, rows))
    except DataError:
        return False
