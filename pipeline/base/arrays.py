"""Names of array types that all rooms share. Must not know what the numbers mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
