"""Stage `compare`: the paired differences of two runs on the same folds."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from pipeline.base.errors import ArtifactError
from pipeline.competition import dependencies
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.config.spec import load_spec
from pipeline.metrics import METRICS, Metric, score_text
from pipeline.scoring.fold_noise import fold_noise

CONFIDENCE = 0.95


def _own_metric(workspace: Workspace) -> Metric:
    return FeatureStore(workspace, load_spec(workspace.spec)).spec.scorer


def compare_runs(workspace: Workspace, first: str, second: str) -> list[str]:
    """Return a line for each fold, the mean difference with its interval, and a verdict.

    The interval allows for overlapping training sets (`fold_noise`). Raises ArtifactError if a run is missing or the
    runs have different folds or metrics. A line before the folds names other inputs that differ.
    """
    one, other = (RunReport.read(workspace.finished_run(name).report) for name in (first, second))
    if one.metric != other.metric:
        raise ArtifactError(
            f"the two runs were scored by {one.metric} and {other.metric}",
            where=f"{first}, {second}",
            hint="Train the older one again.",
        )
    if one.folds_sha256 != other.folds_sha256:
        raise ArtifactError(
            "the two runs have different folds", where=f"{first}, {second}", hint="Train the older one again."
        )
    a, b = np.array(one.fold_scores), np.array(other.fold_scores)
    metric = METRICS[one.metric] if one.metric in METRICS else _own_metric(workspace)
    gains = metric.gain(b, a)
    is_pair = np.isfinite(gains)
    n_pairs = int(is_pair.sum())
    if n_pairs < 2:
        raise ArtifactError(
            f"a comparison needs two folds with scores of both runs, there is {n_pairs}",
            where=first,
            hint="Use two folds or more, each with rows of every class.",
        )
    mean = float(gains[is_pair].mean())
    width = float(student.ppf(0.5 + CONFIDENCE / 2, n_pairs - 1)) * fold_noise(a[is_pair], b[is_pair])
    changed = dependencies.differing(one.made_of, other.made_of)
    lines = [f"note: the runs differ in more than the configuration: {', '.join(changed)}"] if changed else []
    lines += [
        f"fold {fold}: {score_text(x)}  {score_text(y)}  {'-' if np.isnan(gain) else f'{gain:+.5f}'}"
        for fold, (x, y, gain) in enumerate(zip(a, b, gains, strict=True))
    ]
    lines.append(f"cv {one.metric}: {score_text(one.cv_score)}  {score_text(other.cv_score)}")
    lines.append(
        f"{second} is better by {mean:+.5f} per fold, "
        f"{CONFIDENCE:.0%} interval {mean - width:+.5f} to {mean + width:+.5f}"
    )
    is_certain = abs(mean) > width
    lines.append(
        f"{second if mean > 0 else first} is better"
        if is_certain
        else "the difference is within the noise of the folds"
    )
    return lines
