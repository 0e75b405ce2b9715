"""Gradient boosting by XGBoost.

Knows arrays and its library; must not know the other libraries, frames or storage.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.arrays.boosting import Boosting
from pipeline.models.arrays.learners import FitRows, Job


class XGBoost(Boosting):
    """Level-wise trees on histograms; native categories; CUDA for many rows."""

    library = "xgboost"

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "reg:squarederror", "mae": "reg:absoluteerror", "huber": "reg:pseudohubererror"}
        n_present = len(np.unique(rows.y))
        params = {
            "objective": losses[self.loss(rows)] if rows.is_regression else "binary:logistic",
            "eta": sizes.lr,
            "max_depth": sizes.depth,
            "min_child_weight": self.params.min_samples_leaf * (1.0 if rows.is_regression else 0.2),
            "subsample": self.params.row_share,
            "colsample_bytree": sizes.column_share,
            "lambda": self.params.l2,
            "max_cat_to_onehot": self.params.one_hot_max,
            "tree_method": "hist",
            "max_bin": self.bins(rows) + 1,
            "device": "cuda" if self.uses_gpu(rows, job) else "cpu",
            "seed": job.seed,
            "nthread": job.n_threads,
            "verbosity": 0,
        }
        if rows.n_classes and n_present > 2:
            params |= {"objective": "multi:softprob", "num_class": n_present}

        class LookAtStop(library.callback.TrainingCallback):  # type: ignore[misc, name-defined]
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
                return job.stop.is_set() or job.is_over(epoch + 1)

        def matrix(part: FitRows) -> Any:
            label = part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y)
            return _dmatrix(library, part.x, sorted(part.cardinality), label, part.weight, job.n_threads)

        if held is None:
            model = library.train(params, matrix(rows), n_rounds, callbacks=[LookAtStop()])
            return model, int(model.num_boosted_rounds())
        model = library.train(
            params,
            matrix(rows),
            n_rounds,
            evals=[(matrix(held), "held")],
            early_stopping_rounds=sizes.patience,
            verbose_eval=False,
            callbacks=[LookAtStop()],
        )
        job.check_stop()
        n_best = int(model.best_iteration) + 1
        return model[:n_best], n_best

    def _bytes(self, model: Any) -> bytes:
        return bytes(model.save_raw("ubj"))

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.Booster({"device": "cpu"}, model_file=bytearray(stored))
        raw = model.predict(_dmatrix(library, x, categories.tolist()), output_margin=True)
        return np.asarray(raw, dtype=np.float64)

    def _contributions(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.Booster({"device": "cpu"}, model_file=bytearray(stored))
        added = model.predict(_dmatrix(library, x, categories.tolist()), pred_contribs=True)
        return np.asarray(added, dtype=np.float64)

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains = np.zeros(n_columns)
        for name, gain in model.get_score(importance_type="total_gain").items():
            gains[int(name.removeprefix("f"))] = gain
        return gains


def _dmatrix(
    library: ModuleType,
    x: NDArray[np.float32],
    categories: list[int],
    label: NDArray[Any] | None = None,
    weight: FloatArray | None = None,
    n_threads: int | None = None,
) -> Any:
    types = ["c" if column in categories else "q" for column in range(x.shape[1])]
    names = [f"f{column}" for column in range(x.shape[1])]
    return library.DMatrix(
        x,
        label=label,
        weight=weight,
        feature_types=types,
        feature_names=names,
        enable_categorical=True,
        nthread=n_threads,
    )
