"""TabICL (Qu et al., arXiv 2502.05564; v2: arXiv 2602.11139): pretrained weights under the BSD licence.

Knows arrays and its library; must not know the other libraries, frames or storage.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.base.errors import SpecError
from pipeline.models.in_context.engine import Context, Limits, Predict, Reading, interruptible

MOST_COLUMNS = 2000  # its README: up to 2,000 features; pretrained on at most 100
CPU_BATCH, GPU_BATCH = 1, 8  # estimators of a pass


class TabICL:
    """More classes than the weights know are read in digits; codes of categories are read as numbers."""

    model: ClassVar[str] = "tabicl"
    package: ClassVar[str] = "tabicl"
    licence: ClassVar[str] = ""

    def limits(self, path: Path, *, is_regression: bool) -> Limits:
        """Those of the library; the file says its kind."""
        n_classes = torch.load(path, map_location="cpu", weights_only=True)["config"]["max_classes"]
        if (n_classes == 0) != is_regression:
            kinds = ("classes", "regression")
            what = f"{path.name} holds weights for {kinds[n_classes == 0]}, and this is {kinds[is_regression]}"
            raise SpecError(what, where="[params] weights of tabicl")
        return Limits(rows=None, columns=MOST_COLUMNS, classes=None)

    def published(self, *, is_regression: bool) -> tuple[str, str]:
        """The weights of version 2."""
        return "jingang/TabICL", f"tabicl-{'regressor' if is_regression else 'classifier'}-v2-20260212.ckpt"

    def reader(self, context: Context, how: Reading, check_stop: Callable[[], None]) -> Predict:
        """An estimator of its library."""
        from tabicl import TabICLClassifier, TabICLRegressor

        estimator = (TabICLRegressor if how.is_regression else TabICLClassifier)(
            model_path=how.weights,
            allow_auto_download=False,
            n_estimators=how.estimators,
            random_state=how.seed,
            device=how.device,
            batch_size=CPU_BATCH if how.device.type == "cpu" else GPU_BATCH,
        )
        estimator.fit(context.x, context.y)
        interruptible(estimator.model_, check_stop)
        statistic = "median" if how.wants_median else "mean"

        def predict(x: NDArray[np.float32]) -> FloatArray:
            read = estimator.predict(x, output_type=statistic) if how.is_regression else estimator.predict_proba(x)
            return np.asarray(read, dtype=np.float64)

        return predict
