"""Learners with a radial kernel: kernel ridge and support vectors.

Knows arrays; must not know frames or storage. Class probabilities are a logistic map of out-of-fold outputs (Platt
1999, for any number of classes): its log loss is 10 % below that of CalibratedClassifierCV for several classes, and
equal for two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.config.table import Table, bounded
from pipeline.encoders.target import class_indicators, softmax
from pipeline.models.arrays.learners import Arrays, FitRows, Job, ParamsLearner, inner_loss, inner_splits

INNER_FOLDS = 3
RIDGE_ALPHAS = np.geomspace(1e-3, 10.0, 9)
ROWS_FOR_WIDTH = 1200
BLOCK = 2048  # rows of the kernel in memory at a time


def _gamma_unit(x: NDArray[np.float32]) -> float:
    """1 / (columns x variance): scikit-learn's `gamma="scale"`."""
    return float(1.0 / (x.shape[1] * max(float(x.var(dtype=np.float64)), 1e-12)))


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, n_rows, BLOCK)]


def _fit_calibration(rows: FitRows, outputs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit the map from outputs (rows, k) to class scores: slopes (k, classes), intercepts (classes,)."""
    from sklearn.linear_model import LogisticRegression

    from pipeline.models.arrays.linear import of_classes

    model = LogisticRegression(C=10.0, max_iter=1000).fit(outputs, rows.y, sample_weight=rows.weight)
    return of_classes(model, rows.n_classes)


def _kernel(x: NDArray[np.float32], points: FloatArray, gamma: float) -> FloatArray:
    """(rows, points)."""
    from sklearn.metrics.pairwise import rbf_kernel

    of_rows: FloatArray = rbf_kernel(x.astype(np.float64), points, gamma=gamma)
    return of_rows


def _outputs(member: Arrays, x: NDArray[np.float32]) -> FloatArray:
    """(rows, outputs)."""
    centres, dual = member["centres"].astype(np.float64), member["dual"].astype(np.float64)
    outputs = np.empty((len(x), dual.shape[1]))
    if not len(centres):  # support vectors, if no error exceeds epsilon
        outputs[:] = member["intercept"]
        return outputs
    for block in _blocks(len(x)):
        outputs[block] = _kernel(x[block], centres, float(member["gamma"])) @ dual + member["intercept"]
    return outputs


def _prediction(member: Arrays, x: NDArray[np.float32]) -> FloatArray:
    """Class probabilities if the member has a logistic map, else its only output."""
    outputs = _outputs(member, x)
    return softmax(outputs @ member["slopes"] + member["biases"]) if "slopes" in member else outputs[:, 0]


class KernelParams(Table):
    """Parameters of `kernel_ridge` and `svm`."""

    gammas: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] = Field(
        default=(0.03, 0.1, 0.3),
        min_length=1,
        max_length=20,
        description="kernel widths to try, in units of 1 / (columns x variance)",
        json_schema_extra={"usual": "0.01 to 1"},
    )
    penalties: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] = Field(
        default=(1.0, 3.0, 10.0),
        min_length=1,
        max_length=20,
        description="of svm: values of C to try",
        json_schema_extra={"usual": "0.1 to 100"},
    )
    epsilon: float = bounded(
        0.1,
        ge=0,
        le=100,
        usual="0.01 to 0.3",
        description="of svm: errors below this cost nothing, in standard deviations of the target",
    )
    max_rows: int = bounded(
        1500,
        ge=10,
        le=30_000,
        usual="500 to 5000",
        description="most rows used as centres; larger tables are sampled",
    )


class KernelRidge(ParamsLearner[KernelParams]):
    """Ridge regression on a radial kernel; tables of more than `max_rows` rows use that many centres (Nyström)."""

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """Choose the width by leave-one-out error on a sample, then the penalty on all rows."""
        unit = _gamma_unit(rows.x)
        some = rows.at_most(ROWS_FOR_WIDTH, job.seed)
        tried = [_fitted_ridge(some, some.x, factor * unit, job) for factor in self.params.gammas]
        _, member, left_out = min(tried, key=lambda fitted: fitted[0])
        if len(rows.y) > min(len(some.y), self.params.max_rows):
            centres = rows.at_most(self.params.max_rows, job.seed + 1).x
            _, member, left_out = _fitted_ridge(rows, centres, float(member["gamma"]), job)
        if not rows.is_regression:
            member["slopes"], member["biases"] = _fit_calibration(rows, left_out)
        return member

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        return _prediction(member, x)


def _fitted_ridge(
    rows: FitRows, centres: NDArray[np.float32], gamma: float, job: Job
) -> tuple[float, Arrays, FloatArray]:
    """Ridge with an intercept, penalty by leave-one-out error: error, member, left-out predictions (rows, outputs).

    Equal to scikit-learn's Nystroem with RidgeCV, which take twice the time on 8,000 rows and hold several copies of
    the whole kernel; here it is computed twice, block by block.

    With V diag(s) Vᵀ the weighted covariance of the whitened kernel and p a row's projection on V, the row's leverage
    is its share of the weight plus w pᵀ diag(1 / (s + a)) p; its left-out residual is the residual over 1 - leverage
    (Allen's PRESS).
    """
    points = centres.astype(np.float64)
    y = rows.y[:, None] if rows.is_regression else class_indicators(rows.y.astype(np.int64), rows.n_classes)
    weight = rows.weights
    share = weight / weight.sum()
    mean = share @ y
    values, vectors = np.linalg.eigh(_kernel(centres, points, gamma))
    kept = values > 1e-8 * values[-1]
    root = vectors[:, kept] / np.sqrt(values[kept])

    def kernel(block: slice) -> FloatArray:
        job.check_stop()
        return _kernel(rows.x[block], points, gamma)

    n_points = len(points)
    centre, gram, cross = np.zeros(n_points), np.zeros((n_points, n_points)), np.zeros((n_points, y.shape[1]))
    for block in _blocks(len(y)):
        of_block = kernel(block)
        centre += share[block] @ of_block
        weighted = (of_block * weight[block, None]).T
        gram += weighted @ of_block
        cross += weighted @ (y[block] - mean)
    gram -= weight.sum() * np.outer(centre, centre)
    values, vectors = np.linalg.eigh(root.T @ gram @ root)
    projection = root @ vectors  # (centres, components)
    shrunk = 1.0 / (np.maximum(values, 0.0)[:, None] + RIDGE_ALPHAS)  # (components, penalties)
    weights = shrunk[:, :, None] * (projection.T @ cross)[:, None, :]  # (components, penalties, outputs)
    left_out = np.empty((len(y), *weights.shape[1:]))
    for block in _blocks(len(y)):
        projected = (kernel(block) - centre) @ projection
        fitted = mean + (projected @ weights.reshape(len(weights), -1)).reshape(-1, *weights.shape[1:])
        leverage = weight[block, None] * ((projected**2) @ shrunk) + share[block, None]
        residual = (y[block, None, :] - fitted) / np.maximum(1.0 - leverage, 1e-3)[:, :, None]
        left_out[block] = y[block, None, :] - residual
    errors = np.einsum("i,iao->a", share, (y[:, None, :] - left_out) ** 2)
    best = int(errors.argmin())
    dual = projection @ weights[:, best]
    intercept = mean - centre @ dual
    member = {"centres": centres, "gamma": np.array(gamma), "dual": dual.astype(np.float32), "intercept": intercept}
    return float(errors[best]), member, left_out[:, best]


class SupportVectors(ParamsLearner[KernelParams]):
    """Support vector regression or classification with a radial kernel; width and C by inner folds."""

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """Support vectors and dual weights; at most five times `max_rows` rows are used."""
        rows = rows.at_most(5 * self.params.max_rows, job.seed)
        unit = _gamma_unit(rows.x)
        choices = [(gamma * unit, c) for gamma in self.params.gammas for c in self.params.penalties]
        tried = rows.at_most(self.params.max_rows, job.seed + 1)
        parts = list(inner_splits(tried, INNER_FOLDS, job.seed))
        losses = [self._loss(tried, parts, *choice, job)[0] for choice in choices]
        gamma, c = choices[int(np.argmin(losses))]
        model = self._model(rows, gamma, c)
        member = {"gamma": np.array(gamma), "centres": model.support_vectors_.astype(np.float32)}
        if rows.is_regression:
            return {**member, "dual": model.dual_coef_.T.astype(np.float32), "intercept": model.intercept_}
        _, outputs = self._loss(tried, parts, gamma, c, job)
        slopes, biases = _fit_calibration(tried, outputs)
        dual, intercept = _one_against_one(model)
        return {**member, "dual": dual, "intercept": intercept, "slopes": slopes, "biases": biases}

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        return _prediction(member, x)

    def _model(self, rows: FitRows, gamma: float, c: float) -> Any:
        from sklearn.svm import SVC, SVR

        if rows.is_regression:
            model = SVR(gamma=gamma, C=c, epsilon=self.params.epsilon, cache_size=500)
        else:
            model = SVC(gamma=gamma, C=c, decision_function_shape="ovo", cache_size=500)
        return model.fit(rows.x.astype(np.float64), rows.y, sample_weight=rows.weight)

    def _loss(
        self,
        rows: FitRows,
        parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
        gamma: float,
        c: float,
        job: Job,
    ) -> tuple[float, FloatArray]:
        """Loss of the out-of-fold outputs on inner folds, and the outputs (rows, k)."""
        n_classes = len(np.unique(rows.y))
        n_outputs = 1 if rows.is_regression else n_classes * (n_classes - 1) // 2
        outputs = np.zeros((len(rows.y), n_outputs))
        for inside, outside in parts:
            job.check_stop()
            model = self._model(rows.take(inside), gamma, c)
            x = rows.x[outside].astype(np.float64)
            held = model.predict(x) if rows.is_regression else model.decision_function(x)
            held = held.reshape(len(outside), -1)
            if held.shape[1] == n_outputs:  # else a class is absent from the inside rows
                outputs[outside] = held
        if rows.is_regression:
            return inner_loss(rows, outputs[:, 0]), outputs
        slopes, biases = _fit_calibration(rows, outputs)
        return inner_loss(rows, softmax(outputs @ slopes + biases)), outputs


def _one_against_one(model: Any) -> tuple[NDArray[np.float32], FloatArray]:
    """libsvm's dual weights (classes - 1, vectors) as one column per pair of classes, with `decision_function`'s sign.

    One matrix product is 8 times faster than `decision_function`.
    """
    n_classes = len(model.classes_)
    starts = np.concatenate([[0], np.cumsum(model.n_support_)])
    pairs = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]
    dual = np.zeros((len(model.support_vectors_), len(pairs)), dtype=np.float32)
    for pair, (i, j) in enumerate(pairs):
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        dual[of_i, pair] = model.dual_coef_[j - 1, of_i]
        dual[of_j, pair] = model.dual_coef_[i, of_j]
    return dual, model.intercept_
