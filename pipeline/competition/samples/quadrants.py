"""Four Gaussian clouds, one in each quadrant of the plane, as a four-class competition of two columns.

Must not know: Kaggle, specs, files, or that other samples exist.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.competition.samples.splitting import split_by_class

CENTRES = {"I": (1.0, 1.0), "II": (-1.0, 1.0), "III": (-1.0, -1.0), "IV": (1.0, -1.0)}  # as geometry numbers them
SPREAD = 0.5  # standard deviation of both coordinates
BEST_ACCURACY = 0.955  # of any classifier: P(Z < 2)^2, as a centre lies two deviations from each axis
POINTS_PER_CLASS = 200
TEST_POINTS_PER_CLASS = 50
SEED = 20160908  # a typical draw: the rule above gets 0.955 of these very points, too


def make_points(seed: int = SEED) -> pd.DataFrame:
    """All 800 points, class by class: `x1`, `x2`, and `quadrant`, that of the cloud's centre ("I" to "IV")."""
    generator = np.random.default_rng(seed)
    clouds = []
    for name, centre in CENTRES.items():
        points = generator.normal(centre, SPREAD, (POINTS_PER_CLASS, 2)).round(5)
        clouds.append(pd.DataFrame(points, columns=["x1", "x2"]).assign(quadrant=name))
    return pd.concat(clouds, ignore_index=True)


def make_quadrants_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): 600 and 200 rows, stratified by quadrant, in a shuffled order.

    A point's class is its cloud, not the side of the axes it fell on: about one point in twenty lies astray.
    """
    return split_by_class(make_points(), "quadrant", n_test_by_class=TEST_POINTS_PER_CLASS, seed=SEED)
