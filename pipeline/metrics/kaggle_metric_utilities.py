"""What metric notebooks import from Kaggle's module of this name, for metrics of one's own.

Knows tables as a metric notebook sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd


class ParticipantVisibleError(Exception):
    """A submission is wrong, and the participant is told why."""


class HostVisibleError(Exception):
    """A metric is wrong, and only its host is told why."""


def verify_valid_probabilities(frame: pd.DataFrame, name: str) -> None:
    """Raise ParticipantVisibleError unless all values are numbers from 0 to 1."""
    if not all(pd.api.types.is_numeric_dtype(column) for _, column in frame.items()):
        raise ParticipantVisibleError(f"All values in {name} must be numeric")
    values = frame.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise ParticipantVisibleError(f"The values in {name} contain NaN or infinity")
    if (values < 0).any() or (values > 1).any():
        raise ParticipantVisibleError(f"All values in {name} must be at least zero and at most one")


def safe_call_score(function: Callable[..., Any], solution: Any, submission: Any, **settings: Any) -> Any:
    """Call a scoring function; raise its error as a ParticipantVisibleError."""
    try:
        return function(solution, submission, **settings)
    except Exception as error:
        raise ParticipantVisibleError(f"{getattr(function, '__name__', 'score')} failed: {error}") from error
