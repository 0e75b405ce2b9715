"""Optuna study <-> fits: ask for a batch of trials, train trials x folds together, prune, tell."""

from pipeline.tuning.confirmation import Confirmed, confirm
from pipeline.tuning.ownership import KILLED, OWNER, Ownership
from pipeline.tuning.session import Tuning, open_tuning
from pipeline.tuning.study import (
    REASON,
    best_trials,
    default_values,
    differences,
    finished_trials,
    open_study,
    quiet_optuna,
    suggest,
    values_of,
    with_values,
)
from pipeline.tuning.timed import tune_within
from pipeline.tuning.tuner import Tuner

__all__ = [
    "KILLED",
    "OWNER",
    "REASON",
    "Confirmed",
    "Ownership",
    "Tuner",
    "Tuning",
    "best_trials",
    "confirm",
    "default_values",
    "differences",
    "finished_trials",
    "open_study",
    "open_tuning",
    "quiet_optuna",
    "suggest",
    "tune_within",
    "values_of",
    "with_values",
]
