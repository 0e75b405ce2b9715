"""What a class label may be, and the roles of a feature column. Must not know tables or files."""

from __future__ import annotations

from typing import Literal

Label = str | int | bool | float
Role = Literal["number", "category", "ordered", "text"]
