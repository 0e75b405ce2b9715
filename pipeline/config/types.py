"""Types of class labels and roles of feature columns. Must not know tables or files."""

from __future__ import annotations

from typing import Literal

Label = str | int | bool | float
Role = Literal["number", "past", "category", "ordered", "text"]  # past: numbers on the scale of the target
NUMERIC: tuple[Role, ...] = ("number", "past")
