"""Optuna study <-> packs: ask for a batch of trials, train trials x folds together, prune, tell."""

from pipeline.tuning.confirmation import Confirmed, confirm
from pipeline.tuning.ownership import KILLED, OWNER, Ownership
from pipeline.tuning.study import (
    REASON,
    best_trials,
    default_values,
    differences,
    finished_trials,
    open_study,
    suggest,
    values_of,
    with_values,
)
from pipeline.tuning.tuner import Tuner, oof_of, oof_prediction, score_on

__all__ = [
    "KILLED",
    "OWNER",
    "REASON",
    "Confirmed",
    "Ownership",
    "Tuner",
    "best_trials",
    "confirm",
    "default_values",
    "differences",
    "finished_trials",
    "oof_of",
    "oof_prediction",
    "open_study",
    "score_on",
    "suggest",
    "values_of",
    "with_values",
]
