"""Optuna study <-> packs: ask for a batch of trials, train trials x folds together, prune, tell."""

from pipeline.tuning.study import (
    KILLED,
    REASON,
    best_trials,
    default_values,
    finished_trials,
    open_study,
    suggest,
    values_of,
    with_values,
)
from pipeline.tuning.tuner import Tuner, oof_prediction, score_on

__all__ = [
    "KILLED",
    "REASON",
    "Tuner",
    "best_trials",
    "default_values",
    "finished_trials",
    "oof_prediction",
    "open_study",
    "score_on",
    "suggest",
    "values_of",
    "with_values",
]
