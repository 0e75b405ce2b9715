"""A feature function whose values in a row depend on other rows is found, whatever its first and last row show."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.competition.feature_function import apply_feature_function, dependence_on_other_rows
from pipeline.config.types import Role

ROLES: dict[str, Role] = {"ticket": "category", "price": "number"}


@pytest.mark.parametrize(
    ("expression", "is_found"),
    [
        ("frame.groupby('ticket')['ticket'].transform('size')", True),  # 1 in the first and the last row, as alone
        ("frame['ticket'].duplicated()", True),
        ("frame['price'].shift()", True),
        ("frame['price'] * 0.1 + 3", False),
        ("frame['ticket'].str.len()", False),
        ("frame['ticket'].where(frame['price'] > 4)", False),
        ("frame['price'] > 4", False),
    ],
)
def test_values_that_need_other_rows_are_found(tmp_path: Path, expression: str, is_found: bool) -> None:
    path = tmp_path / "function.py"
    path.write_text(f"def add_features(frame):\n    return frame.assign(made={expression})\n")
    frame = pd.DataFrame({"ticket": ["first", *["shared"] * 8, "last"], "price": [None, *range(9)]})
    frame["ticket"] = frame["ticket"].astype("str")
    made, _ = apply_feature_function(path, frame, ROLES)
    said = dependence_on_other_rows(path, frame, ROLES, made)
    assert said.startswith("the values of 'made' in a row depend") if is_found else said == ""
