"""Stage `train`: one run configuration over the folds -> `runs/<run>/`: predictions, weights, history, report."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline import artifacts
from pipeline.artifacts import RunFolder, part_folder
from pipeline.config import RunConfig
from pipeline.cross_validation import CVResult, cross_validate, oof_frame, prediction_frame, scores_of
from pipeline.ensembling import blend
from pipeline.errors import SpecError
from pipeline.folds import NEVER_VALIDATED
from pipeline.metrics import class_scores
from pipeline.models import make_model
from pipeline.models.base import EpochScores, FitContext, Model, feature_importance
from pipeline.nets.devices import describe_device
from pipeline.probabilities import Adjusted, adjust
from pipeline.problems import FeatureStore
from pipeline.progress import progress_bar, say

HISTORY_COLUMNS = [field.name for field in fields(EpochScores)]


def train_run(
    store: FeatureStore,
    config: RunConfig,
    *,
    device: torch.device,
    n_workers: int,
    stop: threading.Event | None = None,
) -> RunFolder:
    """Cross-validate the configuration, unless its finished run is there. Raises SpecError, TrainingError.

    Interrupted, or told to `stop` by another thread (it raises KeyboardInterrupt then), it keeps checkpoints and goes
    on from them the next time.
    """
    run = store.workspace.run(config.run_name)
    fingerprint = store.fingerprint(config)
    if run.is_finished and artifacts.read_json(run.report)["fingerprint"] == fingerprint:
        report = artifacts.read_json(run.report)
        say(f"train: {run.name} is finished (cv {report['metric']} {report['cv_score']:.5f}); nothing to do")
        return run
    parts = config.weighted_parts
    weights, metric = [weight for weight, _ in parts], store.spec.scorer
    models = [make_model(part.model, part.params, where=f"preset {config.preset}") for _, part in parts]
    has_threshold = _has_threshold(store, config)
    prepare_checkpoints(run, fingerprint)
    shown = f", an ensemble of {len(parts)} configurations" if len(parts) > 1 else ""
    say(f"train: {run.name} on {describe_device(device)}, {len(store.splits)} folds x {config.seeds} seeds{shown}")
    started = time.monotonic()
    results = _cross_validated(store, parts, models, run, FitContext(device, n_workers, stop=stop or threading.Event()))
    oof_prediction = blend([result.oof_prediction for result in results], weights, metric)
    test_prediction = blend([result.test_prediction for result in results], weights, metric)
    classification = None
    if store.spec.task != "regression":
        adjusted, classification = _adjusted(store, config, has_threshold, oof_prediction)
        oof_prediction, test_prediction = adjusted.probability, adjusted.adjustment(test_prediction)
    oof = oof_frame(store.train_rows["id"], store.fold_of_row, store.target, oof_prediction)
    cv_score, fold_scores = scores_of(oof, metric)
    artifacts.write_parquet(run.oof, oof)
    artifacts.write_parquet(run.test, prediction_frame(store.test_rows["id"], test_prediction))
    history = _history(results)
    artifacts.write_parquet(run.history, history)
    if not history.empty:
        _write_tensorboard(run, history)
    for number, result in enumerate(results):
        result.fitted.save(part_folder(run.model, number, len(parts)))
    report = {
        "run": run.name,
        "competition": store.workspace.competition,
        "data": store.manifest["data"],
        "is_sample": store.is_sample,
        "config": config.model_dump(),
        "metric": store.spec.metric,
        "cv_score": cv_score,
        "fold_scores": fold_scores,
        "last_epoch_by_fold": _last_epoch(history),
        "classification": classification,
        "n_epochs": _one_or_all([result.fitted.n_epochs for result in results]),
        "feature_importance": _one_or_all([feature_importance(result.fitted) for result in results]),
        "scope": _one_or_all([store.problem(part).scope for _, part in parts]),
        "target_transform": _one_or_all([store.problem(part).target_transform for _, part in parts]),
        "elapsed_s": round(time.monotonic() - started, 2),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "fingerprint": fingerprint,
        "folds_sha256": store.manifest["folds_sha256"],
        "git_commit": artifacts.git_commit(store.workspace.root),
        "versions": artifacts.versions(),
    }
    artifacts.write_json(run.report, report)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    spread = float(np.std(fold_scores, ddof=1)) if len(fold_scores) > 1 else 0.0
    say(
        f"train: cv {store.spec.metric} {cv_score:.5f}, folds {' '.join(f'{score:.4f}' for score in fold_scores)} "
        f"(sd {spread:.4f}), {report['elapsed_s']:.0f} s"
    )
    return run


def _has_threshold(store: FeatureStore, config: RunConfig) -> bool:
    """Whether the run chooses a decision threshold. Raises SpecError for an adjustment that cannot be."""
    task, metric, where = store.spec.task, store.spec.scorer, f"preset {config.preset}"
    if task == "regression" and config.calibration != "none":
        raise SpecError("a regression has no probabilities to mend", where=f"{where}, calibration")
    can_have = task == "binary" and metric.reads == "label"
    if config.threshold == "best" and not can_have:
        raise SpecError(
            f"there is no threshold to choose: the task is {task}, and the metric {metric.name} reads "
            f"{'labels' if metric.reads == 'label' else 'no labels'}",
            where=f"{where}, threshold",
            hint='A threshold parts two classes for a metric of labels. Leave it at "auto".',
        )
    return can_have and (config.threshold == "best" or (config.threshold == "auto" and metric.wants_threshold))


def _adjusted(
    store: FeatureStore, config: RunConfig, has_threshold: bool, oof_prediction: NDArray[np.float64]
) -> tuple[Adjusted, dict[str, Any]]:
    """Out-of-fold probabilities calibrated and decided as the run wants it; the report's part on classes."""
    is_validated = store.fold_of_row != NEVER_VALIDATED
    codes = store.target[is_validated].astype(np.int64)
    found = adjust(
        None if config.calibration == "none" else config.calibration,
        has_threshold,
        store.spec.scorer,
        store.fold_of_row[is_validated],
        codes,
        oof_prediction[is_validated],
    )
    whole = np.full_like(oof_prediction, np.nan)
    whole[is_validated] = found.probability
    by_class = zip(store.classes, class_scores(codes, found.probability), strict=True)
    report = {
        "by_class": [{"class": label, **scores._asdict()} for label, scores in by_class],
        "probabilities": found.report,
        "adjustment": found.adjustment.model_dump(),
    }
    return replace(found, probability=whole), report


def prepare_checkpoints(run: RunFolder, fingerprint: str) -> None:
    """Keep the checkpoints of the same work; remove what other data or another version left."""
    mark = run.checkpoints / "fingerprint.json"
    if run.path.exists() and not (mark.exists() and artifacts.read_json(mark) == fingerprint):
        shutil.rmtree(run.path)
    if mark.exists():
        say(f"train: going on with the unfinished {run.name}")
    artifacts.write_json(mark, fingerprint)


def _cross_validated(
    store: FeatureStore,
    parts: Sequence[tuple[float, RunConfig]],
    models: Sequence[Model],
    run: RunFolder,
    context: FitContext,
) -> list[CVResult]:
    """Every part over the folds; the checkpoints of those that are trained let an interrupted run go on."""
    results: list[CVResult] = []
    with progress_bar("train") as update:
        for number, (model, (_, part)) in enumerate(zip(models, parts, strict=True)):
            scores = _RunningScores(store.spec.metric)

            def on_progress(
                share: float, new: Sequence[EpochScores], number: int = number, scores: _RunningScores = scores
            ) -> None:
                which = f"part {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
                update((number + share) / len(parts), which + scores.text_after(new))

            checkpoints = part_folder(run.checkpoints, number, len(parts))
            results.append(
                cross_validate(
                    model,
                    store.problem(part),
                    store.splits,
                    seed=part.seed,
                    n_seeds=part.seeds,
                    context=replace(context, checkpoints=checkpoints, on_progress=on_progress),
                )
            )
    return results


class _RunningScores:
    """The latest valid score of every fold, as one short text."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.latest: dict[tuple[int, int], float] = {}

    def text_after(self, new: Sequence[EpochScores]) -> str:
        for line in new:
            self.latest[line.split, line.seed] = line.valid_score
        splits = sorted({split for split, _ in self.latest})
        means = (np.mean([score for (s, _), score in self.latest.items() if s == split]) for split in splits)
        return f"{self.metric} " + " ".join(f"{mean:.4f}" for mean in means)


def _history(results: Sequence[CVResult]) -> pd.DataFrame:
    """The epochs of every part; `part` is its number in the ensemble, 0 where there is one configuration."""
    lines = [{"part": number} | asdict(line) for number, one in enumerate(results) for line in one.fitted.history]
    return pd.DataFrame(lines, columns=["part", *HISTORY_COLUMNS])


def _one_or_all(values: list[Any]) -> Any:
    """What a report says of a run's parts: the value of the one, or the list."""
    return values[0] if len(values) == 1 else values


def _last_epoch(history: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean train and valid score of each fold's members at their last evaluation: one network, not their average."""
    if history.empty:
        return []
    last = history.sort_values("epoch").groupby(["part", "split", "seed"]).last()
    means = last.groupby("split")[["train_score", "valid_score"]].mean().rename_axis("fold").reset_index()
    return [{str(name): value for name, value in row.items()} for row in means.to_dict("records")]


def _write_tensorboard(run: RunFolder, history: pd.DataFrame) -> None:
    """Curves for `tensorboard --logdir data/<competition>/runs`: the mean over seeds, one pair of tags a fold."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run.path / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        means = history.groupby(["split", "epoch"])[["train_score", "valid_score"]].mean().reset_index()
        for row in means.to_dict("records"):
            for name in ("train", "valid"):
                tag = f"{name}/fold_{row['split']:.0f}"
                writer.add_scalar(tag, row[f"{name}_score"], int(row["epoch"]))
