"""What was sent to Kaggle, as far as it is still here: the runs and the predictions behind the ledger's entries.

Knows workspace, spec and entries; must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.base.text import TEXT
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.ranked_labels import label_reader
from pipeline.competition.tables.reading import read_table
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.kaggle.ledger import Entry

MOST_ROWS = 20_000  # of which predictions are compared


def report_of(workspace: Workspace, entry: Entry) -> RunReport | None:
    """Return the report of the run that was submitted; None if the run is no longer that one, or was not made here."""
    if not entry.run:
        return None
    report = RunReport.read_or_none(workspace.run(entry.run).report, otherwise="the run is skipped", may_be_newer=True)
    return None if report is None or report.cv_score != entry.cv_score else report


def prediction_of(store: FeatureStore, entry: Entry) -> FloatArray | None:
    """(values,) what was submitted for some test rows, for correlations; None if the file is not here as it was sent.

    A file of a submission by hand is taken by its name.
    """
    path = store.workspace.submissions / entry.file
    if not entry.file or not path.is_file() or (entry.sha256 and not entry.has_content(files.sha256_of(path))):
        return None
    spec, ids = store.spec, store.sample_submission.iloc[:, 0].astype(TEXT)
    try:
        frame = read_table(path, as_text=spec.text_columns)
    except DataError:
        return None
    if len(frame) != len(ids) or not set(spec.prediction_columns) <= set(frame.columns):
        return None
    id_column = spec.sample_id if spec.sample_id in frame.columns else str(frame.columns[0])
    order = pd.Index(frame[id_column].astype(TEXT)).get_indexer(pd.Index(ids))
    if (order < 0).any():
        return None
    rows = order[:: -(-len(order) // MOST_ROWS)]
    columns = [_numbers(store, frame[name].iloc[rows]) for name in spec.prediction_columns]
    values = np.concatenate([column - column.mean(axis=0) for column in columns], axis=None)
    return values if np.isfinite(values).all() else None


def _numbers(store: FeatureStore, column: pd.Series) -> FloatArray:
    """Predictions on the metric's scale; labels, or the first of ranked ones, as a column per class."""
    spec = store.spec
    if spec.writes in ("label", "labels"):
        labels = column.astype(TEXT)
        if spec.writes == "labels":
            read = label_reader(store.classes)
            labels = labels.map(lambda cell: str((read(cell) or [""])[0]))
        return np.stack([(labels == str(label)).to_numpy(dtype=np.float64) for label in store.classes], axis=1)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if spec.scorer.scale == "none":
        return numbers
    least = 0.0 if spec.scorer.scale == "log1p" else spec.scorer.min_prediction or 1e-12
    scaled: FloatArray = (np.log1p if spec.scorer.scale == "log1p" else np.log)(np.maximum(numbers, least))
    return scaled


def correlations(predictions: Sequence[FloatArray | None]) -> FloatArray:
    """(submissions, submissions), NaN where a file is missing or constant."""
    known = {i: values for i, values in enumerate(predictions) if values is not None and values.std() > 0}
    found = np.full((len(predictions), len(predictions)), np.nan)
    if len(known) > 1:
        found[np.ix_([*known], [*known])] = np.corrcoef(np.stack([*known.values()]))
    return found
