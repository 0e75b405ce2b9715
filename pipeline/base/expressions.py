"""Expressions of columns, such as `close - open`: names, numbers, + - * / and brackets, and nothing that runs code.

Must not know tables.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.base.arrays import FloatArray

MOST = 1e300  # of a number
MOST_PARTS = 200  # names, numbers and operators
QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`([^`\n]+)`")
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: np.positive, ast.USub: np.negative}
ALLOWED = "an expression has names of columns, numbers, + - * / and brackets"


@dataclass(frozen=True)
class Expression:
    """A parsed expression and the columns that it names, in order."""

    tree: ast.expr
    names: list[str]

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse an expression. Names that are no words stand in quotes or backticks. Raises ValueError."""
        plain = QUOTED.sub(lambda found: repr(found[1]) if found[1] else found[0], text.strip())
        try:
            tree = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            hint = "; a name with blanks or signs stands in backticks: `name of column`"
            raise ValueError(f"{text!r} cannot be read: {ALLOWED}{hint}") from error
        parts = [part for part in ast.walk(tree) if not isinstance(part, ast.expr_context | ast.operator | ast.unaryop)]
        if len(parts) > MOST_PARTS:
            raise ValueError(f"an expression has at most {MOST_PARTS} parts, not {len(parts)}")
        names = []
        for part in sorted(parts, key=lambda one: (getattr(one, "lineno", 0), getattr(one, "col_offset", 0))):
            if (name := _name(part)) is not None:
                names.append(name)
            elif not _is_allowed(part):
                raise ValueError(f"{ast.unparse(part)!r} is not allowed in {text!r}: {ALLOWED}")
        if not names:
            raise ValueError(f"{text!r} names no column")
        return cls(tree, list(dict.fromkeys(names)))

    def value(self, columns: Mapping[str, FloatArray]) -> FloatArray:
        """(rows,) its value; NaN where a column is missing, infinite or NaN where one is divided by 0."""
        with np.errstate(all="ignore"):
            return np.asarray(_value(self.tree, columns), dtype=np.float64)


def _name(part: ast.AST) -> str | None:
    if isinstance(part, ast.Name):
        return part.id
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None


def _is_allowed(part: ast.AST) -> bool:
    if isinstance(part, ast.BinOp):
        return type(part.op) in OPERATORS
    if isinstance(part, ast.UnaryOp):
        return type(part.op) in SIGNS
    number = part.value if isinstance(part, ast.Constant) else None
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < MOST


def _value(part: ast.expr, columns: Mapping[str, FloatArray]) -> Any:
    if isinstance(part, ast.BinOp):
        return OPERATORS[type(part.op)](_value(part.left, columns), _value(part.right, columns))
    if isinstance(part, ast.UnaryOp):
        return SIGNS[type(part.op)](_value(part.operand, columns))
    name = _name(part)
    if name is not None:
        return columns[name]
    assert isinstance(part, ast.Constant)
    return float(part.value)  # type: ignore[arg-type]
