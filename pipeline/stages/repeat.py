"""Stage `repeat`: a finished run's configuration on other cuts of the folds -> `runs/<run>/repeats.json`."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np

from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.competition.folds import splits_of
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.records import Repeat, Repeats
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.models.base import FitContext
from pipeline.scoring.cross_validation import cross_validate


def repeat_run(
    store: FeatureStore, config: RunConfig, run: RunFolder, context: FitContext, *, n_repeats: int
) -> Repeats:
    """Score the configuration on `n_repeats` other cuts, with other seeds, those of earlier calls included.

    The competition's own folds stay as they are; nothing but scores is kept. What an interrupted call finished is not
    trained again. Raises SpecError where the folds leave no choice.
    """
    cuts = store.other_folds(n_repeats)
    if not cuts:
        raise SpecError(
            f"there is no other cut of folds of the kind {store.spec.folds.kind!r}",
            where="--repeats",
            hint="Only folds that are drawn by a seed can be drawn again.",
        )
    report = RunReport.read(run.report)
    path, checkpoints = run.path / "repeats.json", run.path / "repeat_checkpoints"
    known = Repeats.read_or_none(path, otherwise="the repeats are made again")
    repeats = [] if known is None or known.fingerprint != report.fingerprint else list(known.repeats)
    for number in range(len(repeats), n_repeats):
        folder = checkpoints / str(number)
        found = cross_validate(
            config,
            store.problem,
            splits_of(cuts[number], is_chained=False),
            replace(context, checkpoints=folder),
            title=f"repeat {number + 1} of {n_repeats}",
            seed_offset=1 + number,
        )
        cv_score, fold_scores = found.scores()
        fold_seed = store.spec.folds.seed + 1 + number
        repeats.append(Repeat(fold_seed=fold_seed, cv_score=cv_score, fold_scores=fold_scores))
        _summary(report, repeats).write(path)
        shutil.rmtree(folder, ignore_errors=True)
        say(f"repeat {number + 1} of {n_repeats}: cv {store.spec.metric} {cv_score:.5f}")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return _summary(report, repeats[:n_repeats])


def _summary(report: RunReport, repeats: list[Repeat]) -> Repeats:
    """Mean and standard deviation over the run's own cut and the others."""
    scores = [report.cv_score, *(one.cv_score for one in repeats)]
    return Repeats(
        fingerprint=report.fingerprint,
        own=report.cv_score,
        mean=float(np.mean(scores)),
        sd=float(np.std(scores, ddof=1)),
        repeats=repeats,
    )
