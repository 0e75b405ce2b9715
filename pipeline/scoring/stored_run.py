"""A finished run's models, read from its folder.

Knows feature stores and the folders of runs; must not know which rows are predicted.
"""

from __future__ import annotations

from pipeline.base.errors import ArtifactError
from pipeline.competition.run_files import check_models, how_to_repeat
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, part_folder
from pipeline.config.run import GIVEN
from pipeline.config.run_report import RunReport
from pipeline.models.registry import entry_of
from pipeline.scoring.fitted_run import FittedPart, FittedRun


def load_run(store: FeatureStore, run: RunFolder, *, is_of_folds: bool = False) -> FittedRun:
    """Load the run's models: those refitted on all rows, or the fold models of the run or of its ensemble's runs.

    `is_of_folds`: the fold models even if there is a refitted one. Raises ArtifactError.
    """
    report = RunReport.read(run.report)
    if reason := store.outdated(report):
        hint = how_to_repeat(report, run.report)
        raise ArtifactError(f"{reason} after the run was trained", where=run.name, hint=hint)
    if report.config.model == GIVEN:
        raise ArtifactError(
            "its predictions were made elsewhere; new rows cannot be predicted by it",
            where=run.name,
            hint="Without its [[members]] in the spec, the next race makes an ensemble that can.",
        )
    weighted = report.config.weighted_parts
    is_refitted = not is_of_folds and bool(report.files.final)
    check_models(run, report, is_refitted=is_refitted)
    parts: list[FittedPart | FittedRun]
    if report.ensemble is not None and not is_refitted:
        runs = [store.workspace.finished_run(member.run) for member in report.ensemble.members]
        parts = [load_run(store, one, is_of_folds=True) for one in runs]
    else:
        folder = run.final_model if is_refitted else run.model
        n_splits = 1 if is_refitted else store.manifest.n_folds
        parts = []
        for number, (_, part) in enumerate(weighted):
            fitted = entry_of(part.model).load(part_folder(folder, number, len(weighted)))
            parts.append(FittedPart(part, fitted, n_splits))
    weights = [weight for weight, _ in weighted]
    return FittedRun(parts, weights, store.spec.metric, report.rule, report.adjustment)
