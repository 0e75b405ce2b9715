"""How good a configuration is, and how far to trust it: cross-validation, ensembles, calibration, data checks."""
