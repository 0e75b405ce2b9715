"""What a section is made of; the templates know how each kind of block looks.

Texts are plain: the templates escape them. Only pictures are markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """A paragraph; a quiet one explains how to read what is near."""

    text: str
    is_quiet: bool = False
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True)
class Figure:
    """A picture, what it is called, what one sees in it, and the names of its colours."""

    picture: Markup
    title: str
    caption: str = ""
    legend: Sequence[tuple[int, str]] = ()
    is_wide: bool = False
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True)
class Figures:
    """Pictures side by side."""

    figures: Sequence[Figure]
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True)
class Cell:
    """A cell: its words, what it is sorted by, and a picture or a mark."""

    text: str
    value: float | str | None = None
    picture: Markup | None = None
    mark: Literal["", "good", "bad", "quiet"] = ""

    @property
    def sort_key(self) -> str:
        """What the column is sorted by, as the page's script reads it; missing numbers come last."""
        if isinstance(self.value, float):
            return f"{self.value:.9g}" if math.isfinite(self.value) else ""
        return self.text if self.value is None else str(self.value)


@dataclass(frozen=True)
class Column:
    """A column's head; `help` is shown when it is pointed at."""

    name: str
    is_number: bool = False
    help: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption, which people may sort, and search if it is long. The first column names the row."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    is_searchable: bool = False
    is_sortable: bool = True
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    pairs: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Tile:
    """A number that matters, its name and a remark."""

    name: str
    value: str
    note: str = ""
    is_main: bool = False


@dataclass(frozen=True)
class Tiles:
    """Numbers that matter, side by side."""

    tiles: Sequence[Tile]
    kind: Literal["tiles"] = "tiles"


@dataclass(frozen=True)
class Finding:
    """A sentence with a mark: fine, or to be looked at."""

    mark: Literal["ok", "look"]
    text: str


@dataclass(frozen=True)
class Findings:
    """Sentences with marks."""

    findings: Sequence[Finding]
    kind: Literal["findings"] = "findings"


@dataclass(frozen=True)
class Code:
    """Text that is typed or read by a machine."""

    text: str
    name: str = ""
    kind: Literal["code"] = "code"


@dataclass(frozen=True)
class Tabs:
    """Blocks of which one tab is seen at a time."""

    name: str
    tabs: Sequence[tuple[str, Sequence[Block]]]
    kind: Literal["tabs"] = "tabs"


@dataclass(frozen=True)
class Details:
    """Blocks that are seen when asked for."""

    summary: str
    blocks: Sequence[Block]
    kind: Literal["details"] = "details"


Block = Text | Heading | Figure | Figures | Table | Facts | Tiles | Findings | Code | Tabs | Details


@dataclass(frozen=True)
class Section:
    """A section of the page: what one sees in a sentence, then the blocks."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default=())


def number_cell(text: str, value: float, mark: Literal["", "good", "bad", "quiet"] = "") -> Cell:
    """A cell with a number."""
    return Cell(text, float(value), mark=mark)
