"""Which two of many submissions to select at Kaggle: a Gaussian model of their scores, and the best pair under it.

Kaggle counts the better of the two private scores. Knows numbers alone: losses (lower is better), fold scores, row
counts and the correlation of predictions.

To first order the difference of two submissions' scores is proportional to the distance of their predictions, whatever
the metric: true loss, cv, public and private score of i and j have differences of variance c (1 - correlation_ij),
with c from the paired folds and the number of rows behind each score. A shift from train to test rows is common to all
and unknown. A cv that contradicts the public score by far more than that (a leak, an error in the test prediction)
loses its weight; so do both if the public score is far too good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from pipeline.base.arrays import FloatArray
from pipeline.scoring.fold_noise import FoldScores

FAULT_PRIOR = 0.05  # the share of submissions whose cv and public score do not belong together
FAULT_SPREAD = 10.0  # standard deviation of their contradictions, in standard errors of the others
OWN_SHARE = 0.02  # of a score's noise that a submission has for itself, in usual distances of two
SPREADS = np.geomspace(0.1, 1e3, 13)  # variances of true losses that are tried, in units of a score's noise
USUAL_FOLDS = 5


@dataclass(frozen=True)
class Scored:
    """What is known of one submission, as losses: lower is better."""

    cv: float | None
    public: float | None
    folds: FoldScores | None = None  # (k,) losses on the folds


@dataclass(frozen=True)
class RowCounts:
    """How many rows each score is computed from."""

    cv: int
    public: int
    private: int


@dataclass(frozen=True)
class Pair:
    """Two submissions, and the expected loss of the better one on the private rows."""

    first: int
    second: int
    expected: float


@dataclass(frozen=True)
class Selection:
    """The submissions as the model sees them, and all pairs, best first."""

    expected: FloatArray  # (submissions,) private losses
    error: FloatArray  # (submissions,) standard errors of their differences from the mean of all
    contradiction: FloatArray  # (submissions,) public - cv - its median, in standard errors; NaN without both
    fault: FloatArray  # (submissions,) probability that cv and public score do not belong together
    correlation: FloatArray  # (submissions, submissions) of the predictions as it was used
    cv_weight: float  # of a cv; the public score of the same submission has 1 - cv_weight
    noise_from: Literal["folds", "scores"]
    pairs: list[Pair]


def select(submissions: Sequence[Scored], correlation: FloatArray, rows: RowCounts) -> Selection:
    """Return the expected private losses and the pairs by the expected loss of the better one.

    `correlation` (submissions, submissions) is NaN where it is unknown. Takes two submissions or more, each with a cv
    or a public score.
    """
    cv, public = (_values([getattr(one, name) for one in submissions]) for name in ("cv", "public"))
    correlation = _completed(correlation)
    kernel = correlation + OWN_SHARE * _usual_distance(correlation) * np.eye(len(cv))
    of_row, noise_from = _variance_of_row([one.folds for one in submissions], cv, public, kernel, rows)
    noise = _Noise.of(of_row, rows, _n_folds([one.folds for one in submissions]))
    contradiction, fault = _faults(public - cv, kernel, noise)
    doubt = _doubt(contradiction, fault, kernel, noise)
    mean, covariance = _posterior(cv, public, kernel, noise, doubt)
    private = covariance + noise.private * kernel
    first, second = np.triu_indices(len(mean), k=1)
    best = _expected_best(mean, private, first, second)
    order = np.lexsort((mean[first] + mean[second], best))
    return Selection(
        expected=mean,
        error=np.sqrt(np.diag(_centred(covariance)).clip(0.0)),
        contradiction=contradiction,
        fault=fault,
        correlation=correlation,
        cv_weight=noise.public / (noise.public + noise.cv),
        noise_from=noise_from,
        pairs=[Pair(int(first[at]), int(second[at]), float(best[at])) for at in order],
    )


@dataclass(frozen=True)
class _Noise:
    """Variances of the three scores, in units of the kernel."""

    cv: float
    public: float
    private: float

    @classmethod
    def of(cls, of_row: float, rows: RowCounts, n_folds: int) -> _Noise:
        """A cv allows for overlapping training sets, as `fold_noise` does (Nadeau & Bengio, 2003)."""
        return cls(of_row * _overlap(n_folds) / rows.cv, of_row / rows.public, of_row / rows.private)


def _overlap(n_folds: int) -> float:
    return 1.0 + n_folds / (n_folds - 1)


def _values(numbers: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)


def _n_folds(folds: Sequence[FoldScores | None]) -> int:
    """The number of folds that most submissions have."""
    counts = Counter(len(scores) for scores in folds if scores is not None and len(scores) > 1)
    return counts.most_common(1)[0][0] if counts else USUAL_FOLDS


def _completed(correlation: FloatArray) -> FloatArray:
    """Fill what is unknown with the median of what is known, and return the nearest matrix without negative values."""
    filled = np.clip(correlation, -1.0, 1.0)
    np.fill_diagonal(filled, np.nan)
    usual = float(np.nanmedian(filled)) if np.isfinite(filled).any() else 0.5
    filled = np.where(np.isnan(filled), usual, filled)
    np.fill_diagonal(filled, 1.0)
    values, vectors = np.linalg.eigh(filled)
    positive: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return np.asarray(positive / np.outer(scale, scale), dtype=np.float64)


def _usual_distance(correlation: FloatArray) -> float:
    others = correlation[~np.eye(len(correlation), dtype=bool)]
    return max(float(np.median(1.0 - others)), 1e-6)


def _centred(matrix: FloatArray) -> FloatArray:
    """The covariance matrix of the differences from the mean of all."""
    centre = np.eye(len(matrix)) - 1.0 / len(matrix)
    return np.asarray(centre @ matrix @ centre, dtype=np.float64)


def _variance_of_row(
    folds: Sequence[FoldScores | None], cv: FloatArray, public: FloatArray, kernel: FloatArray, rows: RowCounts
) -> tuple[float, Literal["folds", "scores"]]:
    """Variance of one row's loss in units of the kernel, and where it was learned.

    The median over pairs of the variance of their fold differences. Without fold scores: how the public scores vary
    about the cv, or either of them about its median, which takes differences of quality for noise.
    """
    k = _n_folds(folds)
    numbers = [i for i, scores in enumerate(folds) if scores is not None and len(scores) == k]
    if len(numbers) > 1:
        scores = np.stack([np.asarray(folds[i]) for i in numbers])
        first, second = np.triu_indices(len(numbers), k=1)
        near = kernel[np.ix_(numbers, numbers)]
        distance = near[first, first] + near[second, second] - 2.0 * near[first, second]
        found = np.var(scores[first] - scores[second], axis=1, ddof=1) * rows.cv / k / distance
        found = found[found > 0]  # NaN: a fold's score is undefined
        if len(found):
            return float(np.median(found)) * (k - 1) / float(stats.chi2.median(k - 1)), "folds"
    of_cv, of_public = _overlap(USUAL_FOLDS) / rows.cv, 1.0 / rows.public
    for values, factor in ((public - cv, of_cv + of_public), (public, of_public), (cv, of_cv)):
        is_known = np.isfinite(values)
        spread = _robust_sd(values[is_known]) if is_known.sum() > 2 else 0.0
        if spread > 0:
            return spread**2 / factor / float(_own_variance(kernel, is_known).mean()), "scores"
    return 1.0, "scores"


def _own_variance(kernel: FloatArray, is_known: FloatArray) -> FloatArray:
    """The variance of each known submission's difference from the mean of them, in units of the kernel."""
    variance: FloatArray = np.diag(_centred(kernel[np.ix_(is_known, is_known)]))
    return variance


def _robust_sd(values: FloatArray) -> float:
    return float(stats.median_abs_deviation(values, scale="normal")) if len(values) > 3 else float(np.std(values))


def _faults(gap: FloatArray, kernel: FloatArray, noise: _Noise) -> tuple[FloatArray, FloatArray]:
    """How far each public score is from what its cv says, and the probability that this is more than noise.

    Where the test set suits some models better than others, all gaps vary more than the folds say; they are judged by
    that. Fewer than three gaps say nothing.
    """
    contradiction, fault = np.full(len(gap), np.nan), np.zeros(len(gap))
    is_known = np.isfinite(gap)
    if is_known.sum() < 3:
        return contradiction, fault
    errors = np.sqrt(_own_variance(kernel, is_known) * (noise.cv + noise.public))
    away = (gap[is_known] - np.median(gap[is_known])) / errors
    away /= max(1.0, _robust_sd(away))
    of_fault = np.log(FAULT_PRIOR) + stats.norm.logpdf(away, scale=FAULT_SPREAD)
    of_noise = np.log1p(-FAULT_PRIOR) + stats.norm.logpdf(away)
    contradiction[is_known], fault[is_known] = away, 1.0 / (1.0 + np.exp(of_noise - of_fault))
    return contradiction, fault


def _doubt(contradiction: FloatArray, fault: FloatArray, kernel: FloatArray, noise: _Noise) -> FloatArray:
    """(2 x submissions,) what is added to the variances of the cvs, then of the public scores, for their faults.

    The precision is averaged over fault and none. A public score that is worse than its cv says is believed: the
    private rows see the same prediction. One that is too good may be luck or a search on it.
    """
    away = np.nan_to_num(contradiction)
    size = np.maximum(FAULT_SPREAD, np.abs(away)) ** 2
    factor = 1.0 / (1.0 - fault + fault / size) - 1.0
    variance = np.diag(_centred(kernel)) * (noise.cv + noise.public)
    return np.concatenate([factor * variance, np.where(away < 0, factor, 0.0) * variance])


def _posterior(
    cv: FloatArray, public: FloatArray, kernel: FloatArray, noise: _Noise, doubt: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the true losses on test rows, given all scores.

    The levels of the cvs and of the public scores are unknown (universal kriging). The prior has the spread of the true
    losses under which the scores are most likely.
    """
    m, scores = len(cv), np.concatenate([cv, public])
    is_known = np.isfinite(scores)
    levels = np.repeat(np.eye(2), m, axis=0)[is_known]  # (scores, 2)
    wanted = np.repeat([[0.0, 1.0]], m, axis=0)  # the level of the public scores
    if not levels.any(axis=0).all():  # only cvs, or only public scores
        levels, wanted = np.ones((len(levels), 1)), np.ones((m, 1))
    noises = linalg.block_diag(noise.cv * kernel, noise.public * kernel) + np.diag(doubt)
    found = []
    for spread in SPREADS:
        prior = spread * min(noise.public, noise.cv) * kernel
        of_scores = linalg.cho_factor((np.tile(prior, (2, 2)) + noises)[np.ix_(is_known, is_known)], lower=True)
        of_levels = linalg.cho_factor(levels.T @ linalg.cho_solve(of_scores, levels), lower=True)
        level = linalg.cho_solve(of_levels, levels.T @ linalg.cho_solve(of_scores, scores[is_known]))
        residual = scores[is_known] - levels @ level
        solved = linalg.cho_solve(of_scores, residual)
        to_scores = np.tile(prior, (1, 2))[:, is_known]
        open_levels = wanted - to_scores @ linalg.cho_solve(of_scores, levels)
        covariance = prior - to_scores @ linalg.cho_solve(of_scores, to_scores.T)
        covariance += open_levels @ linalg.cho_solve(of_levels, open_levels.T)
        volume = float(np.log(np.diag(of_scores[0])).sum() + np.log(np.diag(of_levels[0])).sum())
        likelihood = -0.5 * float(residual @ solved) - volume
        found.append((likelihood, wanted @ level + to_scores @ solved, covariance))
    return max(found, key=lambda one: one[0])[1:]


def _expected_best(
    mean: FloatArray, covariance: FloatArray, first: NDArray[np.int64], second: NDArray[np.int64]
) -> FloatArray:
    """(pairs,) expected minima of two Gaussians (Clark, 1961, The greatest of a finite set of random variables)."""
    variance = np.diag(covariance)
    spread = np.sqrt(np.maximum(variance[first] + variance[second] - 2.0 * covariance[first, second], 1e-300))
    ahead = (mean[second] - mean[first]) / spread
    of_first, of_second = mean[first] * stats.norm.cdf(ahead), mean[second] * stats.norm.cdf(-ahead)
    return np.asarray(of_first + of_second - spread * stats.norm.pdf(ahead), dtype=np.float64)
