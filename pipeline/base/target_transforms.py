"""Transforms of a numeric target, and back. Must not know rows, or which of them are whose."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.base.arrays import FloatArray

TargetTransform = Literal["none", "log", "log1p", "standardise"]


def transform_target(transform: TargetTransform, y: FloatArray) -> FloatArray:
    """The target on the scale on which predictions are averaged; the encoders' `TargetScaler` does `standardise`."""
    if transform == "log":
        return np.log(y)
    return np.log1p(y) if transform == "log1p" else y


def inverse_transform(transform: TargetTransform, z: FloatArray) -> FloatArray:
    """Back to the target's own unit; values are clipped where exp would overflow."""
    if transform == "log":
        return np.exp(np.clip(z, -700.0, 700.0))
    return np.expm1(np.clip(z, -700.0, 700.0)) if transform == "log1p" else z
