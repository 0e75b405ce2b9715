"""scikit-learn's trees: random forest, extra trees, histogram gradient boosting.

Knows arrays; must not know frames or storage. Histogram boosting has no importance: scikit-learn stores no gains, and
permutation importance would cost most of a fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.config.table import MOST_ROWS, Table, bounded
from pipeline.encoders.encoded import View
from pipeline.models.arrays.learners import (
    Arrays,
    FitRows,
    Job,
    ParamsLearner,
    all_classes,
    column_share_for,
    held_out,
    inner_loss,
    leaves_for,
    lr_for,
)
from pipeline.models.arrays.stored import estimator_of, stored

LOWEST = np.float32(-1e30)  # replaces a missing number: below every other
MOST_LEAVES = 1_000_000  # of a forest, so that a run's folder stays small
MOST_CATEGORIES = 255  # columns with more categories are treated as numbers
TREES_AT_ONCE, ROUNDS_AT_ONCE = 20, 100  # between two checks for a stop


class ForestParams(Table):
    """Parameters of `random_forest` and `extra_trees`."""

    n_trees: int = bounded(300, ge=1, le=20_000, usual="100 to 1000", description="number of trees")
    max_features: float = bounded(
        0.33, gt=0, le=1, usual="0.1 to 1", description="share of the columns considered at a split"
    )
    min_samples_leaf: int = bounded(2, ge=1, le=MOST_ROWS, usual="1 to 20", description="fewest rows in a leaf")


class _Forest(ParamsLearner[ForestParams]):
    """Independent trees, averaged."""

    view: View = "ordinal"
    is_seeded = True

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """The forest and its feature importances."""
        least = max(self.params.min_samples_leaf, len(rows.y) * self.params.n_trees // (2 * MOST_LEAVES))
        model = self._model(rows.is_regression)(
            max_features=self.params.max_features,
            min_samples_leaf=least,
            n_jobs=job.n_threads,
            random_state=job.seed,
            warm_start=True,  # same trees as a single fit
        )
        x = _without_missing(rows.x)
        for n_grown in range(0, self.params.n_trees, TREES_AT_ONCE):
            job.check_stop()
            if job.is_over(n_grown):
                break
            model.set_params(n_estimators=min(n_grown + TREES_AT_ONCE, self.params.n_trees))
            model.fit(x, rows.y, sample_weight=rows.weight)
        model.set_params(n_jobs=1)  # predictions of several threads are summed in any order
        importance = model.feature_importances_.astype(np.float32)  # before `_slim` clears its source
        _slim([tree.tree_ for tree in model.estimators_])
        member: Arrays = {"model": stored(model), "n_classes": np.array(rows.n_classes), "importance": importance}
        return job.marked(member)

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        return _prediction(member, _without_missing(x))

    def importance(self, member: Arrays) -> FloatArray:
        """The mean decrease of impurity."""
        return member["importance"].astype(np.float64)

    def _model(self, is_regression: bool) -> type[Any]:
        raise NotImplementedError


class RandomForest(_Forest):
    """Trees on bootstrapped rows."""

    def _model(self, is_regression: bool) -> type[Any]:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        model: type[Any] = RandomForestRegressor if is_regression else RandomForestClassifier
        return model


class ExtraTrees(_Forest):
    """Trees on all rows with random thresholds."""

    def _model(self, is_regression: bool) -> type[Any]:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        model: type[Any] = ExtraTreesRegressor if is_regression else ExtraTreesClassifier
        return model


def _prediction(member: Arrays, x: NDArray[np.float32]) -> FloatArray:
    """Values, or the probabilities of all classes."""
    model, n_classes = estimator_of(member["model"]), int(member["n_classes"])
    if n_classes:
        return all_classes(model.predict_proba(x), model.classes_, n_classes)
    values: FloatArray = model.predict(x)
    return values


def _slim(trees: Sequence[Any]) -> None:
    """Clear what prediction does not need and round the rest to float32: a third of the size on disk."""
    for tree in trees:
        is_leaf = tree.children_left < 0
        tree.impurity[:] = tree.n_node_samples[:] = tree.weighted_n_node_samples[:] = 0
        tree.value[:] = np.where(is_leaf[:, None, None], tree.value.astype(np.float32), 0.0)
        tree.threshold[:] = rounded_down(tree.threshold)


def rounded_down(threshold: FloatArray) -> NDArray[np.float32]:
    """The largest float32 not above the threshold: it splits float32 values the same way."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _without_missing(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isnan(x), LOWEST, x)


class HistogramParams(Table):
    """Parameters of `histogram_boosting`."""

    lr: float | None = bounded(
        None, ge=1e-6, le=1, usual="0.02 to 0.2", description="learning rate; default: by the number of rows"
    )
    max_leaves: int | None = bounded(
        None, ge=2, le=65_536, usual="8 to 128", description="leaves per tree; default: by the number of rows"
    )
    min_samples_leaf: int = bounded(10, ge=1, le=MOST_ROWS, usual="5 to 50", description="fewest rows in a leaf")
    l2: float = bounded(1.0, ge=0, le=1e6, usual="0 to 30", description="L2 penalty of leaf values")
    max_features: float | None = bounded(
        None,
        gt=0,
        le=1,
        usual="0.3 to 1",
        description="share of the columns considered at a split; default: by their number",
    )
    max_rounds: int = bounded(3000, ge=1, le=100_000, usual="100 to 5000", description="upper limit of rounds")
    patience: int = bounded(
        50,
        ge=1,
        le=100_000,
        usual="20 to 200",
        description="stop after this many rounds without a better loss on held-out rows",
    )
    held_parts: int = bounded(
        5,
        ge=2,
        le=20,
        usual="4 to 10",
        description="parts of the fit rows; one is held out to find the number of rounds",
    )


class HistogramBoosting(ParamsLearner[HistogramParams]):
    """Gradient boosting on binned columns with native categories.

    The number of rounds is chosen on a held-out part of the fit rows; then all fit rows are trained on. The fold's own
    valid rows are never used, so its score stays unbiased.
    """

    view: View = "ordinal"
    is_seeded = True

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """The model and the number of rounds."""
        n_rounds = job.n_rounds or self._rounds(rows, job)
        *_, model = self._growing(rows, job, n_rounds)
        return job.marked(
            {"model": stored(model), "n_classes": np.array(rows.n_classes), "n_rounds": np.array(model.n_iter_)}
        )

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        return _prediction(member, x)

    def _rounds(self, rows: FitRows, job: Job) -> int:
        """The best number of rounds on held-out rows, which scikit-learn's early stopping before 1.7 did not take."""
        n_parts = self.params.held_parts
        part, held = held_out(rows, n_parts, job.seed)
        of_search = job.within((n_parts - 1) / (2 * n_parts - 1))
        losses = [np.inf]  # by the number of rounds, from 0
        for model in self._growing(part, of_search, self.params.max_rounds):
            losses[1:] = _losses_by_round(model, held)
            n_losses = _n_until_stop(losses, self.params.patience)
            if n_losses < len(losses):
                del losses[n_losses:]
                break
        return max(1, int(np.argmin(losses)))

    def _growing(self, rows: FitRows, job: Job, n_rounds: int) -> Iterator[Any]:
        """Yield the model after every `ROUNDS_AT_ONCE` rounds."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        class_of: type[Any] = HistGradientBoostingRegressor if rows.is_regression else HistGradientBoostingClassifier
        categories = [column for column in rows.cardinality if len(np.unique(rows.x[:, column])) <= MOST_CATEGORIES]
        loss = {"loss": "absolute_error"} if rows.metric.loss == "mae" else {}
        model = class_of(
            **loss,
            learning_rate=self.params.lr or 1.5 * lr_for(len(rows.y)),
            max_leaf_nodes=self.params.max_leaves or leaves_for(len(rows.y), rows.is_regression),
            min_samples_leaf=min(self.params.min_samples_leaf, max(1, len(rows.y) // 10)),
            l2_regularization=self.params.l2,
            max_features=self.params.max_features or column_share_for(rows.x.shape[1]),
            categorical_features=sorted(categories) or None,
            early_stopping=False,
            random_state=job.seed,
            warm_start=True,  # same trees as a single fit
        )
        x = rows.x.copy()
        x[:, np.isnan(x).all(axis=0)] = 0.0  # an empty column has no bins
        n_grown = 0
        while n_grown < n_rounds:
            job.check_stop()
            n_grown = min(n_grown + ROUNDS_AT_ONCE, n_rounds)
            model.set_params(max_iter=n_grown)
            model.fit(x, rows.y, sample_weight=rows.weight)
            yield model
            if job.is_over(n_grown):
                return


def _losses_by_round(model: Any, held: FitRows) -> list[float]:
    if held.is_regression:
        stages = model.staged_predict(held.x)
        if model.loss == "squared_error":
            return [inner_loss(held, prediction) for prediction in stages]
        return [float(np.average(np.abs(prediction - held.y), weights=held.weights)) for prediction in stages]
    stages = model.staged_predict_proba(held.x)
    return [inner_loss(held, all_classes(one, model.classes_, held.n_classes)) for one in stages]


def _n_until_stop(losses: Sequence[float], patience: int) -> int:
    """How many losses there are when none of the last `patience` improves on the one before them; else all."""
    for n_losses in range(patience + 1, len(losses) + 1):
        before, *last = losses[n_losses - patience - 1 : n_losses]
        if min(last) >= before:
            return n_losses
    return len(losses)
