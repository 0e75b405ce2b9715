"""Stage `check`: a thorough search of the data for what makes scores unreliable."""

from __future__ import annotations

from pipeline.base.progress import progress_bar
from pipeline.competition.store import FeatureStore
from pipeline.config.run_report import Finding
from pipeline.scoring.data_check import trust_in
from pipeline.scoring.leaks import MOST_ROWS


def check_data(store: FeatureStore) -> list[Finding]:
    """Look for repeated rows, row orders and columns that give the target away, and a test set unlike the train set."""
    with progress_bar("check") as update:
        return trust_in(store, n_rows=MOST_ROWS, n_columns=store.train.shape[1], on_progress=update).findings
