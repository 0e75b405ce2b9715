"""Expressions of columns compute what they say, and can say nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.base.expressions import MOST_PARTS, Expression

VALUES = {"a": [6.0, np.nan], "b c": [2.0, 1.0], "class": [0.0, 4.0]}
COLUMNS = {name: np.array(values) for name, values in VALUES.items()}


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a - `b c`", ["a", "b c"], 4.0),
        ("'b c' - a", ["b c", "a"], -4.0),
        ('(a + 2) / "b c" * 1e1', ["a", "b c"], 40.0),
        ("-a + +`class`", ["a", "class"], -6.0),
        ("a - a", ["a"], 0.0),
        ("a / `class`", ["a", "class"], np.inf),
    ],
)
def test_it_is_computed_by_the_rules_of_arithmetic(text: str, names: list[str], first: float) -> None:
    expression = Expression.parse(text)
    assert expression.names == names
    value = expression.value(COLUMNS)
    assert value[0] == first
    assert np.isnan(value[1]) == ("a" in names)


@pytest.mark.parametrize(
    "text",
    [
        "", "a -", "a - ", "b c", "a ** 2", "a // 2", "a % 2", "f(a)", "a.b", "a[0]", "[a]", "a if a else a", "a < 1",
        "a and a", "not a", "~a", "lambda: a", "(a := 1)", "__import__('os').system('true')", "f'{a}'", "1 + 2",
        "a + True", "a + 1j", "a + 1e999", "a; a", "a = 1", "a + b'x'", "*a", "`a", "a, a", "(" * 500 + "a" + ")" * 500,
        "+".join(["a"] * MOST_PARTS), "-" * 5000 + "a",
    ],
)  # fmt: skip
def test_nothing_else_is_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"expression|names no column"):
        Expression.parse(text)
