"""An ensemble of finished runs as a run of its own: averaged predictions, a configuration of parts, a report.

Knows the files of runs and how ensembles are chosen; must not know plans or how the members were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.competition.run_files import PREDICTIONS, read_predictions
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import GIVEN, RunConfig
from pipeline.config.run_report import EnsemblePlan, EnsembleReport, MemberReport, RunReport, WithoutPrune
from pipeline.scoring.adjustment import apply_adjustment
from pipeline.scoring.blending import combine
from pipeline.scoring.cross_validation import oof_frame, prediction_frame, predictions_of, scores_of
from pipeline.scoring.data_check import known_trust
from pipeline.scoring.ensembling import SMALLEST_WEIGHT, Choice, Selection, choose_ensemble

BEST = "best"  # preset name of the ensemble
ENSEMBLE = "ensemble"  # in place of a model name


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, a candidate member of the ensemble."""

    label: str
    kind: str  # equal for runs that differ in their seeds only
    report: RunReport
    oof: FloatArray
    test: FloatArray
    elapsed_s: float

    @property
    def name(self) -> str:
        """The run's name."""
        return self.report.run


def finished_run(
    store: FeatureStore, run: RunFolder, *, label: str, kind: str, elapsed_s: float | None = None
) -> FinishedRun:
    """Read a finished run; `elapsed_s` replaces the time in its report."""
    is_classification = store.spec.task != "regression"
    report = RunReport.read(run.report)
    oof, test = (
        predictions_of(read_predictions(run, report, key), is_classification=is_classification) for key in PREDICTIONS
    )
    return FinishedRun(label, kind, report, oof, test, report.elapsed_s if elapsed_s is None else elapsed_s)


def ensemble_folder(store: FeatureStore) -> RunFolder:
    """The folder of the ensemble on these features."""
    return store.workspace.run(f"{BEST}-{ENSEMBLE}-{store.data_fingerprint()[:8]}")


def write_ensemble(
    store: FeatureStore, run: RunFolder, members: Sequence[FinishedRun], *, smallest_weight: float, **of_the_race: Any
) -> RunReport:
    """Choose the weights and write the run; `of_the_race` are the keys of `EnsembleReport` that are passed on."""
    metric, target, folds = store.metric, store.target, store.fold_of_row
    oofs = {member.name: member.oof for member in members}
    kinds = {member.name: member.label if member.kind == GIVEN else member.kind for member in members}
    models = {member.name: member.report.config.model for member in members}
    choice = choose_ensemble(oofs, target, folds, metric, smallest=smallest_weight, kinds=kinds, groups=models)
    unpruned = choice
    if smallest_weight != SMALLEST_WEIGHT:
        unpruned = choose_ensemble(oofs, target, folds, metric, kinds=kinds)
    ensemble = _ensemble_report(members, choice, unpruned.selection, prune=smallest_weight, **of_the_race)
    by_name = {member.name: member for member in members}
    return _write(store, run, [by_name[one.run] for one in ensemble.members], ensemble)


def plan_of(store: FeatureStore) -> EnsemblePlan:
    """Return the plan of the finished ensemble on these features. Raises SpecError if there is none, ArtifactError."""
    run = ensemble_folder(store)
    if not run.report.exists():
        what = "preset best has no ensemble for these features yet"
        hint = (
            f"Run `make submit PRESET=best UPLOAD=0 COMPETITION={store.workspace.competition}` first: it chooses one."
        )
        raise SpecError(what, where=str(run.path), hint=hint)
    report = RunReport.read(run.report)
    assert report.ensemble is not None, "the folder is that of an ensemble"
    members = [RunReport.read(store.workspace.run(one.run).report).config for one in report.ensemble.members]
    for one, config in zip(report.ensemble.members, members, strict=True):
        if config.model == GIVEN:
            what = f"the predictions of {one.label!r} were made elsewhere and cannot be made again there"
            hint = "Take its [[members]] out of the spec and run `make submit PRESET=best UPLOAD=0` once more."
            raise SpecError(what, where=str(run.path), hint=hint)
    return EnsemblePlan(run=run.name, config=report.config, ensemble=report.ensemble, members=members)


def write_planned(store: FeatureStore, plan: EnsemblePlan, members: Sequence[FinishedRun]) -> RunFolder:
    """Write the ensemble of a plan whose members, in its order, have been trained on these features."""
    run = store.workspace.run(plan.run)
    _write(store, run, members, plan.ensemble)
    return run


def _write(store: FeatureStore, run: RunFolder, chosen: Sequence[FinishedRun], ensemble: EnsembleReport) -> RunReport:
    """Average the members by the weights in `ensemble`, which lists them in the same order, and write the run."""
    metric, target, folds = store.metric, store.target, store.fold_of_row
    weights = [one.weight for one in ensemble.members]
    oof_prediction, test_prediction = (
        apply_adjustment(ensemble.adjustment, combine(predictions, weights, metric, ensemble.rule))
        for predictions in ([one.oof for one in chosen], [one.test for one in chosen])
    )
    oof = oof_frame(store.train_rows["id"], folds, target, oof_prediction)
    test = prediction_frame(store.test_rows["id"], test_prediction)
    cv_score, fold_scores = scores_of(oof, metric)
    run.report.unlink(missing_ok=True)
    files.write_parquet(run.oof, oof)
    files.write_parquet(run.test, test)
    report = store.report_of(
        run,
        RunConfig(
            preset=BEST,
            description=f"an ensemble of {len(chosen)} runs",
            model=ENSEMBLE,
            final="average",
            final_reason="the members' fold models are averaged",
            parts=[one.report.config.as_part(weight) for one, weight in zip(chosen, weights, strict=True)],
        ),
        cv_score=cv_score,
        fold_scores=fold_scores,
        elapsed_s=ensemble.spent_s,
        device=chosen[0].report.device,
        parts=[part for member in chosen for part in member.report.parts],
        last_epoch_by_fold=[],
        classification=None,
        trust=known_trust(store),
        ensemble=ensemble,
    )
    report.write(run.report)
    return report


def _ensemble_report(
    members: Sequence[FinishedRun], choice: Choice, unpruned: Selection, **others: Any
) -> EnsembleReport:
    weights = choice.selection.weights
    by_name = {
        member.name: MemberReport(
            run=member.name,
            label=member.label,
            weight=weights.get(member.name, 0.0),
            cv_score=member.report.cv_score,
            elapsed_s=round(member.elapsed_s, 2),
        )
        for member in members
    }
    return EnsembleReport(
        nested_score=choice.selection.nested_score,
        method=choice.method,
        nested_scores=choice.nested_scores,
        corrected_score=choice.corrected_score,
        shares=None if choice.shares == weights else choice.shares,
        lost_without=choice.lost_without,
        rule=choice.selection.rule,
        adjustment=choice.selection.adjustment,
        members=[by_name[name] for name in weights],
        without_weight=[one for name, one in by_name.items() if name not in weights],
        without_prune=WithoutPrune(members=len(unpruned.weights), nested_score=unpruned.nested_score),
        **others,
    )
