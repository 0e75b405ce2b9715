"""Stage `check`: what in the data would make a score lie, looked for with care."""

from __future__ import annotations

from pipeline.base.progress import progress_bar
from pipeline.competition.store import FeatureStore
from pipeline.config.run_report import Finding
from pipeline.scoring.data_check import trust_in
from pipeline.scoring.leaks import MOST_ROWS


def check_data(store: FeatureStore) -> list[Finding]:
    """Look for rows seen twice, orders that tell the target, columns too good, and a test table unlike train."""
    with progress_bar("check") as update:
        return trust_in(store, n_rows=MOST_ROWS, n_columns=store.train.shape[1], on_progress=update).findings
