"""What becomes of a classifier's probabilities after training: are they true, can they be mended, where to decide.

Knows arrays and metrics; knows nothing of models, files or stages.
"""

from pipeline.probabilities.adjustment import Adjusted, Adjustment, adjust, adjusted_as_reported
from pipeline.probabilities.calibration import (
    Calibrator,
    expected_calibration_error,
    fit_calibrator,
    reliability_table,
)
from pipeline.probabilities.cross_fitting import cross_fitted, parts_of
from pipeline.probabilities.thresholds import best_threshold, moved_to_half

__all__ = [
    "Adjusted",
    "Adjustment",
    "Calibrator",
    "adjust",
    "adjusted_as_reported",
    "best_threshold",
    "cross_fitted",
    "expected_calibration_error",
    "fit_calibrator",
    "moved_to_half",
    "parts_of",
    "reliability_table",
]
