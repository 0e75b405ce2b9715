"""Cross-validation: a configuration fitted on every fold, its out-of-fold and test predictions, its scores.

Knows configurations, models, problems and splits; knows nothing of files. A score is always computed from the frame
that is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import TrainingError
from pipeline.base.progress import progress_bar
from pipeline.base.seeds import derive_seed
from pipeline.base.share import ShareDone
from pipeline.competition.folds import NEVER_VALIDATED, FoldArray, Split
from pipeline.competition.problem import Problem
from pipeline.competition.workspace import part_folder
from pipeline.config.run import RunConfig
from pipeline.config.run_report import ClassificationReport, ClassReport
from pipeline.config.types import Label
from pipeline.metrics import Metric, Task
from pipeline.models.base import PARTS_AT_ONCE, EpochScores, FitContext, FittedModel
from pipeline.models.registry import make_model
from pipeline.scoring.adjustment import Adjusted, adjust, apply_adjustment, has_threshold
from pipeline.scoring.blending import blend

PREDICTION = "prediction_"  # column prefix: prediction_0 .. of targets, or of classes' probabilities
TARGET = "target_"


@dataclass(frozen=True)
class CVResult:
    """A configuration fitted on every split: predictions and scores, of an ensemble those of the parts' average.

    Predictions of classes are calibrated and decided as the configuration wants it. Raises TrainingError where a
    valid row's prediction is not finite.
    """

    config: RunConfig
    problems: list[Problem]  # of the parts
    fitted: list[FittedModel]  # of the parts
    splits: Sequence[Split]

    def __post_init__(self) -> None:
        predicted = self._blended[self.fold_of_row != NEVER_VALIDATED]
        n_broken = int((~np.isfinite(predicted.reshape(len(predicted), -1))).any(axis=1).sum())
        if n_broken:
            raise TrainingError(
                f"the predictions of {n_broken} valid rows are not finite",
                where=f"model {self.config.model}",
                hint="Lower the learning rate, or penalise large weights.",
            )

    @property
    def metric(self) -> Metric:
        """The competition's."""
        return self.problems[0].metric

    @cached_property
    def fold_of_row(self) -> FoldArray:
        """(rows,) the split that validates each row, or NEVER_VALIDATED."""
        fold_of_row = np.full(len(self.problems[0].target), NEVER_VALIDATED)
        for number, split in enumerate(self.splits):
            fold_of_row[split.valid_rows] = number
        return fold_of_row

    @property
    def oof_prediction(self) -> FloatArray:
        """(rows, ...); NaN for rows that no split validates."""
        return self._blended if self._adjusted is None else self._adjusted.probability

    @cached_property
    def test_prediction(self) -> FloatArray:
        """(test rows, ...) the mean over the splits' members."""
        splits = range(len(self.splits))
        predictions = [fit.predict(one.test, splits) for fit, one in zip(self.fitted, self.problems, strict=True)]
        blended = blend(predictions, self._weights, self.metric)
        return apply_adjustment(None if self._adjusted is None else self._adjusted.adjustment, blended)

    def oof_frame(self, ids: pd.Series) -> pd.DataFrame:
        """Ids, folds, targets and out-of-fold predictions as they are stored."""
        return oof_frame(ids, self.fold_of_row, self.problems[0].target, self.oof_prediction)

    def scores(self, metric: Metric | None = None) -> tuple[float, list[float]]:
        """`cv_score` and `fold_scores`, by the competition's metric unless another one is given."""
        ids = pd.Series(np.arange(len(self.fold_of_row)))
        return scores_of(self.oof_frame(ids), metric or self.metric)

    def classification_report(self, classes: Sequence[Label]) -> ClassificationReport | None:
        """The report's part on `classes`: scores of each, calibration and threshold; None for a regression.

        The rows of several targets count together.
        """
        from sklearn.metrics import precision_recall_fscore_support

        if self._adjusted is None:
            return None
        validated = self.fold_of_row != NEVER_VALIDATED
        codes, predicted = self.problems[0].target[validated].astype(np.int64), self.oof_prediction[validated]
        is_several = codes.ndim == 2
        by_class = precision_recall_fscore_support(
            codes.reshape(-1),
            (predicted > 0.5).reshape(-1) if is_several else predicted.argmax(axis=1),
            labels=range(len(classes)),
            zero_division=0.0,
        )
        return ClassificationReport(
            by_class=[
                ClassReport(label=label, precision=precision, recall=recall, f1=f1, support=int(n_rows))
                for label, precision, recall, f1, n_rows in zip(classes, *by_class, strict=True)
            ],
            probabilities=self._adjusted.report,
            adjustment=self._adjusted.adjustment,
        )

    @property
    def _weights(self) -> list[float]:
        return [weight for weight, _ in self.config.weighted_parts]

    @cached_property
    def _blended(self) -> FloatArray:
        return blend([one.oof_prediction for one in self.fitted], self._weights, self.metric)

    @cached_property
    def _adjusted(self) -> Adjusted | None:
        config, task, target = self.config, self.problems[0].task, self.problems[0].target
        if task == "regression":
            return None
        validated = self.fold_of_row != NEVER_VALIDATED
        found = adjust(
            None if config.calibration == "none" else config.calibration,
            has_threshold(config, task, self.metric),
            self.metric.at(validated),
            self.fold_of_row[validated],
            target[validated].astype(np.int64),
            self._blended[validated],
        )
        whole = np.full_like(self._blended, np.nan)
        whole[validated] = found.probability
        return replace(found, probability=whole)


def check_configuration(config: RunConfig, task: Task, metric: Metric) -> None:
    """Raise SpecError for parameters, a calibration or a threshold with which cross-validation would not begin."""
    for _, part in config.weighted_parts:
        make_model(part.model, part.params, where=f"preset {config.preset}")
    has_threshold(config, task, metric)


def fit_splits(config: RunConfig, splits: Sequence[Split], seed: int) -> list[Split]:
    """The splits with the train rows that the configuration fits on: all, or `max_fit_rows` drawn with `seed`."""
    return [one.sampled(config.max_fit_rows, derive_seed(seed, "rows", number)) for number, one in enumerate(splits)]


def cross_validate(
    config: RunConfig,
    problem_of: Callable[[RunConfig], Problem],
    splits: Sequence[Split],
    context: FitContext,
    *,
    seed_offset: int = 0,
    title: str | None = None,
    on_scores: Callable[[int, Sequence[EpochScores]], None] | None = None,
) -> CVResult:
    """Fit every part of the configuration on every split; the checkpoints let an interrupted call go on.

    `seed_offset` is added to the parts' seeds; with a `title` a bar shows the progress. `on_scores` gets a part's
    number and new scores. On a cluster, a part is prepared while another one is fitted. Raises SpecError, and
    TrainingError when a network diverges or a prediction is not finite, ShareDone after a share of the fits.
    """
    parts = [part for _, part in config.weighted_parts]
    problems, shares = [problem_of(part) for part in parts], [0.0] * len(parts)

    with progress_bar(title) if title is not None else nullcontext(None) as update:

        def fit(number: int) -> FittedModel | None:
            part, problem, folder = parts[number], problems[number], context.checkpoints
            of_part = replace(
                context,
                checkpoints=None if folder is None else part_folder(folder, number, len(parts)),
                on_progress=_on_progress(number, shares, problem.metric.name, update, context.on_progress, on_scores),
            )
            model = make_model(part.model, part.params, where=f"preset {config.preset}")
            seed = part.seed + seed_offset
            drawn = fit_splits(part, splits, seed)
            fitted = None
            with suppress(ShareDone):  # then the parts that follow, before it is raised for all
                fitted = model.fit(problem, drawn, seed=seed, n_seeds=part.seeds, context=of_part)
            shares[number] = 1.0
            return fitted

        fitted = [*context.each(fit, range(len(parts)), at_most=PARTS_AT_ONCE)]
    context.share.end()
    return CVResult(config, problems, [one for one in fitted if one is not None], splits)


OnProgress = Callable[[float, Sequence[EpochScores]], None]


def _on_progress(
    number: int,
    shares: list[float],
    metric: str,
    update: Callable[[float, str], None] | None,
    passed_on: OnProgress | None,
    on_scores: Callable[[int, Sequence[EpochScores]], None] | None,
) -> OnProgress | None:
    """What part `number` reports to: `update` of a bar and `passed_on`, as a share of all parts, and `on_scores`.

    `shares` are those of each part that are done.
    """
    if update is None and passed_on is None and on_scores is None:
        return None
    which = f"part {number + 1} of {len(shares)}, " if len(shares) > 1 else ""
    latest: dict[int, dict[int, float]] = {}  # split -> seed -> valid score

    def on_progress(share: float, new: Sequence[EpochScores]) -> None:
        shares[number] = share
        done = sum(shares) / len(shares)
        for line in new:
            latest.setdefault(line.split, {})[line.seed] = line.valid_score
        if update is not None:
            means = (f"{np.mean([*by_seed.values()]):.4f}" for _, by_seed in sorted(latest.items()))
            update(done, f"{which}{metric} {' '.join(means)}")
        if passed_on is not None:
            passed_on(done, new)
        if on_scores is not None:
            on_scores(number, new)

    return on_progress


def prediction_frame(ids: pd.Series, prediction: FloatArray) -> pd.DataFrame:
    """Ids and predictions as they are stored."""
    return pd.DataFrame({"id": ids.reset_index(drop=True)}).join(_columns(PREDICTION, prediction))


def oof_frame(ids: pd.Series, fold_of_row: FoldArray, target: FloatArray, oof: FloatArray) -> pd.DataFrame:
    """Ids, folds, targets and out-of-fold predictions as they are stored."""
    frame = pd.DataFrame({"id": ids.reset_index(drop=True), "fold": fold_of_row})
    return frame.join(_columns(TARGET, target)).join(_columns(PREDICTION, oof))


def predictions_of(frame: pd.DataFrame, *, is_classification: bool) -> FloatArray:
    """The predictions of a stored frame, in the shape metrics and submissions take."""
    values = frame[[name for name in frame.columns if name.startswith(PREDICTION)]].to_numpy(dtype=np.float64)
    return values[:, 0] if values.shape[1] == 1 and not is_classification else values


def scores_of(frame: pd.DataFrame, metric: Metric) -> tuple[float, list[float]]:
    """`cv_score` of the whole out-of-fold vector and the `fold_scores` of a stored frame of all train rows."""
    fold_of_row = frame["fold"].to_numpy()
    validated = fold_of_row != NEVER_VALIDATED
    parts = [validated, *(fold_of_row == fold for fold in np.unique(fold_of_row[validated]))]
    whole, *by_fold = [_score(frame[part], metric.at(frame.index[part].to_numpy())) for part in parts]
    return whole, by_fold


def _score(frame: pd.DataFrame, metric: Metric) -> float:
    targets = frame[[name for name in frame.columns if name.startswith(TARGET)]].to_numpy(dtype=np.float64)
    target = targets[:, 0] if targets.shape[1] == 1 else targets
    return metric(target, predictions_of(frame, is_classification=metric.reads != "value"))


def _columns(prefix: str, values: FloatArray) -> pd.DataFrame:
    wide = values[:, None] if values.ndim == 1 else values
    return pd.DataFrame({f"{prefix}{j}": wide[:, j] for j in range(wide.shape[1])})
