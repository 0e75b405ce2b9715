"""An ensemble of finished runs as a run of its own: their predictions averaged, a configuration of parts, a report.

Knows runs' files and how ensembles are chosen; knows nothing of plans, or of how the members came to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import Part, RunConfig
from pipeline.scoring.cross_validation import oof_frame, prediction_frame, predictions_of, scores_of
from pipeline.scoring.ensembling import SMALLEST_WEIGHT, Choice, blend, choose_ensemble

BEST = "best"  # preset name of the ensemble
ENSEMBLE = "ensemble"  # stands where other runs name their model


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that may be part of the ensemble."""

    label: str
    kind: str  # equal for those that differ in their seeds alone
    config: RunConfig
    run: RunFolder
    report: dict[str, Any]
    oof: FloatArray
    test: FloatArray
    elapsed_s: float


@dataclass(frozen=True)
class EnsembleRun:
    """What `write_ensemble` wrote."""

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
    """The finished run of `config`; `elapsed_s` where more is known of it than the run's own report says."""
    is_classification = store.spec.task != "regression"
    report = files.read_json(run.report)
    oof = predictions_of(files.read_parquet(run.oof), is_classification=is_classification)
    test = predictions_of(files.read_parquet(run.test), is_classification=is_classification)
    return FinishedRun(
        label, kind, config, run, report, oof, test, report["elapsed_s"] if elapsed_s is None else elapsed_s
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
    notes: dict[str, Any],
) -> EnsembleRun:
    """Choose the weights anew and write the run; `notes` go into its report."""
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
    report = store.record_of(run, config, cv_score, fold_scores, chosen[0].report["device"]) | {
        "nested_score": choice.selection.nested_score,
        "method": choice.method,
        "nested_scores": choice.nested_scores,
        "members": [_line(member, weights[member.run.name]) for member in chosen],
        "without_weight": [_line(one, 0.0) for one in members if one.run.name not in weights],
        "prune": smallest_weight,
        "without_prune": {
            "members": len(unpruned.selection.weights),
            "nested_score": unpruned.selection.nested_score,
        },
        "n_epochs": [member.report["n_epochs"] for member in chosen],
        "classification": None,
    }
    files.write_json(run.report, report | notes)
    return EnsembleRun(config, choice, cv_score)


def lines_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ensemble's report says of every run it looked at, those without weight last."""
    return [*report["members"], *report["without_weight"]]


def _line(member: FinishedRun, weight: float) -> dict[str, Any]:
    return {
        "run": member.run.name,
        "label": member.label,
        "weight": weight,
        "cv_score": member.report["cv_score"],
        "elapsed_s": round(member.elapsed_s, 2),
    }


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
