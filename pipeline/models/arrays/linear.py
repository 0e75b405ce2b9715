"""Linear models: ridge, lasso, elastic net, Huber, logistic; the penalty is chosen on inner folds.

Knows arrays; must not know frames or storage. For classes, ridge, lasso and elastic net are logistic regressions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.config.table import Table, bounded
from pipeline.encoders.target import softmax
from pipeline.models.arrays.learners import Arrays, FitRows, Job, ParamsLearner, inner_loss, inner_splits

INNER_FOLDS = 5
MOST_ITERATIONS = 2000
RIDGE_ALPHAS = np.geomspace(0.1, 1e4, 16)
LOGISTIC_CS = np.geomspace(1e-3, 30.0, 10)
HUBER_ALPHAS = (0.1, 3.0, 30.0)


class LinearParams(Table):
    """Parameters of `ridge`, `lasso`, `elastic_net`, `huber` and `logistic`."""

    alpha: float | None = bounded(
        None,
        ge=1e-6,
        le=1e9,
        usual="0.01 to 1000",
        description="penalty; default: chosen by inner cross-validation",
    )
    l1_shares: tuple[Annotated[float, Field(ge=0.01, le=1)], ...] = Field(
        default=(0.1, 0.5, 0.9),
        min_length=1,
        max_length=20,
        description="of elastic_net: shares of the L1 penalty to try",
        json_schema_extra={"usual": "0.1 to 1"},
    )
    epsilon: float = bounded(
        1.35,
        gt=1.0,
        le=100.0,
        usual="1.1 to 2",
        description="of huber: errors above this many deviations count linearly",
    )


class _Linear(ParamsLearner[LinearParams]):
    """A coefficient per column and output, and an intercept per output."""

    name = ""
    tasks: Literal["any", "regression", "classes"] = "any"

    def fit(self, rows: FitRows, job: Job) -> Arrays:
        """Coefficients (columns, outputs) and intercepts (outputs,)."""
        if self.tasks != "any" and (self.tasks == "regression") != rows.is_regression:
            wanted = "numbers, not classes" if self.tasks == "regression" else "classes, not numbers"
            raise SpecError(f"the model {self.name!r} predicts {wanted}", hint="--model ridge predicts both.")
        if not rows.is_regression:
            return self._fit_classes(rows, job)
        coefficients, intercept = self._fit_numbers(rows, job)
        return _member(coefficients[:, None], np.array([intercept]))

    def predict(self, member: Arrays, x: NDArray[np.float32]) -> FloatArray:
        """Values, or the classes' probabilities."""
        outputs = x.astype(np.float64) @ member["coefficients"] + member["intercept"]
        return softmax(outputs) if outputs.shape[1] > 1 else outputs[:, 0]

    def importance(self, member: Arrays) -> FloatArray:
        """Sums of absolute coefficients."""
        sums: FloatArray = np.abs(member["coefficients"]).sum(axis=1)
        return sums

    def _fit_numbers(self, rows: FitRows, job: Job) -> tuple[FloatArray, float]:
        raise NotImplementedError

    def _fit_classes(self, rows: FitRows, job: Job) -> Arrays:
        return _logistic_path(rows, job, _given(self.params.alpha, LOGISTIC_CS), l1_shares=(0.0,))


class Ridge(_Linear):
    """L2 penalty, chosen by leave-one-out error."""

    name = "ridge"

    def _fit_numbers(self, rows: FitRows, job: Job) -> tuple[FloatArray, float]:  # noqa: ARG002
        from sklearn.linear_model import RidgeCV

        alphas = RIDGE_ALPHAS if self.params.alpha is None else np.array([self.params.alpha])
        model = RidgeCV(alphas=alphas).fit(rows.x.astype(np.float64), rows.y, sample_weight=rows.weight)
        return model.coef_, float(model.intercept_)


class ElasticNet(_Linear):
    """L1 and L2 penalty, chosen on inner folds along the path."""

    name = "elastic_net"
    n_alphas = 40

    @property
    def l1_shares(self) -> tuple[float, ...]:
        """Shares of the L1 penalty to try."""
        return self.params.l1_shares

    def _fit_numbers(self, rows: FitRows, job: Job) -> tuple[FloatArray, float]:
        from sklearn.linear_model import ElasticNetCV

        x = rows.x.astype(np.float64)
        weight = rows.weights / rows.weights.mean()
        steepest = np.abs((x - np.average(x, axis=0, weights=weight)).T @ (weight * rows.y)).max() / len(x)
        best: tuple[float, Any] | None = None
        for share in self.l1_shares:
            job.check_stop()
            largest = max(steepest / share, 1e-8)
            if self.params.alpha is None:
                alphas = np.geomspace(largest, largest * 1e-3, self.n_alphas)
            else:
                alphas = np.array([self.params.alpha])
            model = ElasticNetCV(
                l1_ratio=share,
                alphas=alphas,
                cv=list(inner_splits(rows, INNER_FOLDS, job.seed)),
                max_iter=MOST_ITERATIONS,
                tol=1e-3,
            ).fit(x, rows.y, sample_weight=weight)
            error = float(model.mse_path_.mean(axis=-1).min())
            if best is None or error < best[0]:
                best = error, model
        assert best is not None, "there is a share"
        return best[1].coef_, float(best[1].intercept_)

    def _fit_classes(self, rows: FitRows, job: Job) -> Arrays:
        return _logistic_path(rows, job, _given(self.params.alpha, LOGISTIC_CS), l1_shares=self.l1_shares)


class Lasso(ElasticNet):
    """L1 penalty."""

    name = "lasso"
    n_alphas = 60

    @property
    def l1_shares(self) -> tuple[float, ...]:
        """L1 only."""
        return (1.0,)


class Huber(_Linear):
    """Loss that is linear for large errors, so that outliers weigh less; L2 penalty chosen on inner folds."""

    name = "huber"
    tasks = "regression"

    def _fit_numbers(self, rows: FitRows, job: Job) -> tuple[FloatArray, float]:
        from sklearn.linear_model import HuberRegressor

        def fitted(part: FitRows, alpha: float) -> Any:
            model = HuberRegressor(epsilon=self.params.epsilon, alpha=alpha, max_iter=300, tol=1e-3)
            return model.fit(part.x.astype(np.float64), part.y, sample_weight=part.weight)

        def loss(alpha: float, inside: FitRows, outside: FitRows) -> float:
            return inner_loss(outside, fitted(inside, alpha).predict(outside.x.astype(np.float64)))

        alphas = HUBER_ALPHAS if self.params.alpha is None else (self.params.alpha,)
        model = fitted(rows, _best(alphas, rows, job, loss))
        return model.coef_, float(model.intercept_)


class Logistic(_Linear):
    """Logistic or softmax regression; L2 penalty chosen on inner folds."""

    name = "logistic"
    tasks = "classes"


def _given(alpha: float | None, choices: FloatArray) -> FloatArray:
    """scikit-learn's C is the inverse of the penalty."""
    return choices if alpha is None else np.array([1.0 / alpha])


def _member(coefficients: FloatArray, intercept: FloatArray) -> Arrays:
    return {"coefficients": coefficients.astype(np.float32), "intercept": intercept.astype(np.float64)}


def _best(choices: Sequence[Any], rows: FitRows, job: Job, loss: Callable[[Any, FitRows, FitRows], float]) -> Any:
    """The choice with the lowest mean loss on inner folds."""
    if len(choices) == 1:
        return choices[0]
    parts = [(rows.take(i), rows.take(o)) for i, o in inner_splits(rows, INNER_FOLDS, job.seed)]

    def mean_loss(choice: Any) -> float:
        job.check_stop()
        return float(np.mean([loss(choice, *part) for part in parts]))

    return min(choices, key=mean_loss)


def _logistic_path(rows: FitRows, job: Job, cs: FloatArray, l1_shares: Sequence[float]) -> Arrays:
    """Softmax regression; C and the share of the L1 penalty are chosen by log loss on inner folds."""
    from sklearn.linear_model import LogisticRegression

    def model_of(c: float, share: float) -> Any:
        if share == 0.0:
            return LogisticRegression(C=c, max_iter=MOST_ITERATIONS, tol=1e-5, warm_start=True)
        return LogisticRegression(
            C=c, l1_ratio=share, solver="saga", max_iter=300, tol=1e-3, warm_start=True, random_state=job.seed
        )

    def outputs(model: Any, x: NDArray[np.float32]) -> FloatArray:
        coefficients, intercept = of_classes(model, rows.n_classes)
        return softmax(x.astype(np.float64) @ coefficients + intercept)

    choices = [(float(c), share) for share in l1_shares for c in np.sort(cs)]
    best = choices[0]
    if len(choices) > 1:
        losses = np.zeros(len(choices))
        for inside, outside in inner_splits(rows, INNER_FOLDS, job.seed):
            part, held = rows.take(inside), rows.take(outside)
            model: Any = None
            for number, (c, share) in enumerate(choices):
                if model is None or share != choices[number - 1][1]:
                    model = model_of(c, share)
                job.check_stop()
                model.set_params(C=c)
                model.fit(part.x.astype(np.float64), part.y, sample_weight=part.weight)
                losses[number] += inner_loss(held, outputs(model, held.x))
        best = choices[int(losses.argmin())]
    final = model_of(*best).fit(rows.x.astype(np.float64), rows.y, sample_weight=rows.weight)
    return _member(*of_classes(final, rows.n_classes))


def of_classes(model: Any, n_classes: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients (columns, classes) and intercepts; classes absent from the fit rows get probability 0."""
    coefficients, intercept = model.coef_.T, model.intercept_
    if coefficients.shape[1] == 1:  # two classes: scikit-learn stores those of the second
        coefficients = np.column_stack([np.zeros(len(coefficients)), coefficients[:, 0]])
        intercept = np.array([0.0, intercept[0]])
    full, biases = np.zeros((len(coefficients), n_classes)), np.full(n_classes, -1e3)
    present = model.classes_.astype(np.int64)
    full[:, present], biases[present] = coefficients, intercept
    return full, biases
