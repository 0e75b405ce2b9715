"""The Python API: a competition as one object with a method per stage, and scikit-learn estimators."""

from pipeline.api.competition import Competition, Run, Submission
from pipeline.api.estimators import TabularClassifier, TabularRegressor

__all__ = ["Competition", "Run", "Submission", "TabularClassifier", "TabularRegressor"]
