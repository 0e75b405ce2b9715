"""Stage `final`: a finished run -> a checked submission CSV and its provenance under `submissions/<competition>/`."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.progress import progress_bar, say
from pipeline.competition import dependencies
from pipeline.competition.folds import Split
from pipeline.competition.run_files import read_predictions, record_final_model
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, part_folder
from pipeline.config.file_record import fault_among
from pipeline.config.records import Provenance
from pipeline.config.run import FinalStrategy, RunConfig
from pipeline.config.run_report import RunReport
from pipeline.kaggle.submission import check_submission, make_submission
from pipeline.models.base import PARTS_AT_ONCE, FitContext
from pipeline.models.registry import make_model
from pipeline.scoring.adjustment import apply_adjustment
from pipeline.scoring.blending import combine
from pipeline.scoring.cross_validation import fit_splits, prediction_frame, predictions_of


def make_final(
    store: FeatureStore, config: RunConfig, run: RunFolder, context: FitContext, *, is_interim: bool = False
) -> Path:
    """Write `<run>.csv` and `<run>.json` unless they are up to date; return the path of the CSV.

    Strategy `average` takes the mean of the fold models; `refit` trains on all train rows for the number of epochs that
    cross-validation found. An interim file, to be replaced by a better one, is an average and is not announced.
    """
    with run.held():
        return _make_final(store, config, run, context, is_interim)


def _make_final(store: FeatureStore, config: RunConfig, run: RunFolder, context: FitContext, is_interim: bool) -> Path:
    strategy, reason = _strategy(store, config, is_interim)
    report = RunReport.read(run.report)
    path = store.workspace.submissions / f"{run.name}.csv"
    inputs = dependencies.of_submission(report, store.spec, store.manifest, strategy, _nested_score(report))
    fingerprint = dependencies.fingerprint(inputs)
    final = report.files.final  # {} after the run was trained again
    is_intact = strategy == "average" or (final != {} and not fault_among(run.final_model, final))
    if is_intact and _is_up_to_date(path, fingerprint):
        if not is_interim:
            say(f"final: {path} is up to date")
        return path
    if not is_interim:
        say(f"final: {strategy} ({reason})")
    started = time.monotonic()
    if strategy == "average":
        is_classification = store.spec.task != "regression"
        prediction = predictions_of(read_predictions(run, report, "test"), is_classification=is_classification)
        record_final_model(run, report, is_refitted=False)  # `predict` uses what was submitted
        shutil.rmtree(run.final_model, ignore_errors=True)
    else:
        prediction = _refit(store, config, run, report, context)
        record_final_model(run, report, is_refitted=True)
    test_ids = store.test_rows["id"]
    submission = make_submission(store.spec, store.classes, store.sample_submission, test_ids, prediction)
    check_submission(store.spec, store.classes, store.sample_submission, submission)
    files.write_csv(path, submission)
    Provenance(
        run=run.name,
        submission=path.name,
        sha256=files.sha256_of(path),
        n_rows=len(submission),
        data=store.manifest.data,
        is_sample=store.is_sample or report.is_sample,
        metric=report.metric,
        cv_score=report.cv_score,
        nested_score=_nested_score(report),
        final=strategy,
        final_reason=reason,
        fingerprint=fingerprint,
        config=report.config,
        raw_files={name: file.sha256 for name, file in store.manifest.raw_files.items()},
        git_commit=files.git_commit(store.workspace.root),
        versions=files.versions(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        elapsed_s=round(time.monotonic() - started, 2),
        kernel=None,
    ).write(path.with_suffix(".json"))
    return path


def _strategy(store: FeatureStore, config: RunConfig, is_interim: bool) -> tuple[FinalStrategy, str]:
    """Return how the final prediction is made, and why."""
    if is_interim:
        return "average", "the best so far"
    if config.final == "average" and store.spec.folds.rules.is_chained:
        return "refit", "in forward chaining the fold models have seen the early rows only"
    return config.final, config.final_reason or "as configured"


def _nested_score(report: RunReport) -> float | None:
    return None if report.ensemble is None else report.ensemble.nested_score


def _is_up_to_date(path: Path, fingerprint: str) -> bool:
    known = Provenance.read_or_none(path.with_suffix(".json"), otherwise="the submission is written again")
    return known is not None and known.fingerprint == fingerprint and files.is_unchanged(path, known.sha256)


def _refit(
    store: FeatureStore, config: RunConfig, run: RunFolder, report: RunReport, context: FitContext
) -> FloatArray:
    """Train as many members as cross-validation on all train rows, store them, and predict the test rows."""
    every_row = Split(np.arange(len(store.train_rows)), np.arange(0))
    checkpoints = run.path / "final_checkpoints"
    parts = [part for _, part in config.weighted_parts]
    shares = [0.0] * len(parts)
    with progress_bar("final") as update:

        def prediction_of(number: int) -> FloatArray:
            def on_progress(share: float, _: object) -> None:
                shares[number] = share
                update(sum(shares) / len(parts), "")

            part, n_epochs = parts[number], report.parts[number].n_epochs
            problem = store.problem(part)
            model = make_model(part.model, part.params, where=f"preset {config.preset}")
            model = model if n_epochs is None else model.with_epochs(n_epochs)
            folder = part_folder(checkpoints, number, len(parts))
            fitted = model.fit(
                problem,
                fit_splits(part, [every_row], part.seed),
                seed=part.seed,
                n_seeds=part.seeds * len(store.splits),
                context=replace(context, checkpoints=folder, on_progress=on_progress),
            )
            fitted.save(part_folder(run.final_model, number, len(parts)))
            return fitted.predict(problem.test, [0])

        predictions = [*context.each(prediction_of, range(len(parts)), at_most=PARTS_AT_ONCE)]
    prediction = combine(predictions, [weight for weight, _ in config.weighted_parts], store.metric, report.rule)
    prediction = apply_adjustment(report.adjustment, prediction)
    files.write_parquet(run.path / "final_test.parquet", prediction_frame(store.test_rows["id"], prediction))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return prediction
