"""Stage `repeat`: a finished run's configuration on other fold assignments -> `runs/<run>/repeats.json`."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np

from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.competition import dependencies
from pipeline.competition.folds import FoldArray, splits_of
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.records import Repeat, Repeats
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.metrics import score_text
from pipeline.models.base import FitContext
from pipeline.scoring.cross_validation import cross_validate


def repeat_run(
    store: FeatureStore, config: RunConfig, run: RunFolder, context: FitContext, *, n_repeats: int
) -> Repeats:
    """Score the configuration on `n_repeats` other fold assignments, with other seeds, earlier calls included.

    Stores scores only; the competition's own folds do not change. Repeats that an interrupted call finished are not
    trained again. Raises SpecError if the folds cannot be drawn again.
    """
    assignments = store.other_folds(n_repeats)
    if not assignments:
        raise SpecError(
            f"folds of the kind {store.spec.folds.kind!r} cannot be drawn again",
            where="--repeats",
            hint="Only folds that depend on a seed can.",
        )
    with run.held():
        return _repeat(store, config, run, context, assignments)


def _repeat(
    store: FeatureStore, config: RunConfig, run: RunFolder, context: FitContext, assignments: list[FoldArray]
) -> Repeats:
    report, n_repeats = RunReport.read(run.report), len(assignments)
    path, checkpoints = run.path / "repeats.json", run.path / "repeat_checkpoints"
    known = Repeats.read_or_none(path, otherwise="the repeats are trained again")
    fingerprint = dependencies.fingerprint(dependencies.of_repeats(report, store.manifest))
    repeats = [] if known is None or known.fingerprint != fingerprint else list(known.repeats)
    for number in range(len(repeats), n_repeats):
        folder = checkpoints / str(number)
        found = cross_validate(
            config,
            store.problem,
            splits_of(assignments[number], is_chained=False),
            replace(context, checkpoints=folder),
            title=f"repeat {number + 1} of {n_repeats}",
            seed_offset=1 + number,
        )
        cv_score, fold_scores = found.scores()
        fold_seed = store.spec.folds.seed + 1 + number
        repeats.append(Repeat(fold_seed=fold_seed, cv_score=cv_score, fold_scores=fold_scores))
        _summary(fingerprint, report, repeats).write(path)
        shutil.rmtree(folder, ignore_errors=True)
        say(f"repeat {number + 1} of {n_repeats}: cv {store.spec.metric} {cv_score:.5f}")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return _summary(fingerprint, report, repeats[:n_repeats])


def describe(found: Repeats) -> str:
    """Return one line: the run's own score, the repeats' scores, their mean and standard deviation."""
    scores = " ".join(score_text(one.cv_score) for one in found.repeats)
    return (
        f"{score_text(found.own)}, on {len(found.repeats)} other fold assignments {scores}; "
        f"mean {score_text(found.mean)} (sd {score_text(found.sd)})"
    )


def _summary(fingerprint: str, report: RunReport, repeats: list[Repeat]) -> Repeats:
    """Return the repeats with mean and standard deviation over the run's own score and theirs."""
    scores = [report.cv_score, *(one.cv_score for one in repeats)]
    return Repeats(
        fingerprint=fingerprint,
        own=report.cv_score,
        mean=float(np.mean(scores)),
        sd=float(np.std(scores, ddof=1)),
        repeats=repeats,
    )
