"""A run's report: its scores, classes, probabilities and parts, and the data check.

Must not know how any number is computed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipeline.base.target_transforms import TargetTransform
from pipeline.config.artifact import Artifact, Record, Score
from pipeline.config.file_record import FileRecord
from pipeline.config.run import RunConfig
from pipeline.config.sections import Scope
from pipeline.config.types import Label

PLAN_FILE = "ensemble.json"
CalibrationKind = Literal["temperature", "isotonic"]


class Calibrator(Record):
    """A fitted calibration of class probabilities."""

    kind: CalibrationKind
    temperature: float = 1.0
    # per class: knots (before, after) of a piecewise linear map
    steps: list[tuple[list[float], list[float]]] = Field(default=[])


class Adjustment(Record):
    """What is applied to probabilities of new rows, fitted on all out-of-fold predictions."""

    calibrator: Calibrator | None = None
    threshold: float | None = None  # of two classes
    cut_points: list[float] | None = None  # of more, ordered ones: between neighbours, in expected class numbers
    class_weights: list[float] | None = None  # of more, unordered ones: what their probabilities are multiplied with
    by_target: list[Adjustment] = Field(default=[])  # of several targets; the other fields are empty then


class ProbabilityQuality(Record):
    """Scores of out-of-fold probabilities."""

    log_loss: Score
    brier: Score
    expected_calibration_error: Score


class ReliabilityBin(Record):
    """The rows whose predicted class has a probability in (low, high]."""

    low: float
    high: float
    rows: int
    confidence: Score  # mean probability
    accuracy: Score  # share of correct labels


class ThresholdReport(Record):
    """The decision threshold, and the scores without and with cross-fitted ones.

    A value is a threshold, the cut points of ordered classes, or the thresholds of several targets.
    """

    value: float | list[float]
    by_part: list[float | list[float]]
    score_at_half: Score
    score_cross_fitted: Score


class ProbabilityReport(Record):
    """Out-of-fold probabilities before and after calibration; `reliability` is that before a threshold is applied."""

    calibration: CalibrationKind | Literal["none"]
    temperature: float | None
    before: ProbabilityQuality
    after: ProbabilityQuality | None
    reliability: list[ReliabilityBin]
    threshold: ThresholdReport | None


class ClassReport(Record):
    """Scores of one class; `support` is its number of rows."""

    label: Label
    precision: Score
    recall: Score
    f1: Score
    support: int


class ClassificationReport(Record):
    """The part of a report that only classifications have."""

    by_class: list[ClassReport]
    probabilities: ProbabilityReport
    adjustment: Adjustment


@dataclass(frozen=True)
class Finding:
    """One line of the data check."""

    mark: Literal["ok", "look"]
    text: str


class Trust(Record):
    """Findings of the data check, and the numbers behind the first two."""

    n_rows: int  # checked of each table, at most; repeated rows are searched in all
    n_columns: int  # checked
    adversarial_auc: Score  # of a model that tells test rows from train rows; 0.5: it cannot
    repeated_train_rows: int  # whose features equal those of an earlier row
    contradicting_train_rows: int  # of these, with another target
    test_rows_in_train: int  # whose features equal those of a train row
    findings: list[Finding]


class DataCheck(Artifact):
    """`features/check.json`: the data check of the features with this fingerprint."""

    WHAT: ClassVar[str] = "a data check"

    format: Literal[1] = 1
    fingerprint: str
    trust: Trust


class FoldEpoch(Record):
    """Mean score of a fold's single networks at their last evaluation, not the score of their average."""

    fold: int
    train_score: Score
    valid_score: Score


class PartReport(Record):
    """One configuration of a run."""

    scope: Scope
    target_transform: TargetTransform
    n_epochs: int | None  # mean over folds and seeds; None for models without epochs
    feature_importance: dict[str, Score]  # encoded column -> share, largest first; {} if the model has none


class MemberReport(Record):
    """A run that was considered for an ensemble."""

    run: str
    label: str
    weight: float  # 0: not in the ensemble
    cv_score: Score
    elapsed_s: float


class GivenUp(Record):
    """A candidate that did not finish."""

    candidate: str
    why: str


class WithoutPrune(Record):
    """The ensemble with the default minimum weight, for comparison."""

    members: int
    nested_score: Score


class LogOdds(Record):
    """A multinomial logistic regression on the members' log odds, in place of their weighted average."""

    weights: list[float]  # of the members in their order, of any sign
    intercepts: list[float]  # of the classes
    kinds: list[int]  # of the members; those with equal numbers are averaged as probabilities first


class Clipping(Record):
    """Members of a weighted average that are drawn to the others where they are far from them."""

    limits: list[float]  # of each target: how far from the members' weighted median, on the metric's scale


class EnsembleReport(Record):
    """The runs in an ensemble, and how they were chosen."""

    nested_score: Score
    method: str
    nested_scores: dict[str, Score]  # method -> score
    corrected_score: Score | None = None  # nested_score less what the choice of the method gains by luck
    shares: dict[str, float] | None = None  # run -> weight in the best ensemble, if one configuration is better alone
    lost_without: dict[str, float] | None = None  # model -> share of what the squared error grows by without its runs
    # how the members become one, if not by their weights alone, which for log odds are shares of the amounts of theirs
    rule: LogOdds | Clipping | None = None
    adjustment: Adjustment | None = None  # of the members' average
    members: list[MemberReport]
    without_weight: list[MemberReport]
    prune: float
    without_prune: WithoutPrune
    given_up: list[GivenUp]
    tuned: dict[str, RunConfig]  # kind of candidate -> the tuned configuration
    minutes: float
    spent_s: float

    @property
    def weights(self) -> dict[str, float]:
        """Run -> weight, of the members."""
        return {one.run: one.weight for one in self.members}

    @property
    def looked_at(self) -> list[MemberReport]:
        """All runs considered, those without weight last."""
        return [*self.members, *self.without_weight]


class RunFiles(Record):
    """The files of a run as they were written."""

    oof: FileRecord
    test: FileRecord
    history: FileRecord | None  # None for an ensemble of runs
    model: dict[str, FileRecord]  # the fold models, by the path in `model/`; {} for an ensemble of runs
    final: dict[str, FileRecord]  # the refitted model, by the path in `final/`; {} if there is none


class EnsemblePlan(Artifact):
    """`PLAN_FILE`: a chosen ensemble without its fits, to be trained elsewhere."""

    WHAT: ClassVar[str] = "the plan of an ensemble"

    format: Literal[1] = 1
    run: str
    config: RunConfig  # of the ensemble
    members: list[RunConfig]  # in the order of `ensemble.members`
    ensemble: EnsembleReport


class RunReport(Artifact):
    """`runs/<run>/report.json`, written last: a run without it is unfinished."""

    WHAT: ClassVar[str] = "a run's report"
    REMEDY: ClassVar[str] = "Delete the folder {folder} and train the run again."

    format: Literal[4] = 4
    run: str
    competition: str
    data: str
    is_sample: bool
    config: RunConfig
    metric: str
    cv_score: Score
    fold_scores: list[Score]
    finished_at: str  # ISO, UTC
    elapsed_s: float
    device: str
    fingerprint: str
    made_of: dict[str, str]  # input -> hash
    files: RunFiles
    folds_sha256: str
    git_commit: str | None
    versions: dict[str, str]
    parts: list[PartReport]  # in the order of the configuration
    is_cut: bool = False  # a time limit ended fits before they had all their rounds or trees
    last_epoch_by_fold: list[FoldEpoch]
    classification: ClassificationReport | None
    trust: Trust | None
    ensemble: EnsembleReport | None  # if it averages finished runs

    @property
    def adjustment(self) -> Adjustment | None:
        """What is applied to predictions of new rows; None for a regression."""
        if self.ensemble is not None:
            return self.ensemble.adjustment
        return None if self.classification is None else self.classification.adjustment

    @property
    def rule(self) -> LogOdds | Clipping | None:
        """What combines the members of an ensemble of runs, if it is not a weighted average alone."""
        return None if self.ensemble is None else self.ensemble.rule

    @property
    def undefined(self) -> list[str]:
        """The keys of the numbers that are NaN or infinite, which the file holds as null."""
        return _undefined(self.model_dump(), "")

    @property
    def fold_sd(self) -> float:
        """Standard deviation of the defined fold scores; NaN if there are fewer than two."""
        defined = [score for score in self.fold_scores if math.isfinite(score)]
        return statistics.stdev(defined) if len(defined) > 1 else math.nan


def _undefined(value: Any, key: str) -> list[str]:
    if isinstance(value, float):
        return [] if math.isfinite(value) else [key]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, inner in pairs for found in _undefined(inner, f"{key}.{name}".lstrip("."))]
