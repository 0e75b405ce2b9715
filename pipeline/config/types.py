"""Types of class labels and roles of feature columns. Must not know tables or files."""

from __future__ import annotations

from typing import Literal

Label = str | int | bool | float
# past: numbers on the scale of the target; embedding: one of many numbers that stand for a text
Role = Literal["number", "past", "embedding", "category", "ordered", "text"]
NUMERIC: tuple[Role, ...] = ("number", "past", "embedding")
