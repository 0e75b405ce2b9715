"""Texts that stand for a missing cell in a column of numbers or dates. In a category they may be a level.

Must not know: columns or files.
"""

from __future__ import annotations

import pandas as pd

MARKERS = frozenset({  # in lower case, without blanks around them
    "", "?", "??", "-", "--", "---", "–", "—", ".", "..", "...", "*", "#", "na", "n/a", "n.a.", "n.a", "n/d", "nd",
    "nan", "null", "nil", "none", "missing", "unknown", "unk", "undefined", "unspecified", "not available",
    "not applicable", "not known", "not specified", "no data", "empty", "blank", "tba", "tbd", "nat", r"\n", "(null)",
    "<null>", "[null]", "<na>", "#n/a", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "#null!",
})  # fmt: skip
DATE_MARKERS = MARKERS | {"0", "0000-00-00", "0000-00-00 00:00:00", "00/00/0000", "00-00-0000", "00.00.0000"}


def are_markers(texts: pd.Series, *, of_dates: bool = False) -> pd.Series:
    """Whether each text stands for a missing number, or date."""
    return texts.str.strip().str.lower().isin(DATE_MARKERS if of_dates else MARKERS)
