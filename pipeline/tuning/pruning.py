"""Pruning by successive halving without killed trials, and by a signed-rank test on fold scores.

Knows Optuna's studies; knows nothing of what trains.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial
from scipy.stats import wilcoxon

from pipeline.base.arrays import FloatArray
from pipeline.tuning.ownership import without_killed

CHECKPOINTS = "checkpoints"  # user attribute of trials: epoch -> fold scores
LEAST_FOLDS = 4  # with fewer, even a trial that loses every fold has a large p
LARGEST_P = 0.1  # default of Optuna's WilcoxonPruner; losing all of 5 folds gives p = 1/32, all of 4 gives 1/16


class HalvingPruner(optuna.pruners.SuccessiveHalvingPruner):
    """Successive halving in which a killed trial does not compete, since the one that repeats it does."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Decide by the trial's last value."""
        return super().prune(without_killed(study), trial)


class WilcoxonFoldPruner(optuna.pruners.BasePruner):
    """Prune a trial whose fold scores are worse than the best trial's at the same epoch.

    One-sided Wilcoxon signed-rank test of the paired folds. Optuna's WilcoxonPruner takes steps for folds; here all
    folds advance together, and each is compared with the same fold at the same epoch.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Decide by the fold scores at the trial's last step; False until a trial is complete."""
        try:
            best = study.best_trial
        except ValueError:
            return False
        is_maximised = study.direction == StudyDirection.MAXIMIZE
        own, best_then = _fold_scores(trial, trial.last_step), _fold_scores(best, trial.last_step)
        if own is None or best_then is None or len(own) != len(best_then) or len(own) < LEAST_FOLDS:
            return False
        losses = best_then - own if is_maximised else own - best_then  # > 0 where the trial is worse
        if not np.isfinite(losses).all() or losses.mean() <= 0:
            return False
        method: Literal["exact", "auto"] = "exact" if (losses != 0).all() and len(losses) <= 50 else "auto"
        p = wilcoxon(losses, alternative="greater", zero_method="zsplit", method=method).pvalue
        return bool(p < LARGEST_P)


def note_fold_scores(trial: Trial, epoch: int, fold_scores: list[float]) -> None:
    """Store an epoch's fold scores with the trial, for comparison with later trials."""
    known = dict(trial.user_attrs.get(CHECKPOINTS, {}))
    trial.set_user_attr(CHECKPOINTS, known | {str(epoch): fold_scores})


def _fold_scores(trial: FrozenTrial, epoch: int | None) -> FloatArray | None:
    scores = trial.user_attrs.get(CHECKPOINTS, {}).get(str(epoch))
    return None if scores is None else np.array(scores, dtype=np.float64)
