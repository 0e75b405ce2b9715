"""A Kaggle competition pipeline: from a competition's name to a scored submission."""

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.base.version import VERSION as __version__

if TYPE_CHECKING:
    from pipeline.api.competition import Competition, Run, Submission
    from pipeline.api.estimators import TabularClassifier, TabularRegressor

__all__ = ["Competition", "Run", "Submission", "TabularClassifier", "TabularRegressor", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use, so that the command line starts quickly."""
    if name in __all__:
        module = "estimators" if name.startswith("Tabular") else "competition"
        return getattr(importlib.import_module(f"pipeline.api.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
