"""Gradient boosting by LightGBM.

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


class LightGBM(Boosting):
    """Leaf-wise trees. Its wheels have no CUDA: it always runs on the CPU."""

    library = "lightgbm"

    def _trained(
        self, library: ModuleType, rows: FitRows, held: FitRows | None, job: Job, n_rounds: int
    ) -> tuple[Any, int]:
        sizes = self.sizes(rows)
        losses = {"mse": "l2", "mae": "l1", "huber": "huber"}
        n_present = len(np.unique(rows.y))
        params = {
            "objective": losses[self.loss(rows)] if rows.is_regression else "binary",
            "learning_rate": sizes.lr,
            "num_leaves": sizes.leaves,
            "min_data_in_leaf": round(min(self.params.min_samples_leaf, max(1, len(rows.y) // 10))),
            "feature_fraction": sizes.column_share,
            "bagging_fraction": self.params.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.params.l2,
            "max_bin": self.bins(rows),
            "max_cat_to_onehot": self.params.one_hot_max,
            "seed": job.seed,
            "num_threads": job.n_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        if rows.n_classes and n_present > 2:
            params |= {"objective": "multiclass", "num_class": n_present}

        def dataset(part: FitRows, reference: Any = None) -> Any:
            return library.Dataset(
                part.x,
                part.y if part.is_regression else np.searchsorted(np.unique(rows.y), part.y),
                weight=part.weight,
                categorical_feature=sorted(part.cardinality),
                reference=reference,
            )

        by_round: list[float] = []  # losses on `held`

        def look_at_stop(now: Any) -> None:
            job.check_stop()
            by_round.extend(loss for _, _, loss, _ in now.evaluation_result_list or [])
            if job.is_over(now.iteration + 1):
                best = int(np.argmin(by_round)) if by_round else now.iteration
                raise library.callback.EarlyStopException(best, now.evaluation_result_list or [])

        train = dataset(rows)
        if held is None:
            model = library.train(params, train, n_rounds, callbacks=[look_at_stop])
            return model, model.current_iteration()
        stopping = library.early_stopping(sizes.patience, verbose=False)
        model = library.train(
            params, train, n_rounds, valid_sets=[dataset(held, train)], callbacks=[stopping, look_at_stop]
        )
        return model, model.best_iteration or n_rounds

    def _bytes(self, model: Any) -> bytes:
        text: str = model.model_to_string()
        return text.split("\nfeature_importances:")[0].encode()

    def _raw(
        self,
        library: ModuleType,
        stored: bytes,
        x: NDArray[np.float32],
        categories: NDArray[np.int64],  # noqa: ARG002
    ) -> FloatArray:
        model = library.Booster(model_str=stored.decode())
        raw: FloatArray = model.predict(x, raw_score=True, num_threads=0)
        return raw

    def _contributions(
        self,
        library: ModuleType,
        stored: bytes,
        x: NDArray[np.float32],
        categories: NDArray[np.int64],  # noqa: ARG002
    ) -> FloatArray:
        added = library.Booster(model_str=stored.decode()).predict(x, pred_contrib=True, num_threads=1)
        return np.asarray(added, dtype=np.float64)

    def _gains(self, model: Any, n_columns: int) -> FloatArray:
        gains: FloatArray = model.feature_importance("gain")
        assert len(gains) == n_columns
        return gains
