"""The target as models learn it, and back: scaling, class probabilities.

Knows arrays; must not know which rows are whose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline.base.arrays import FloatArray


class TargetScaler(BaseModel):
    """Centre and scale of the (transformed) target in the fit rows, one each per output."""

    model_config = ConfigDict(frozen=True)

    centre: list[float]
    scale: list[float]

    @classmethod
    def fit(cls, z: FloatArray, *, is_scaled: bool) -> TargetScaler:
        """Learn from z (rows, outputs); the identity without `is_scaled`."""
        n_outputs = z.shape[1]
        if not is_scaled:
            return cls(centre=[0.0] * n_outputs, scale=[1.0] * n_outputs)
        spread = z.std(axis=0)
        return cls(centre=z.mean(axis=0).tolist(), scale=np.where(spread > 0, spread, 1.0).tolist())

    def scaled(self, z: FloatArray) -> FloatArray:
        """The target a model is trained on."""
        scaled: FloatArray = (z - np.array(self.centre)) / np.array(self.scale)
        return scaled

    def unscaled(self, output: FloatArray) -> FloatArray:
        """A model's raw outputs on the transformed scale."""
        unscaled: FloatArray = output * np.array(self.scale) + np.array(self.centre)
        return unscaled


def softmax(logits: FloatArray) -> FloatArray:
    """(rows, classes) logits -> probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return probability


def sigmoid(logits: FloatArray) -> FloatArray:
    """Logits of the second of two classes -> its probabilities."""
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float64)


def class_indicators(codes: NDArray[np.int64], n_classes: int) -> FloatArray:
    """(rows,) class codes -> (rows, classes) one-hot."""
    return np.eye(n_classes)[codes]
