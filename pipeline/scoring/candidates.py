"""Candidates of an ensemble on the rows that folds validate, and the nested estimate of any way to combine them.

Knows arrays, folds and the metric; must not know how weights are found, studies, runs or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.target_transforms import inverse_transform, transform_target
from pipeline.competition.folds import NEVER_VALIDATED
from pipeline.config.run_report import Adjustment, Clipping, LogOdds
from pipeline.metrics import Metric, mean_of_targets
from pipeline.scoring.adjustment import apply_adjustment
from pipeline.scoring.blending import on_scale
from pipeline.scoring.clipping import clipped_average
from pipeline.scoring.cross_fitting import parts_of
from pipeline.scoring.log_odds import combined_log_odds, log_odds

Oofs = Mapping[str, FloatArray]  # name -> out-of-fold prediction
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

MOST_ROWS = 20_000  # rows that weights are fitted to, sampled; scores are those of all rows


@dataclass(frozen=True)
class Combination:
    """How candidates make one prediction."""

    weights: FloatArray  # (candidates,), of sum 1; with intercepts, weights of log odds
    intercepts: FloatArray | None = None  # (classes,)
    limits: FloatArray | None = None  # () or (targets,) of clipped predictions, on the metric's scale
    adjustment: Adjustment | None = None  # of the result


Fit = Callable[[Mask], Combination]  # learned from some rows


@dataclass(frozen=True)
class Selection:
    """An ensemble, its optimistic score and its nested score."""

    weights: dict[str, float]  # name -> weight, heaviest first; they sum to 1
    score: float  # on the rows the weights were chosen on: optimistic
    nested_score: float  # every fold predicted with weights chosen on the other folds
    nested_prediction: FloatArray = field(compare=False)  # NaN for rows without a fold
    # log odds are in the order of `weights`, which are shares of the amounts of theirs
    rule: LogOdds | Clipping | None = None
    adjustment: Adjustment | None = None


@dataclass(frozen=True)
class Candidates:
    """The rows that a fold validates: candidates' predictions on the metric's scale, targets and folds."""

    names: list[str]
    kind_of: Rows  # (candidates,) numbers of their kinds; candidates of one kind have equal weights
    stack: FloatArray  # (candidates, rows, ...)
    y: FloatArray
    folds: Rows  # of a single holdout five parts
    is_validated: Mask  # (all rows,)
    metric: Metric  # of these rows

    @classmethod
    def of(
        cls, oofs: Oofs, target: FloatArray, fold_of_row: Rows, metric: Metric, kinds: Mapping[str, str] | None = None
    ) -> Candidates:
        """`oofs` are finite on every row with a fold; rows without one are ignored. `kinds` are by name."""
        rows = fold_of_row != NEVER_VALIDATED
        names = sorted(oofs)  # of equally good ones the same leads in any order
        stack = np.stack([on_scale(oofs[name][rows], metric) for name in names])
        assert np.isfinite(stack).all(), "a validated row has no prediction"
        y = target[rows]
        folds = parts_of(fold_of_row[rows], y.reshape(len(y), -1)[:, 0])
        kind_of = np.unique([(kinds or {}).get(name, name) for name in names], return_inverse=True)[1]
        return cls(names, kind_of, stack, y, folds, rows, metric.at(rows))

    @cached_property
    def _shares(self) -> FloatArray:
        """(kinds, candidates) what each candidate counts in the mean of its kind."""
        is_of_kind = np.arange(self.kind_of.max() + 1)[:, None] == self.kind_of
        return np.asarray(is_of_kind / is_of_kind.sum(axis=1, keepdims=True), dtype=np.float64)

    def by_kind(self, of_candidates: FloatArray) -> FloatArray:
        """(kinds, ...) means over the candidates of each kind; (candidates, ...) as they are where all differ."""
        if len(self._shares) == len(self.names):
            return of_candidates[np.argsort(self.kind_of)]
        return np.tensordot(self._shares, of_candidates, axes=1)

    def spread(self, weights: FloatArray) -> FloatArray:
        """(candidates,) the weights (kinds,), in equal parts for the candidates of a kind."""
        return weights @ self._shares

    @cached_property
    def sample(self) -> Rows:
        """The rows that are fitted to, in no order."""
        return np.random.default_rng(0).permutation(len(self.y))[:MOST_ROWS]

    def sampled(self, rows: Mask) -> Rows:
        """Those of some rows that are fitted to."""
        return self.sample[rows[self.sample]]

    @cached_property
    def sampled_weight(self) -> FloatArray | None:
        """(sampled rows,) what they weigh in the metric; None if all weigh the same."""
        return None if self.metric.weight is None else self.metric.weight[self.sample]

    @cached_property
    def fold_numbers(self) -> Rows:
        """The folds that validate rows."""
        return np.unique(self.folds)

    @cached_property
    def has_classes(self) -> bool:
        """Whether predictions are probabilities (rows, classes)."""
        return self.metric.reads != "value" and self.y.ndim == 1

    @cached_property
    def errors(self) -> FloatArray:
        """(kinds, sampled rows, ...) predictions less what a perfect candidate predicts."""
        y, stack = self.y[self.sample], self.by_kind(self.stack[:, self.sample])
        if self.metric.reads == "value":
            return stack - on_scale(y, self.metric)
        return stack - (y if y.ndim == 2 else np.eye(stack.shape[2])[y.astype(np.int64)])

    @cached_property
    def of_true(self) -> FloatArray:
        """(kinds, sampled rows) the probability of the true class."""
        codes = self.y[self.sample].astype(np.int64)
        stack = self.stack[:, self.sample]
        return self.by_kind(stack[:, np.arange(len(codes)), codes] / stack.sum(axis=2))

    @cached_property
    def odds(self) -> FloatArray:
        """(kinds, sampled rows, classes) log odds of the mean probabilities."""
        return log_odds(self.by_kind(self.stack[:, self.sample]))

    def average(self, weights: FloatArray, rows: Mask | Rows) -> FloatArray:
        """The weighted average of the candidates, as `blend` makes it."""
        total = np.zeros_like(self.stack[0, rows])
        for i in np.flatnonzero(weights):
            total += weights[i] * self.stack[i, rows]
        return inverse_transform(self.metric.scale, total)

    def combined(self, how: Combination, rows: Mask | Rows) -> FloatArray:
        """The prediction of some rows."""
        used = np.flatnonzero(how.weights)
        if how.limits is not None and len(used) > 1:
            average = clipped_average(self.stack[used][:, rows], how.weights[used], how.limits)
            combined = inverse_transform(self.metric.scale, average)
        elif how.intercepts is None:
            combined = self.average(how.weights, rows)
        else:
            combined = combined_log_odds(
                [self.stack[i, rows] for i in used],
                how.weights[used].tolist(),
                how.intercepts.tolist(),
                self.kind_of[used].tolist(),
            )
        return apply_adjustment(how.adjustment, combined)

    def nested(self, fit: Fit) -> FloatArray:
        """(rows, ...) every fold predicted as the other folds' rows fit it."""
        nested = np.full(self.stack.shape[1:], np.nan)
        for fold in self.fold_numbers:
            held = self.folds == fold
            nested[held] = self.combined(fit(~held), held)
        return nested

    def selection(self, fit: Fit, nested: FloatArray | None = None) -> Selection:
        """The ensemble as all rows fit it, and its nested prediction."""
        nested = self.nested(fit) if nested is None else nested
        every_row = np.ones(len(self.y), dtype=bool)
        how = fit(every_row)
        shares = how.weights if how.intercepts is None else np.abs(how.weights) / np.abs(how.weights).sum()
        order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
        rule: LogOdds | Clipping | None = None
        if how.limits is not None:
            rule = Clipping(limits=how.limits.reshape(-1).tolist())
        elif how.intercepts is not None:
            rule = LogOdds(
                weights=how.weights[order].tolist(),
                intercepts=how.intercepts.tolist(),
                kinds=self.kind_of[order].tolist(),
            )
        return Selection(
            weights={self.names[i]: float(shares[i]) for i in order},
            score=self.metric(self.y, self.combined(how, every_row)),
            nested_score=self.metric(self.y, nested),
            nested_prediction=self.whole(nested),
            rule=rule,
            adjustment=how.adjustment,
        )

    def whole(self, prediction: FloatArray) -> FloatArray:
        """The prediction of all rows, with NaN for those without a fold."""
        whole = np.full((len(self.is_validated), *prediction.shape[1:]), np.nan)
        whole[self.is_validated] = prediction
        return whole

    def fold_scores(self, prediction: FloatArray) -> FloatArray:
        """(folds,) the scores of a prediction."""
        masks = [self.folds == fold for fold in self.fold_numbers]
        return np.array([self.metric.at(rows)(self.y[rows], prediction[rows]) for rows in masks])

    @cached_property
    def losses_by_fold(self) -> FloatArray:
        """(kinds, folds) the losses of each kind alone."""
        masks = [self.folds == fold for fold in self.fold_numbers]
        stacks = [self.by_kind(self.stack[:, rows]) for rows in masks]
        scores = [
            scores_of_stack(stack, self.y[rows], self.metric.at(rows))
            for stack, rows in zip(stacks, masks, strict=True)
        ]
        return self.metric.losses(np.stack(scores, axis=1))


def scores_of_stack(stack: FloatArray, y: FloatArray, metric: Metric) -> FloatArray:
    """(candidates,) the metric of every candidate of `stack` on its scale, vectorised where the metric can."""
    if y.ndim == 2 and not metric.is_joint:
        columns = (metric.of_one_target(stack[:, :, j]) for j in range(stack.shape[2]))
        return mean_of_targets([scores_of_stack(one, of_one, metric) for one, of_one in zip(columns, y.T, strict=True)])
    of_each = metric.vectorised(stack.shape)
    if of_each is None:
        return np.array([metric(y, inverse_transform(metric.scale, candidate)) for candidate in stack])
    return of_each(stack, transform_target(metric.scale, y))
