"""Three interleaved spiral arms in the plane, as a three-class competition with two columns.

Must not know: Kaggle, specs, files, or that other samples exist.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.competition.samples.splitting import split_by_class

ARMS = ("a", "b", "c")
POINTS_PER_ARM = 500
N_TEST = 225
TURN = 4.0  # radians an arm winds from the centre to its end
ANGLE_NOISE = 0.12  # radians: at equal radius two arms are 2 pi / 3 apart
SEED = 20160902


def make_points(seed: int = SEED, *, noise: float = ANGLE_NOISE) -> pd.DataFrame:
    """All 1,500 points, arm by arm from the centre outwards: `x1`, `x2` in the unit circle, and `arm`, a to c."""
    generator = np.random.default_rng(seed)
    radius = np.linspace(0.02, 1.0, POINTS_PER_ARM)
    arms = []
    for number, name in enumerate(ARMS):
        start = 2.0 * np.pi * number / len(ARMS)
        angle = start + TURN * radius + generator.normal(0.0, noise, POINTS_PER_ARM)
        points = np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]).round(5)
        arms.append(pd.DataFrame(points, columns=["x1", "x2"]).assign(arm=name))
    return pd.concat(arms, ignore_index=True)


def make_spiral_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): 1,275 and 225 rows, stratified by arm, shuffled.

    With another 225 train rows held out for validation, the split is 70 / 15 / 15 per cent.
    """
    return split_by_class(make_points(), "arm", n_test=N_TEST, seed=SEED)
