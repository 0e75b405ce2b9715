"""Fitted scikit-learn estimators as arrays of bytes, written and read by skops: no pickle.

Knows scikit-learn and skops; must not know learners, files or frames.
"""

from __future__ import annotations

import lzma
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import ArtifactError

TRUSTED = [  # in addition to what skops trusts by default: scikit-learn's estimators, numpy's arrays
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "functools.partial",  # histogram boosting checks its input with a partial of check_array
    "sklearn.utils.validation.check_array",
    "sklearn.compose._column_transformer._RemainderColsList",  # of histogram boosting before scikit-learn 1.8
]
FAST = 0  # LZMA preset: as quick as zlib's default, and a forest takes 30% less space
_estimators: dict[int, Any] = {}  # id of a stored array -> its estimator, until the array is freed


def stored(estimator: Any) -> NDArray[np.uint8]:
    """The compressed bytes of a fitted estimator."""
    from skops.io import dumps

    return _remember(np.frombuffer(lzma.compress(dumps(estimator), preset=FAST), dtype=np.uint8), estimator)


def estimator_of(array: NDArray[np.uint8]) -> Any:
    """The estimator `stored` was given; read once for each array. Raises ArtifactError."""
    if id(array) not in _estimators:
        from skops.io import loads

        try:
            _remember(array, loads(lzma.decompress(array.tobytes()), trusted=TRUSTED))
        except Exception as error:  # damaged bytes, a foreign type, or another version's attributes
            raise ArtifactError(
                f"a stored scikit-learn model cannot be read: {error}",
                hint="Train the run again: the file is damaged, or another version of scikit-learn wrote it.",
            ) from error
    return _estimators[id(array)]


def _remember(array: NDArray[np.uint8], estimator: Any) -> NDArray[np.uint8]:
    _estimators[id(array)] = estimator
    weakref.finalize(array, _estimators.pop, id(array), None)
    return array
