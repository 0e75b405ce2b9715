"""Stage `score`: a submission against held-back targets, which only sample data has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.base import files
from pipeline.base.errors import DataError
from pipeline.base.progress import say
from pipeline.base.text import TEXT
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.ranked_labels import label_reader
from pipeline.competition.tables.reading import read_table
from pipeline.config.records import SOLUTION, Provenance, RawSource
from pipeline.kaggle.submission import check_submission


def score_submission(store: FeatureStore, submission: Path) -> float:
    """Return the competition's metric of a submission file, whoever made it. Raises DataError if there is no solution.

    A message says if the file is not the one that its provenance names.
    """
    spec, path = store.spec, store.workspace.solution
    if not path.exists():
        raise DataError(
            "there are no held-back targets to score against",
            where=str(path),
            hint="Only sample data has them; Kaggle scores real submissions.",
        )
    recorded = RawSource.read(store.workspace.source).files.get(SOLUTION)
    if recorded is not None and recorded.fault_of(path):
        hint = f"Delete the folder {store.workspace.raw}; the next command makes both again."
        raise DataError("was changed after it was made", where=str(path), hint=hint)
    if spec.metric_file is not None:
        raise DataError("scores rows of the train table only, not a submission", where=spec.metric)
    frame, solution = (read_table(file, as_text=spec.text_columns) for file in (submission, path))
    check_submission(spec, store.classes, store.sample_submission, frame)
    provenance = Provenance.read_or_none(submission.with_suffix(".json"), otherwise="the file is scored as it is")
    if provenance is not None and not files.is_unchanged(submission, provenance.sha256):
        say(f"score: {submission} was changed after it was made")
    truth = solution.set_index(solution[spec.id].astype(TEXT)).reindex(frame[spec.sample_id].astype(TEXT).to_numpy())
    columns = spec.prediction_columns
    if spec.task == "regression":
        is_flat = len(columns) == 1  # arrays of one target are flat everywhere
        wanted, given = (truth[spec.target[0]], frame[columns[0]]) if is_flat else (truth[spec.target], frame[columns])
        return spec.scorer(wanted.to_numpy(), given.to_numpy())
    code = {str(label): position for position, label in enumerate(store.classes)}
    if len(spec.target) > 1:
        wanted = truth[spec.target].apply(lambda column: column.astype(TEXT).map(code))
        given = (
            frame[columns].apply(lambda column: column.astype(TEXT).map(code))
            if spec.writes == "label"
            else frame[columns]
        )
        return spec.scorer(wanted.to_numpy(dtype=np.float64), given.to_numpy(dtype=np.float64))
    y_true = truth[spec.target[0]].astype(TEXT).map(code).to_numpy(dtype=np.float64)
    if spec.writes == "label":
        predicted = frame[columns[0]].astype(TEXT).map(code).to_numpy()
        return spec.scorer(y_true, np.eye(len(code))[predicted])
    if spec.writes == "labels":
        read = label_reader(store.classes)
        ranked = [read(cell) or [] for cell in frame[columns[0]]]
        likelihood = np.zeros((len(ranked), len(code)))  # any numbers in the order of the labels
        for row, labels in enumerate(ranked):
            likelihood[row, [code[label] for label in labels]] = 1.0 / np.arange(1, len(labels) + 1)
        return spec.scorer(y_true, likelihood)
    if len(columns) == 1:
        positive = frame[columns[0]].to_numpy(dtype=np.float64)
        return spec.scorer(y_true, np.column_stack([1.0 - positive, positive]))
    order = [columns[spec.submission.classes.index(str(label))] for label in store.classes]
    return spec.scorer(y_true, frame[order].to_numpy(dtype=np.float64))
