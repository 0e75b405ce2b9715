"""Gradient boosting by CatBoost.

Knows arrays and its library; must not know the other libraries, frames or storage.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.arrays.boosting import BINS, Boosting
from pipeline.models.arrays.learners import FitRows, Job

MOST_ON_GPU = 254  # borders of a column
LARGEST_COUNT = 65_534


class CatBoost(Boosting):
    """Symmetric trees with ordered target statistics of categories; CUDA for many rows."""

    library = "catboost"
    lr_factor = 2.0  # its rounds are slow

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "RMSE", "mae": "MAE", "huber": "Huber:delta=1.0"}
        n_present = len(np.unique(rows.y))
        of_classes = "MultiClass" if n_present > 2 else "Logloss"
        on_gpu = self.uses_gpu(rows, job)
        params = {
            "loss_function": losses[self.loss(rows)] if rows.is_regression else of_classes,
            "learning_rate": sizes.lr,
            "depth": sizes.depth,
            "l2_leaf_reg": self.params.l2,
            "bootstrap_type": "Bernoulli",
            "subsample": self.params.row_share,
            "border_count": min((self.params.bins or BINS) - 1, MOST_ON_GPU if on_gpu else LARGEST_COUNT),
            "one_hot_max_size": self.params.one_hot_max,
            "iterations": n_rounds,
            "random_seed": job.seed,
            "thread_count": job.n_threads,
            "task_type": "GPU" if on_gpu else "CPU",
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        if not on_gpu:
            params["rsm"] = sizes.column_share
            params["boosting_type"] = "Plain"

        class LookAtStop:
            def after_iteration(self, info: Any) -> bool:
                return not job.stop.is_set() and not job.is_over(info.iteration)

        def pool(part: FitRows) -> Any:
            label = part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y)
            return library.Pool(
                _mixed(part.x, sorted(part.cardinality)), label, sorted(part.cardinality), weight=part.weight
            )

        model = library.CatBoost(params)
        callbacks = {} if on_gpu else {"callbacks": [LookAtStop()]}
        if held is None:
            model.fit(pool(rows), **callbacks)
            return model, int(model.tree_count_)
        model.fit(
            pool(rows),
            eval_set=pool(held),
            early_stopping_rounds=sizes.patience,
            use_best_model=True,
            **callbacks,
        )
        return model, int(model.tree_count_)

    def _bytes(self, model: Any) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.cbm"
            model.save_model(str(file))
            return file.read_bytes()

    def _raw(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.CatBoost()
        model.load_model(blob=stored)
        raw = model.predict(_mixed(x, categories.tolist()), prediction_type="RawFormulaVal", thread_count=1)
        return np.asarray(raw, dtype=np.float64)

    def _contributions(
        self, library: ModuleType, stored: bytes, x: NDArray[np.float32], categories: NDArray[np.int64]
    ) -> FloatArray:
        model = library.CatBoost()
        model.load_model(blob=stored)
        pool = library.Pool(_mixed(x, categories.tolist()), cat_features=categories.tolist())
        added = model.get_feature_importance(data=pool, type="ShapValues", thread_count=1)
        return np.asarray(added, dtype=np.float64)

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains: FloatArray = model.get_feature_importance(type="PredictionValuesChange")
        assert len(gains) == n_columns
        return gains


def _mixed(x: NDArray[np.float32], categories: list[int]) -> pd.DataFrame:
    """Numbers as they are, codes as integers."""
    frame = pd.DataFrame(x)
    return frame.astype(dict.fromkeys(categories, np.int32))
