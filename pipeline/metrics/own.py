"""A metric of one's own, named `file.py:function`: what is known of it before its rows are.

Must not know what lies in the file.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pipeline.metrics.metric import Metric

Reads = Literal["value", "probability", "label"]


def own_metric_parts(name: str) -> tuple[str, str] | None:
    """File and function of a metric named `file.py:function`; None for other names."""
    found = re.fullmatch(r"([^:]+\.py):([A-Za-z_]\w*)", name)
    return (found[1], found[2]) if found else None


def own_metric(
    name: str, *, reads: Reads, greater_is_better: bool = False, min_prediction: float | None = None
) -> Metric:
    """The metric without its rows: everything but its score."""
    return Metric(
        name,
        _without_rows,
        greater_is_better,
        reads,
        min_prediction=min_prediction,
        needs_threshold=reads == "label",
        is_joint=True,
        by_row="rows",
    )


def _without_rows(*_: Any, **__: Any) -> float:
    raise AssertionError("a metric of one's own scores rows of the train table")
