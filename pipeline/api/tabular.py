"""What both scikit-learn estimators share: fit, storage, and the checks of a table.

Knows scikit-learn's contract, frames and the stages; must not know classes or how a model is fitted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.api.calls import choice_of, isolated
from pipeline.api.frames import raw_frame, write_features
from pipeline.base import files
from pipeline.base.arrays import FloatArray
from pipeline.base.errors import ArtifactError, DataError, SpecError
from pipeline.base.version import VERSION
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import RawTable
from pipeline.competition.tables.typed import ColumnRecipe, type_new_rows
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.artifact import Artifact, Score
from pipeline.config.run_report import RunReport
from pipeline.config.types import Label
from pipeline.encoders.table import EncodingCache
from pipeline.metrics import DEFAULT_METRIC, Task
from pipeline.scoring.cross_validation import predictions_of
from pipeline.scoring.fitted_run import FittedRun
from pipeline.scoring.stored_run import load_run
from pipeline.stages import steps
from pipeline.stages.best import make_best
from pipeline.stages.final import make_final
from pipeline.stages.train import train_run

FILE = "estimator.json"
DEFAULT_MINUTES = 10.0


class SavedEstimator(Artifact):
    """`estimator.json`: a fitted estimator without its models."""

    WHAT: ClassVar[str] = "a fitted estimator"
    REMEDY: ClassVar[str] = "Save the estimator again."

    format: Literal[1] = 1
    estimator: str
    version: str
    params: dict[str, Any]
    names: list[str] | None  # of columns; None if X had no names
    n_features: int
    recipes: list[ColumnRecipe]
    classes: list[Label]  # [] for regression
    classes_dtype: str
    metric: str
    cv_score: Score
    fold_scores: list[Score]


class Tabular(BaseEstimator):  # type: ignore[misc]
    """The part common to both estimators."""

    def __init__(
        self,
        preset: str = "fast",
        model: str | None = None,
        minutes: float | None = None,
        metric: str | None = None,
        random_state: int | np.random.RandomState | None = 0,
        *,
        params: Mapping[str, Any] | None = None,
        n_folds: int = 5,
        device: str = "auto",
        n_workers: int = 0,
        verbose: bool = False,
    ) -> None:
        self.preset, self.model, self.minutes, self.metric = preset, model, minutes, metric
        self.random_state, self.params, self.n_folds = random_state, params, n_folds
        self.device, self.n_workers, self.verbose = device, n_workers, verbose

    @isolated
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Cross-validate on `X` (rows, columns) and `y`, and keep the fold models or models refitted on all rows.

        `sample_weight` (rows,) applies to the loss only: scores weight all rows equally. Rows of weight 0 are left out.
        """
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        frame = self._frame(X, is_fit=True)
        weight = _weights(sample_weight, len(frame))
        is_used = weight > 0.0
        task, target = self._target(y, is_used)
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        self.metric_ = self.metric or DEFAULT_METRIC[task]
        folds = self._folds(task, target) | {"seed": int(seed)}
        settings = {"task": task, "metric": self.metric_, "folds": folds}
        used_weight = None if sample_weight is None else weight[is_used]
        with tempfile.TemporaryDirectory(prefix="tabular-") as folder:
            workspace = Workspace(Path(folder), "table")
            try:
                store = write_features(
                    workspace, frame[is_used], target, used_weight, settings, is_metric_given=self.metric is not None
                )
                self._keep(store, self._run(store, int(seed)), is_used)
            except DataError as error:
                where = error.where.replace(str(workspace.raw / "train.parquet"), "X, y")
                raise DataError(error.what, where=where, hint=error.hint) from None
        return self

    def _run(self, store: FeatureStore, seed: int) -> RunFolder:
        context = steps.fit_context(self.device, self.n_workers)
        if self.preset == "best":
            if self.model is not None or self.params:
                raise SpecError("preset best chooses models and their settings itself", where="model, params")
            return make_best(store, context, minutes=self.minutes or DEFAULT_MINUTES).run
        if self.minutes is not None:
            raise SpecError("only preset best has a time limit", where="minutes", hint='Set preset="best".')
        settings = {"seed": seed, **(self.params or {})}
        config = steps.run_configuration(store.workspace, choice_of(self.preset, self.model, settings))
        run = train_run(store, config, context)
        if config.final == "refit":
            make_final(store, config, run, context)
        return run

    def _keep(self, store: FeatureStore, run: RunFolder, is_used: NDArray[np.bool_]) -> None:
        report = RunReport.read(run.report)
        self.cv_score_, self.fold_scores_ = report.cv_score, np.array(report.fold_scores)
        oof = predictions_of(files.read_parquet(run.oof), is_classification=store.spec.task != "regression")
        self.oof_prediction_ = np.full((len(is_used), *oof.shape[1:]), np.nan)
        self.oof_prediction_[is_used] = oof
        self._recipes, self._fitted_run = store.manifest.recipes, load_run(store, run)

    def _frame(self, X: Any, *, is_fit: bool) -> pd.DataFrame:
        """`X` as a frame with `str` column names, which `fit` records and `predict` checks."""
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        if not isinstance(X, pd.DataFrame):
            array = validate_data(self, X, reset=is_fit, dtype=None, ensure_all_finite=False)
            return pd.DataFrame(array).add_prefix("x").infer_objects()
        validate_data(self, X, reset=is_fit, skip_check_array=True)
        if X.empty:
            raise DataError(f"there are {X.shape[0]} rows and {X.shape[1]} columns", where="X")
        return X.rename(columns=str)

    def _target(self, y: ArrayLike, is_used: NDArray[np.bool_]) -> tuple[Task, FloatArray]:
        raise NotImplementedError

    def _folds(self, task: Task, target: FloatArray) -> dict[str, object]:
        """Keys of `[folds]`: `n_folds`, or as many as there are rows, or rows of the rarest class."""
        if self.n_folds < 2:
            raise SpecError(f"n_folds is {self.n_folds}; cross-validation needs 2 or more", where="n_folds")
        if len(target) < 2:
            raise DataError("n_samples=1: one row cannot be cross-validated", where="X, y")
        rarest = len(target) if task == "regression" else int(np.unique(target, return_counts=True)[1].min())
        if task == "binary" and rarest < 2:
            label = self.classes_[int(np.bincount(target.astype(np.int64)).argmin())]
            raise DataError(f"the class {label!s} has 1 row; cross-validation needs 2", where="y")
        if task == "regression" or rarest < 2:
            return {"kind": "shuffled", "number": min(self.n_folds, len(target))}
        return {"kind": "stratified", "number": min(self.n_folds, rarest)}

    def _predicted(self, X: ArrayLike) -> FloatArray:
        check_is_fitted(self)
        rows = RawTable(Path("X"), raw_frame(self._frame(X, is_fit=False)))
        typed = type_new_rows(rows, self._recipes)
        return self._fitted_run.predict(lambda _: typed, EncodingCache())

    def save(self, folder: str | Path) -> None:
        """Write the fitted estimator to a folder as JSON, safetensors and npz, which load without running code."""
        check_is_fitted(self)
        path = Path(folder)
        self._fitted_run.save(path / "run")
        files.write_npy(path / "oof_prediction.npy", self.oof_prediction_)
        params = self.get_params() | ({} if isinstance(self.random_state, int) else {"random_state": None})
        names, classes = getattr(self, "feature_names_in_", None), getattr(self, "classes_", None)
        SavedEstimator(
            estimator=type(self).__name__,
            version=VERSION,
            params=params,
            names=None if names is None else names.tolist(),
            n_features=self.n_features_in_,
            recipes=self._recipes,
            classes=[] if classes is None else classes.tolist(),
            classes_dtype="" if classes is None else classes.dtype.str,
            metric=self.metric_,
            cv_score=self.cv_score_,
            fold_scores=self.fold_scores_.tolist(),
        ).write(path / FILE)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an estimator that `save` wrote. Raises ArtifactError."""
        path = Path(folder)
        saved = SavedEstimator.read(path / FILE)
        if saved.estimator != cls.__name__:
            raise ArtifactError(f"holds a {saved.estimator}, not a {cls.__name__}", where=str(path / FILE))
        loaded = cls(**saved.params)
        if saved.names is not None:
            loaded.feature_names_in_ = np.array(saved.names, dtype=object)
        if saved.classes:
            loaded.classes_ = np.array(saved.classes, dtype=saved.classes_dtype)
        loaded.n_features_in_, loaded.metric_, loaded._recipes = saved.n_features, saved.metric, saved.recipes
        loaded.cv_score_, loaded.fold_scores_ = saved.cv_score, np.array(saved.fold_scores)
        loaded.oof_prediction_ = files.read_npy(path / "oof_prediction.npy")
        loaded._fitted_run = FittedRun.load(path / "run")
        return loaded

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.non_deterministic = self.preset == "best"  # it trains as much as the time allows
        return tags


def _weights(given: ArrayLike | None, n_rows: int) -> FloatArray:
    """(rows,) the weights as finite numbers >= 0; 1 for all rows if none are given. Raises ValueError."""
    if given is None:
        return np.ones(n_rows)
    weights: FloatArray = check_array(given, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weights.shape != (n_rows,):
        raise ValueError(f"sample_weight has the shape {weights.shape}; expected ({n_rows},)")
    if (weights < 0).any():
        raise ValueError("sample_weight has negative values")
    if not weights.any():
        raise ValueError("all values of sample_weight are zero")
    return weights
