"""What a run says of itself: how it scored, what its classes and probabilities are like, of what it is made.

Must not know how any number is computed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.config.artifact import Artifact, Record, Score
from pipeline.config.run import RunConfig
from pipeline.config.spec import Scope, TargetTransform
from pipeline.config.types import Label

CalibrationKind = Literal["temperature", "isotonic"]


class Calibrator(Record):
    """A fitted map of probabilities to probabilities."""

    kind: CalibrationKind
    temperature: float = 1.0
    steps: list[tuple[list[float], list[float]]] = Field(
        default=[]
    )  # by class: probability before -> after, linear in between


class Adjustment(Record):
    """What is done to probabilities of rows that are not train rows; learned from all out-of-fold predictions."""

    calibrator: Calibrator | None = None
    threshold: float | None = None


class ProbabilityQuality(Record):
    """How good out-of-fold probabilities are."""

    log_loss: float
    brier: float
    expected_calibration_error: float


class ReliabilityBin(Record):
    """Rows whose predicted class has a probability in (low, high]."""

    low: float
    high: float
    rows: int
    confidence: float  # mean probability
    accuracy: float  # share that is right


class ThresholdReport(Record):
    """The decision threshold, and its scores at a half and cross-fitted."""

    value: float
    by_part: list[float]
    score_at_half: Score
    score_cross_fitted: Score


class ProbabilityReport(Record):
    """Out-of-fold probabilities before and after calibration; reliability is that before any threshold moved them."""

    calibration: CalibrationKind | Literal["none"]
    temperature: float | None
    before: ProbabilityQuality
    after: ProbabilityQuality | None
    reliability: list[ReliabilityBin]
    threshold: ThresholdReport | None


class ClassReport(Record):
    """How well one class is told from the others; `support` is its number of rows."""

    label: Label
    precision: float
    recall: float
    f1: float
    support: int


class ClassificationReport(Record):
    """A classification's classes and probabilities, and what is done to probabilities of new rows."""

    by_class: list[ClassReport]
    probabilities: ProbabilityReport
    adjustment: Adjustment


@dataclass(frozen=True)
class Finding:
    """One line of the data check."""

    mark: Literal["ok", "look"]
    text: str


class Trust(Record):
    """The findings of the data check, and the numbers behind the first two."""

    n_rows: int  # of each table, at most, that were looked at (repeated rows: all were)
    n_columns: int  # that were looked at
    adversarial_auc: float  # of telling test rows from train rows; 0.5: not at all
    repeated_train_rows: int  # equal to an earlier one in all features
    contradicting_train_rows: int  # of these, with another target
    test_rows_in_train: int  # equal to a train row in all features
    findings: list[Finding]


class DataCheck(Artifact):
    """`features/check.json`: what was found for the features of this fingerprint."""

    WHAT: ClassVar[str] = "a data check"

    format: Literal[1] = 1
    fingerprint: str
    trust: Trust


class FoldEpoch(Record):
    """Mean scores of a fold's members at their last evaluation: one network, not their average."""

    fold: int
    train_score: Score
    valid_score: Score


class PartReport(Record):
    """One configuration of a run."""

    scope: Scope
    target_transform: TargetTransform
    n_epochs: int | None  # mean of the members; None for models without
    feature_importance: dict[str, float]  # encoded column -> share, largest first; {} for models without


class MemberReport(Record):
    """A run that an ensemble looked at."""

    run: str
    label: str
    weight: float  # 0: it is not part of the ensemble
    cv_score: Score
    elapsed_s: float


class GivenUp(Record):
    """A candidate that was not finished."""

    candidate: str
    why: str


class WithoutPrune(Record):
    """The ensemble with the usual smallest weight."""

    members: int
    nested_score: Score


class EnsembleReport(Record):
    """Of which runs an ensemble is made, and how it was chosen."""

    nested_score: Score
    method: str
    nested_scores: dict[str, Score]  # method -> score
    members: list[MemberReport]
    without_weight: list[MemberReport]
    prune: float
    without_prune: WithoutPrune
    given_up: list[GivenUp]
    tuned: dict[str, RunConfig]  # kind of candidate -> what tuning found
    minutes: float
    spent_s: float

    @property
    def looked_at(self) -> list[MemberReport]:
        """Every run, those without weight last."""
        return [*self.members, *self.without_weight]


class RunReport(Artifact):
    """`runs/<run>/report.json`, written last."""

    WHAT: ClassVar[str] = "a run's report"
    REMEDY: ClassVar[str] = "Delete the folder {folder} and run the same command again."

    format: Literal[1] = 1
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
    folds_sha256: str
    git_commit: str | None
    versions: dict[str, str]
    parts: list[PartReport]  # as in the configuration
    last_epoch_by_fold: list[FoldEpoch]
    classification: ClassificationReport | None
    trust: Trust | None
    ensemble: EnsembleReport | None  # of finished runs

    @property
    def adjustment(self) -> Adjustment | None:
        """What is done to predictions of new rows; None for a regression and for an ensemble of runs."""
        return None if self.classification is None else self.classification.adjustment

    @property
    def fold_sd(self) -> float:
        """Standard deviation of the fold scores that are defined; NaN if there are fewer than two."""
        defined = [score for score in self.fold_scores if math.isfinite(score)]
        return statistics.stdev(defined) if len(defined) > 1 else math.nan
