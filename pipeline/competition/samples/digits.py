"""The handwritten digits that ship with scikit-learn, as a ten-class competition with 64 pixel columns.

Must not know: Kaggle, specs, files, or that other samples exist.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.competition.samples.splitting import split_by_class

N_TEST = 597
SEED = 20240229


def make_digits_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): 1,200 and 597 rows, stratified by digit, shuffled.

    Columns: `id`, `pixel_<row>_<column>` for an 8 x 8 image with values 0..16, `label` 0..9. All int64.
    Source: UCI "Optical Recognition of Handwritten Digits" (test part), `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    pixel_names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    digits = pd.DataFrame(np.asarray(pixels, dtype=np.int64), columns=pixel_names)
    digits["label"] = np.asarray(label, dtype=np.int64)
    return split_by_class(digits, "label", n_test=N_TEST, seed=SEED)
