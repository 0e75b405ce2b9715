"""A study as a table of trials, and the importances of its parameters. Knows studies; must not know how trials ran."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pandas as pd
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from pipeline.base.arrays import FloatArray
from pipeline.config.search_space import SpaceEntry
from pipeline.tuning.study import REASON, finished_trials, values_of

LEAST_TRIALS = 10  # complete trials needed for importances


def trial_table(study: optuna.Study, space: dict[str, SpaceEntry]) -> pd.DataFrame:
    """Return one row per finished trial: state, score, fold spread, seconds, reason, parameters."""
    rows = []
    for trial in finished_trials(study):
        scores: FloatArray = np.array(trial.user_attrs.get("fold_scores", [np.nan]), dtype=np.float64)
        duration = trial.duration
        rows.append(
            {
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "cv_score": trial.value if trial.state.name == "COMPLETE" else np.nan,
                "fold_sd": float(scores.std()),
                "elapsed_s": duration.total_seconds() if duration else np.nan,
                "reason": trial.user_attrs.get(REASON, ""),
            }
            | {
                name: str(value) if isinstance(value, list) else value
                for name, value in values_of(trial, space).items()
            }
        )
    return pd.DataFrame(rows)


def importances(study: optuna.Study) -> pd.DataFrame:
    """Return the parameters' importances for reaching the best tenth of trials (PED-ANOVA, IJCAI 2023).

    Empty for fewer than `LEAST_TRIALS` complete trials.
    """
    names = ["parameter", "importance"]
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < LEAST_TRIALS:
        return pd.DataFrame(columns=names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few trials in a branch: rough is good enough
            found = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # all trials are equal
        return pd.DataFrame(columns=names)
    return pd.DataFrame([(name, value) for name, value in found.items() if np.isfinite(value)], columns=names)
