"""scikit-learn estimators: a preset, cross-validated on a DataFrame, that predicts with its fold models.

Knows scikit-learn's contract, frames and the stages; must not know how a model is fitted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from pipeline.api.calls import isolated
from pipeline.api.tabular import Tabular
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import DataError
from pipeline.metrics import Task


class TabularRegressor(RegressorMixin, Tabular):  # type: ignore[misc]
    """A scikit-learn regressor that cross-validates a preset of the pipeline on a table.

    `X` may contain numbers, bools, categories (dtype `category` or text), dates, long texts and missing values. The
    dtype of a column decides how it is treated; for text and whole numbers its values do. `predict` averages the models
    of the folds.

    Parameters
    ----------
    preset
        A built-in preset or the path of a .toml file. "best" makes an ensemble of as much as fits into `minutes`.
    model
        A model to use instead of the preset's, such as "ridge", "lightgbm" or "random_forest".
    minutes
        Time limit of preset "best"; None: 10.
    metric
        The metric that training targets and `cv_score_` reports, such as "mae"; None: "rmse". `score` returns R2.
    random_state
        An int makes results reproducible on a CPU. Preset "best" uses it for the folds only.
    params
        Parameters of the model, or dotted settings of the run: {"lr": 0.01, "features.rare_min_count": 5}.
    n_folds
        Number of folds; fewer if there are not enough rows.
    device
        "auto", "cuda", "mps" or "cpu".
    n_workers
        Number of threads; 0: one per core.
    verbose
        Print messages and progress to stderr.

    Attributes
    ----------
    oof_prediction_
        (rows,) or (rows, targets) out-of-fold predictions; NaN for rows of weight 0.
    cv_score_, fold_scores_
        The metric of all out-of-fold predictions, and of those of each fold.
    feature_names_in_, n_features_in_, metric_
        Column names (of a frame), number of columns, and the metric used.

    Examples
    --------
    >>> import pandas as pd
    >>> from pipeline import TabularRegressor
    >>> homes = pd.DataFrame({"area": range(40, 140), "town": ["Ames", "Boone"] * 50})
    >>> price = 1000 * homes["area"] + 9000 * (homes["town"] == "Ames")
    >>> regressor = TabularRegressor(model="ridge", metric="mae").fit(homes, price)
    >>> bool(regressor.cv_score_ < 1000)
    True
    >>> regressor.predict(pd.DataFrame({"area": [80], "town": ["Ames"]})).round(-3)
    array([89000.])
    """

    def _target(self, y: ArrayLike, is_used: NDArray[np.bool_]) -> tuple[Task, FloatArray]:
        target: FloatArray = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        check_consistent_length(target, is_used)
        target = target[is_used]
        return "regression", target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target

    @isolated
    def predict(self, X: ArrayLike) -> FloatArray:
        """Return (rows,) or (rows, targets) predictions."""
        return self._predicted(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class TabularClassifier(ClassifierMixin, Tabular):  # type: ignore[misc]
    """A scikit-learn classifier that cross-validates a preset of the pipeline on a table.

    Parameters and attributes are those of `TabularRegressor`, except that `metric` defaults to "accuracy", `score`
    always returns the accuracy, `oof_prediction_` holds probabilities (rows, classes), and `classes_` the labels in
    column order. If the metric calls for a decision threshold other than 0.5, probabilities are rescaled so that it
    becomes 0.5.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from pipeline import TabularClassifier
    >>> flowers = load_iris(as_frame=True)
    >>> classifier = TabularClassifier(model="logistic").fit(flowers.data, flowers.target_names[flowers.target])
    >>> bool(classifier.cv_score_ > 0.9)
    True
    >>> classifier.predict(flowers.data.head(2))
    array(['setosa', 'setosa'], dtype='<U10')
    >>> classifier.predict_proba(flowers.data.head(2)).shape
    (2, 3)
    """

    def _target(self, y: ArrayLike, is_used: NDArray[np.bool_]) -> tuple[Task, FloatArray]:
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        if pd.isna(labels).any():
            raise DataError("Input y contains NaN: every row needs a class", where="y")
        check_consistent_length(labels, is_used)
        self.classes_, codes = np.unique(labels[is_used], return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has only 1 class, {self.classes_.tolist()[0]!r}", where="y")
        return "binary" if len(self.classes_) == 2 else "multiclass", codes.astype(np.float64)

    @isolated
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return (rows, classes) probabilities in the order of `classes_`."""
        return self._predicted(X)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row."""
        codes = self.predict_proba(X).argmax(axis=1)  # first: it checks that the estimator is fitted
        return np.asarray(self.classes_[codes])
