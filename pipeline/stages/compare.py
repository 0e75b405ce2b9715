"""Stage `compare`: two runs on the same folds, by their paired differences."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from pipeline.base.errors import ArtifactError
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.metrics import METRICS
from pipeline.scoring.fold_noise import fold_noise

CONFIDENCE = 0.95


def compare_runs(workspace: Workspace, first: str, second: str) -> list[str]:
    """What the folds say of the difference: a line for each fold, the mean with its interval, a verdict.

    The interval allows for training sets that overlap (`fold_noise`). Raises ArtifactError for runs that are not there
    or were made on other folds.
    """
    one, other = (RunReport.read(workspace.finished_run(name).report) for name in (first, second))
    if one.folds_sha256 != other.folds_sha256:
        raise ArtifactError(
            "the two runs were made on different folds", where=f"{first}, {second}", hint="Train the older one again."
        )
    a, b = np.array(one.fold_scores), np.array(other.fold_scores)
    if len(a) < 2:
        raise ArtifactError("one fold makes no pairs", where=first, hint="Use two folds or more.")
    gains = METRICS[one.metric].gain(b, a)
    mean = float(gains.mean())
    width = float(student.ppf(0.5 + CONFIDENCE / 2, len(a) - 1)) * fold_noise(a, b)
    lines = [f"fold {k}: {x:.5f}  {y:.5f}  {gain:+.5f}" for k, (x, y, gain) in enumerate(zip(a, b, gains, strict=True))]
    lines.append(f"cv {one.metric}: {one.cv_score:.5f}  {other.cv_score:.5f}")
    lines.append(
        f"{second} is better by {mean:+.5f} a fold, "
        f"{CONFIDENCE:.0%} interval {mean - width:+.5f} to {mean + width:+.5f}"
    )
    is_certain = abs(mean) > width
    lines.append(
        f"{second if mean > 0 else first} is better" if is_certain else "these folds do not tell which one is better"
    )
    return lines
