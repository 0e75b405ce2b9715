"""The positions of an image's pixels, read from column names. Must not know their values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.base.errors import SpecError

# pixel_7, pixel7, px_7_end: numbered row by row; pixel_0_7, 1x28: row and column
NAME = re.compile(r"(\D*)(\d+)(?:(\D+)(\d+))?(\D*)")
HINT = (
    "Name pixels by number, row by row (pixel0, pixel1, ...), or by row and column (pixel_0_0, 1x1, ...). "
    "Drop other columns (columns.drop in the spec), or use --model mlp."
)


@dataclass(frozen=True)
class PixelGrid:
    """An image's size and pixel names, row by row from the top left."""

    height: int
    width: int
    names: list[str]


def pixel_grid(names: Sequence[str], left_out: Sequence[str], shape: tuple[int, int] | None) -> PixelGrid:
    """The image of the pixels `names`, and of those columns of `left_out` that are pixels, too.

    `shape` is (height, width); without it, pixels numbered row by row are a square. Raises SpecError if the pixels do
    not form a rectangle.
    """
    kind_of = {name: _kind(name) for name in names}
    kinds = list(dict.fromkeys(kind_of.values()))
    if not names or kinds[0] is None or len(kinds) > 1:
        wrong = next((name for name, kind in kind_of.items() if kind is None or kind != kinds[0]), None)
        found = "there are no columns" if wrong is None else f"the column {wrong!r} is not a pixel"
        raise SpecError(f"the model needs images, but {found}", hint=HINT)
    known = {_place(name): name for name in [*names, *(n for n in left_out if _kind(n) == kinds[0])]}
    top, left = min(row for row, _ in known), min(column for _, column in known)
    bottom, right = max(row for row, _ in known), max(column for _, column in known)
    height, width = bottom - top + 1, right - left + 1
    if kinds[0][1] == 1:  # numbered row by row
        height, width = shape or _square(width)
        by_place = {divmod(column - left, width): name for (_, column), name in known.items()}
    else:
        by_place = {(row - top, column - left): name for (row, column), name in known.items()}
        if shape is not None and shape != (height, width):
            raise SpecError(f"the pixel names describe {height} x {width} images, not {shape[0]} x {shape[1]}")
    if len(by_place) != height * width or len(known) != len(by_place) or max(by_place) >= (height, 0):
        raise SpecError(
            f"the {len(by_place)} pixel columns do not form a {height} x {width} image",
            hint=f"The numbers must have no gaps. {HINT}",
        )
    return PixelGrid(height, width, [by_place[divmod(place, width)] for place in range(height * width)])


def _kind(name: str) -> tuple[tuple[str, ...], int] | None:
    """What the pixels of an image share: the text around the numbers, and how many numbers there are."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    before, _, between, last, after = match.groups()
    return (before, between or "", after), 1 if last is None else 2


def _place(name: str) -> tuple[int, int]:
    """Row and column from the name; row 0 for a pixel with one number."""
    match = NAME.fullmatch(name)
    assert match is not None
    first, last = match[2], match[4]
    return (0, int(first)) if last is None else (int(first), int(last))


def _square(n_pixels: int) -> tuple[int, int]:
    side = math.isqrt(n_pixels)
    if side * side != n_pixels:
        raise SpecError(
            f"{n_pixels} pixels do not form a square image",
            hint=f"Set its height and width, e.g. --set image_shape=[{side},{n_pixels // side}]. {HINT}",
        )
    return side, side
