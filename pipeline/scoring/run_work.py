"""A run configuration at work on some folds: its parts fitted, their predictions blended and adjusted, as one result.

Knows configurations, models and feature stores; knows nothing of a run's files but where checkpoints may lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.base.progress import progress_bar
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray, splits_of
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import part_folder
from pipeline.config.run import RunConfig
from pipeline.config.run_report import ClassificationReport, ClassReport
from pipeline.metrics import class_scores
from pipeline.models.base import EpochScores, FitContext, Model
from pipeline.models.registry import make_model
from pipeline.scoring.adjustment import Adjusted, adjust, apply_adjustment
from pipeline.scoring.cross_validation import CVResult, cross_validate, oof_frame
from pipeline.scoring.ensembling import blend


@dataclass(frozen=True)
class RunResult:
    """What a configuration gave on some folds."""

    results: list[CVResult]  # of the parts
    oof: pd.DataFrame  # as `oof_frame` makes it
    test_prediction: FloatArray
    classification: ClassificationReport | None  # the report's part on classes


@dataclass(frozen=True)
class RunWork:
    """A configuration whose models are made, so that what is wrong with it is known before anything is written."""

    store: FeatureStore
    config: RunConfig
    models: list[Model]
    has_threshold: bool

    @classmethod
    def of(cls, store: FeatureStore, config: RunConfig) -> RunWork:
        """The configuration's work. Raises SpecError."""
        where = f"preset {config.preset}"
        models = [make_model(part.model, part.params, where=where) for _, part in config.weighted_parts]
        return cls(store, config, models, _has_threshold(store, config))

    def cross_validated(
        self, fold_of_row: FoldArray, context: FitContext, *, title: str, seed_offset: int = 0
    ) -> RunResult:
        """Fit every part over the folds; the checkpoints of those that are done let an interrupted run go on.

        `seed_offset` is added to the parts' seeds. Raises SpecError, TrainingError.
        """
        store, metric = self.store, self.store.spec.scorer
        parts = self.config.weighted_parts
        weights = [weight for weight, _ in parts]
        splits = splits_of(fold_of_row, is_chained=store.spec.folds.rules.is_chained)
        results: list[CVResult] = []
        with progress_bar(title) as update:
            for number, (model, (_, part)) in enumerate(zip(self.models, parts, strict=True)):
                scores = _RunningScores(store.spec.metric)

                def on_progress(
                    share: float, new: Sequence[EpochScores], number: int = number, scores: _RunningScores = scores
                ) -> None:
                    which = f"part {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
                    update((number + share) / len(parts), which + scores.text_after(new))
                    if context.on_progress is not None:
                        context.on_progress((number + share) / len(parts), new)

                folder = context.checkpoints
                own = None if folder is None else part_folder(folder, number, len(parts))
                results.append(
                    cross_validate(
                        model,
                        store.problem(part),
                        splits,
                        seed=part.seed + seed_offset,
                        n_seeds=part.seeds,
                        context=replace(context, checkpoints=own, on_progress=on_progress),
                    )
                )
        oof_prediction = blend([result.oof_prediction for result in results], weights, metric)
        test_prediction = blend([result.test_prediction for result in results], weights, metric)
        classification = None
        if store.spec.task != "regression":
            adjusted, classification = _adjusted(store, self.config, self.has_threshold, fold_of_row, oof_prediction)
            oof_prediction = adjusted.probability
            test_prediction = apply_adjustment(adjusted.adjustment, test_prediction)
        oof = oof_frame(store.train_rows["id"], fold_of_row, store.target, oof_prediction)
        return RunResult(results, oof, test_prediction, classification)


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
    store: FeatureStore, config: RunConfig, has_threshold: bool, fold_of_row: FoldArray, oof_prediction: FloatArray
) -> tuple[Adjusted, ClassificationReport]:
    """Out-of-fold probabilities calibrated and decided as the run wants it; the report's part on classes."""
    is_validated = fold_of_row != NEVER_VALIDATED
    codes = store.target[is_validated].astype(np.int64)
    found = adjust(
        None if config.calibration == "none" else config.calibration,
        has_threshold,
        store.spec.scorer,
        fold_of_row[is_validated],
        codes,
        oof_prediction[is_validated],
    )
    whole = np.full_like(oof_prediction, np.nan)
    whole[is_validated] = found.probability
    by_class = zip(store.classes, class_scores(codes, found.probability), strict=True)
    report = ClassificationReport(
        by_class=[ClassReport(label=label, **scores._asdict()) for label, scores in by_class],
        probabilities=found.report,
        adjustment=found.adjustment,
    )
    return replace(found, probability=whole), report


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
