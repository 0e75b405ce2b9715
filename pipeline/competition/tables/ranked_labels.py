"""Cells with several class labels, the most probable first, as metrics of rankings read them.

Knows texts only. Labels are separated by blanks, and may contain blanks themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence


def join_labels(labels: Iterable[object]) -> str:
    """Write labels into one cell."""
    return " ".join(map(str, labels))


def label_reader(classes: Sequence[object]) -> Callable[[object], list[str] | None]:
    """A function that reads a cell: its labels in order, or None if it holds another text or a label twice.

    Example: `label_reader(["dengue fever", "zika"])("zika dengue fever") == ["zika", "dengue fever"]`.
    """
    longest_first = sorted(map(str, classes), key=len, reverse=True)
    one = re.compile("|".join(map(re.escape, longest_first)))
    whole = re.compile(f"(?:{one.pattern})(?: (?:{one.pattern}))*")

    def read(cell: object) -> list[str] | None:
        text = str(cell).strip()
        labels = one.findall(text) if whole.fullmatch(text) else []
        is_as_written = join_labels(labels) == text
        return labels if labels and is_as_written and len(set(labels)) == len(labels) else None

    return read
