"""The handwritten digits that ship with scikit-learn, as a ten-class competition of 64 pixel columns.

Must not know: Kaggle, specs, files, or that other samples exist.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.competition.samples.splitting import with_id

N_TEST_ROWS = 597
SPLIT_SEED = 20240229


def make_digits_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): 1,200 and 597 rows, stratified by digit, in a shuffled order.

    Columns: `id`, `pixel_<row>_<column>` for an 8 x 8 image with values 0..16, `label` 0..9. All int64.
    Source: UCI "Optical Recognition of Handwritten Digits" (test part), `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, label = load_digits(return_X_y=True)
    pixel_names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    digits = pd.DataFrame(np.asarray(pixels, dtype=np.int64), columns=pixel_names)
    digits["label"] = np.asarray(label, dtype=np.int64)

    train, test = train_test_split(
        digits,
        test_size=N_TEST_ROWS,
        stratify=digits["label"],
        random_state=SPLIT_SEED,
    )
    return with_id(train, first_id=1), with_id(test, first_id=len(train) + 1)
