"""Text columns have the dtype `TEXT` under every version of pandas."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

import pipeline
from pipeline.base.text import TEXT

PLAIN = re.compile(r"""astype\((str|["']str["'])\)|dtype=(str\b|["']str["'])""")  # objects under pandas 2


def test_text_is_the_dtype_of_inferred_texts_and_keeps_missing_ones() -> None:
    texts = pd.Series(["a", None])
    assert texts.dtype == TEXT
    assert texts.astype(TEXT).isna().tolist() == [False, True]
    assert isinstance(TEXT, pd.StringDtype)


def test_no_module_names_the_dtype_of_texts_itself() -> None:
    package = Path(pipeline.__file__).parent
    found = [path.name for path in package.rglob("*.py") if PLAIN.search(path.read_text(encoding="utf-8"))]
    assert found == []
