"""Four Gaussian clouds, one per quadrant of the plane, as a four-class competition with two columns.

Must not know: Kaggle, specs, files, or that other samples exist.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.competition.samples.splitting import split_by_class

CENTRES = {"I": (1.0, 1.0), "II": (-1.0, 1.0), "III": (-1.0, -1.0), "IV": (1.0, -1.0)}  # as geometry numbers them
SPREAD = 0.5  # standard deviation of both coordinates
BEST_ACCURACY = 0.955  # Bayes: P(Z < 2)^2, as each centre is two standard deviations from both axes
POINTS_PER_CLASS = 200
N_TEST = 200
SEED = 20160908  # a typical draw: the best classifier scores 0.955 on these very points, too


def make_points(seed: int = SEED) -> pd.DataFrame:
    """All 800 points, class by class: `x1`, `x2`, and `quadrant` ("I" to "IV"), that of the cloud's centre."""
    generator = np.random.default_rng(seed)
    clouds = []
    for name, centre in CENTRES.items():
        points = generator.normal(centre, SPREAD, (POINTS_PER_CLASS, 2)).round(5)
        clouds.append(pd.DataFrame(points, columns=["x1", "x2"]).assign(quadrant=name))
    return pd.concat(clouds, ignore_index=True)


def make_quadrants_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): 600 and 200 rows, stratified by quadrant, shuffled.

    A point's class is that of its cloud, so about one point in twenty lies outside the quadrant of its class.
    """
    return split_by_class(make_points(), "quadrant", n_test=N_TEST, seed=SEED)
