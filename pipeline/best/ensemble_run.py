"""An ensemble of finished runs as a run of its own: averaged predictions, a configuration of parts, a report.

Knows the files of runs and how ensembles are chosen; must not know plans or how the members were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import Part, RunConfig
from pipeline.config.run_report import EnsembleReport, GivenUp, MemberReport, RunReport, WithoutPrune
from pipeline.scoring.cross_validation import oof_frame, prediction_frame, predictions_of, scores_of
from pipeline.scoring.data_check import known_trust
from pipeline.scoring.ensembling import SMALLEST_WEIGHT, Choice, blend, choose_ensemble

BEST = "best"  # preset name of the ensemble
ENSEMBLE = "ensemble"  # in place of a model name


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, a candidate member of the ensemble."""

    label: str
    kind: str  # equal for runs that differ in their seeds only
    config: RunConfig
    run: RunFolder
    report: RunReport
    oof: FloatArray
    test: FloatArray
    elapsed_s: float


@dataclass(frozen=True)
class EnsembleRun:
    """The ensemble that `write_ensemble` wrote."""

    config: RunConfig
    choice: Choice
    cv_score: float

    @property
    def weights(self) -> dict[str, float]:
        """Run -> weight, heaviest first."""
        return self.choice.selection.weights


def finished_run(
    store: FeatureStore, run: RunFolder, config: RunConfig, *, label: str, kind: str, elapsed_s: float | None = None
) -> FinishedRun:
    """Read the finished run of `config`; `elapsed_s` replaces the time in its report."""
    is_classification = store.spec.task != "regression"
    report = RunReport.read(run.report)
    oof = predictions_of(files.read_parquet(run.oof), is_classification=is_classification)
    test = predictions_of(files.read_parquet(run.test), is_classification=is_classification)
    return FinishedRun(
        label, kind, config, run, report, oof, test, report.elapsed_s if elapsed_s is None else elapsed_s
    )


def ensemble_folder(store: FeatureStore) -> RunFolder:
    """The folder of the ensemble on these features."""
    return store.workspace.run(f"{BEST}-{ENSEMBLE}-{files.sha256_of_json(store.manifest.fingerprint)[:8]}")


def write_ensemble(
    store: FeatureStore,
    run: RunFolder,
    members: Sequence[FinishedRun],
    *,
    smallest_weight: float,
    given_up: Sequence[GivenUp],
    tuned: dict[str, RunConfig],
    minutes: float,
    spent_s: float,
) -> EnsembleRun:
    """Choose the weights and write the run."""
    metric, target, folds = store.spec.scorer, store.target, store.fold_of_row
    by_name = {member.run.name: member for member in members}
    oofs = {name: member.oof for name, member in by_name.items()}
    choice = choose_ensemble(oofs, target, folds, metric, smallest=smallest_weight)
    unpruned = choice
    if smallest_weight != SMALLEST_WEIGHT:
        unpruned = choose_ensemble(oofs, target, folds, metric)
    weights = choice.selection.weights
    chosen = [by_name[name] for name in weights]
    config = RunConfig(
        preset=BEST,
        description=f"an ensemble of {len(chosen)} runs",
        model=ENSEMBLE,
        final="average",
        final_reason="the members' fold models are averaged",
        parts=[_part(member.config, weights[member.run.name]) for member in chosen],
    )
    shares = list(weights.values())
    oof = oof_frame(store.train_rows["id"], folds, target, blend([one.oof for one in chosen], shares, metric))
    test = blend([one.test for one in chosen], shares, metric)
    cv_score, fold_scores = scores_of(oof, metric)
    run.report.unlink(missing_ok=True)
    files.write_parquet(run.oof, oof)
    files.write_parquet(run.test, prediction_frame(store.test_rows["id"], test))
    ensemble = EnsembleReport(
        nested_score=choice.selection.nested_score,
        method=choice.method,
        nested_scores=choice.nested_scores,
        members=[_line(member, weights[member.run.name]) for member in chosen],
        without_weight=[_line(one, 0.0) for one in members if one.run.name not in weights],
        prune=smallest_weight,
        without_prune=WithoutPrune(
            members=len(unpruned.selection.weights), nested_score=unpruned.selection.nested_score
        ),
        given_up=list(given_up),
        tuned=tuned,
        minutes=minutes,
        spent_s=spent_s,
    )
    report = store.report_of(
        run,
        config,
        cv_score=cv_score,
        fold_scores=fold_scores,
        elapsed_s=spent_s,
        device=chosen[0].report.device,
        parts=[part for member in chosen for part in member.report.parts],
        last_epoch_by_fold=[],
        classification=None,
        trust=known_trust(store),
        ensemble=ensemble,
    )
    report.write(run.report)
    return EnsembleRun(config, choice, cv_score)


def _line(member: FinishedRun, weight: float) -> MemberReport:
    return MemberReport(
        run=member.run.name,
        label=member.label,
        weight=weight,
        cv_score=member.report.cv_score,
        elapsed_s=round(member.elapsed_s, 2),
    )


def _part(config: RunConfig, weight: float) -> Part:
    return Part(
        weight=weight,
        model=config.model,
        params=config.params,
        features=config.features,
        scope=config.scope,
        target_transform=config.target_transform,
        seeds=config.seeds,
        seed=config.seed,
    )
