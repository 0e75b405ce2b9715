"""A Kaggle competition pipeline: from a competition's name to a scored submission."""

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.base.version import VERSION as __version__

if TYPE_CHECKING:
    from pipeline.api import Competition, Run, Submission, TabularClassifier, TabularRegressor

__all__ = ["Competition", "Run", "Submission", "TabularClassifier", "TabularRegressor", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the Python API when it is asked for: the command line shows its help without it."""
    if name in __all__:
        return getattr(importlib.import_module("pipeline.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
