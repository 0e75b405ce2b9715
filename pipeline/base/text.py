"""The dtype of text columns, and whether one holds sentences. Under pandas 2, which Kaggle's image has, turns on the
behaviour of pandas 3.

Must not know what the texts mean.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

if int(pd.__version__.partition(".")[0]) < 3:
    pd.set_option("mode.copy_on_write", True)
    pd.set_option("future.infer_string", True)

TEXT: Any = pd.Series(["text"]).dtype  # "str" in pandas 3; the same under another name in pandas 2
FEWEST_WORDS = 5.0  # of a column's mean text, if it holds sentences


def holds_sentences(column: pd.Series) -> bool:
    """Whether a column of texts holds sentences, rather than names or codes."""
    text = column.dropna().astype(TEXT)
    return len(text) > 0 and bool(text.str.count(r"\S+").mean() >= FEWEST_WORDS)
