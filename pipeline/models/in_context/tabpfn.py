"""TabPFN (Hollmann et al., Nature 2025; arXiv 2511.08667 for 2.5): the library is free, the weights have licences.

Knows arrays and its library; must not know the other libraries, frames or storage.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.base.arrays import FloatArray
from pipeline.models.in_context.engine import Context, Limits, Predict, Reading, interruptible


class TabPFN:
    """The weights say what they were made for. Categories are named to it."""

    model: ClassVar[str] = "tabpfn"
    package: ClassVar[str] = "tabpfn"
    licence: ClassVar[str] = (
        "its weights have a licence of their own, some for non-commercial use only; whether you may use yours is for "
        "you to check (https://huggingface.co/Prior-Labs)"
    )

    def limits(self, path: Path, *, is_regression: bool) -> Limits:
        """Those in the weights."""
        from tabpfn.model_loading import load_model

        config = load_model(path=path, estimator_type="regressor" if is_regression else "classifier")[3]
        return Limits(config.MAX_NUMBER_OF_SAMPLES, config.MAX_NUMBER_OF_FEATURES, config.MAX_NUMBER_OF_CLASSES)

    def published(self, *, is_regression: bool) -> tuple[str, str]:
        """The library's default weights."""
        from tabpfn.model_loading import ModelType, _get_model_source
        from tabpfn.settings import settings

        kind = ModelType.REGRESSOR if is_regression else ModelType.CLASSIFIER
        source = _get_model_source(settings.tabpfn.model_version, kind)
        return source.repo_id, source.default_filename

    def reader(self, context: Context, how: Reading, check_stop: Callable[[], None]) -> Predict:
        """An estimator of its library."""
        from tabpfn import TabPFNClassifier, TabPFNRegressor

        estimator = (TabPFNRegressor if how.is_regression else TabPFNClassifier)(
            model_path=how.weights,
            n_estimators=how.estimators,
            random_state=how.seed,
            device=str(how.device),
            categorical_features_indices=list(context.categories),
            ignore_pretraining_limits=True,  # they were checked; else it also refuses 1,000 rows on a CPU
        )
        statistic = "median" if how.wants_median else "mean"
        estimator.fit(context.x, context.y)
        for network in estimator.models_:
            interruptible(network, check_stop)

        def predict(x: NDArray[np.float32]) -> FloatArray:
            read = estimator.predict(x, output_type=statistic) if how.is_regression else estimator.predict_proba(x)
            return np.asarray(read, dtype=np.float64)

        return predict
