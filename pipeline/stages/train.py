"""Stage `train`: one run configuration over the folds -> `runs/<run>/`: predictions, weights, history, report."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace

import numpy as np
import pandas as pd

from pipeline.base import files
from pipeline.base.locks import hold
from pipeline.base.progress import say
from pipeline.competition.problem import Problem
from pipeline.competition.run_files import fault_in
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, part_folder
from pipeline.config.records import CheckpointMark
from pipeline.config.run import RunConfig
from pipeline.config.run_report import FoldEpoch, PartReport, RunReport
from pipeline.metrics import score_text
from pipeline.models.base import EpochScores, FitContext, FittedModel
from pipeline.nets.devices import describe_device
from pipeline.scoring.cross_validation import check_configuration, cross_validate, prediction_frame, scores_of
from pipeline.scoring.curves import Curves
from pipeline.scoring.data_check import known_trust
from pipeline.scoring.series_baselines import series_baselines

HISTORY_COLUMNS = [field.name for field in fields(EpochScores)]


def train_run(
    store: FeatureStore, config: RunConfig, context: FitContext, *, on_share: Callable[[float], None] | None = None
) -> RunFolder:
    """Cross-validate the configuration unless its run is finished. Raises SpecError, TrainingError.

    When interrupted, or stopped by `context.stop` (raises Stopped), it keeps checkpoints and the next call resumes.
    `on_share` is called with the share of the fits that is done. A run whose fits `context.ends_at` ended early counts
    as finished for calls with such a limit only.
    """
    run = store.run_of(config)
    with run.held() if context.share.number is None else nullcontext():  # processes with shares work at once
        _train(store, config, run, context, on_share)
    return run


def _train(
    store: FeatureStore,
    config: RunConfig,
    run: RunFolder,
    context: FitContext,
    on_share: Callable[[float], None] | None,
) -> None:
    fingerprint = store.fingerprint(config)
    known = RunReport.read_or_none(run.report, otherwise="the run is trained again")
    if known is not None:
        reason = store.outdated(known) or fault_in(run, known)
        if known.is_cut and math.isinf(context.ends_at):
            reason = reason or "a time limit ended its fits early"
        if not reason:
            say(f"train: {run.name} is finished (cv {known.metric} {score_text(known.cv_score)}); nothing to do")
            shutil.rmtree(run.checkpoints, ignore_errors=True)  # of a process that was killed at its very end
            return
        say(f"train: {reason}; {run.name} is trained again")
    check_configuration(config, store.spec.task, store.metric)
    with hold(store.workspace.runs / "share.lock") if context.share.of > 1 else nullcontext():
        prepare_checkpoints(run, fingerprint)
    n_parts = len(config.weighted_parts)
    shown = f", an ensemble of {n_parts} configurations" if n_parts > 1 else ""
    where = describe_device(context.device)
    say(f"train: {run.name} on {where}, {len(store.splits)} folds x {config.seeds} seeds{shown}")
    if context.device.type != "cpu":
        say("train: another run gives the same bits on a CPU; here networks, xgboost and catboost agree to rounding")
    started = time.monotonic()
    on_progress = None if on_share is None else lambda share, _: on_share(share)
    context = replace(context, checkpoints=run.checkpoints, on_progress=on_progress)
    with Curves(run.path / "tensorboard", [part.seeds for _, part in config.weighted_parts]) as curves:
        on_scores = curves.add if context.share.number is None else None  # a share has not all folds and seeds
        found = cross_validate(config, store.problem, store.splits, context, title="train", on_scores=on_scores)
        for number, fitted in enumerate(found.fitted):
            curves.finish(number, fitted.history)
    oof = found.oof_frame(store.train_rows["id"])
    cv_score, fold_scores = scores_of(oof, store.metric)
    files.write_parquet(run.oof, oof)
    files.write_parquet(run.test, prediction_frame(store.test_rows["id"], found.test_prediction))
    history = _history(found.fitted)
    files.write_parquet(run.history, history)
    for number, fitted in enumerate(found.fitted):
        fitted.save(part_folder(run.model, number, n_parts))
    report = store.report_of(
        run,
        config,
        cv_score=cv_score,
        fold_scores=fold_scores,
        elapsed_s=round(time.monotonic() - started, 2),
        device=str(context.device),
        parts=[_part(problem, fitted) for problem, fitted in zip(found.problems, found.fitted, strict=True)],
        is_cut=any(fitted.is_cut for fitted in found.fitted),
        last_epoch_by_fold=_last_epoch(history),
        classification=found.classification_report(store.classes),
        trust=known_trust(store),
        ensemble=None,
    )
    report.write(run.report)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    _say_scores(report)
    if baselines := series_baselines(store):
        shown = ", ".join(f"{name} {report.metric} {score_text(score)}" for name, score in baselines.items())
        say(f"train: baselines in these folds: {shown}")


def _say_scores(report: RunReport) -> None:
    folds = " ".join(score_text(score, 4) for score in report.fold_scores)
    say(
        f"train: cv {report.metric} {score_text(report.cv_score)}, folds {folds} (sd {score_text(report.fold_sd, 4)}), "
        f"{report.elapsed_s:.0f} s"
    )
    undefined = [str(fold) for fold, score in enumerate(report.fold_scores) if np.isnan(score)]
    if undefined:
        say(
            f"train: {report.metric} is undefined on fold {', '.join(undefined)}: its valid rows lack a class or have "
            "equal targets; cv_score is of the rows of all folds together"
        )
    others = [key for key in report.undefined if not key.startswith(("cv_score", "fold_scores", "last_epoch_by_fold"))]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        say(f"train: undefined numbers are null in report.json: {', '.join(others[:3])}{more}")


def prepare_checkpoints(run: RunFolder, fingerprint: str) -> None:
    """Keep checkpoints of the same work; remove those of other data or another version."""
    mark = run.checkpoints / "fingerprint.json"
    known = CheckpointMark.read_or_none(mark, otherwise="the run starts again")
    if known is not None and known.fingerprint == fingerprint:
        say(f"train: resuming the unfinished {run.name}")
        return
    if run.path.exists():
        shutil.rmtree(run.path)
    CheckpointMark(fingerprint=fingerprint).write(mark)


def _history(fitted: Sequence[FittedModel]) -> pd.DataFrame:
    """Return the epochs of every part; `part` is its number in an ensemble, otherwise 0."""
    lines = [{"part": number} | asdict(line) for number, one in enumerate(fitted) for line in one.history]
    return pd.DataFrame(lines, columns=["part", *HISTORY_COLUMNS])


def _part(problem: Problem, fitted: FittedModel) -> PartReport:
    return PartReport(
        scope=problem.scope,
        target_transform=problem.target_transform,
        n_epochs=fitted.n_epochs,
        feature_importance=fitted.feature_importance(),
    )


def _last_epoch(history: pd.DataFrame) -> list[FoldEpoch]:
    """Return each fold's mean train and valid score of single networks at their last evaluation."""
    if history.empty:
        return []
    last = history.sort_values("epoch").groupby(["part", "split", "seed"]).last()
    means = last.groupby("split")[["train_score", "valid_score"]].mean().rename_axis("fold").reset_index()
    return [FoldEpoch.model_validate(row) for row in means.to_dict("records")]
