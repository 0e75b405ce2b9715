"""Numbers and lists in words: rounded to their noise, with units, in the plain English of the page.

Knows numbers and texts only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.base.printable import printable

MOST_CHARACTERS = 300  # of a text of data in a cell


def digits_for(noise: float) -> int:
    """Decimals that show a number to two digits of its noise; 5 if the noise is unknown."""
    if not math.isfinite(noise) or noise <= 0:
        return 5
    return max(0, min(8, 1 - math.floor(math.log10(noise))))


def score(value: float | None, noise: float = math.nan) -> str:
    """A score to two digits of its noise."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits_for(noise)}f}"


def score_with_noise(value: float, noise: float) -> str:
    """A score and its standard error."""
    if not math.isfinite(noise):
        return score(value)
    return f"{score(value, noise)} ± {noise:.{digits_for(noise)}f}"


def gain(value: float, noise: float = math.nan) -> str:
    """A difference with its sign."""
    if not math.isfinite(value):
        return "–"
    digits = digits_for(noise)
    text = f"{round(value, digits) + 0.0:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def amount(value: float, digits: int = 4) -> str:
    """A number of data in at most so many significant digits, with thousands separated."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -5 or size > 14:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(value: float, digits: int = 3) -> str:
    """A difference of numbers of data with its sign."""
    size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    told = amount(round(abs(value), digits - 1 - size), digits)
    return told if told in ("0", "–") else f"{'+' if value > 0 else '−'}{told}"


def count_in_cell(number: int) -> str:
    """A number of things in at most four characters: `4980`, `12k`."""
    size = next((size for size in (10**9, 10**6, 10**3) if number >= 10 * size), 0)
    return f"{number / size:.0f}{ {10**9: 'G', 10**6: 'M', 10**3: 'k'}[size] }" if size else str(number)


def count(number: int, what: str, plural: str = "") -> str:
    """A number of things: `1 row`, `1,460 rows`."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def percent(share: float) -> str:
    """A share in percent; small ones with a decimal, none as 0."""
    if not math.isfinite(share):
        return "–"
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return (
        "< 0.1 %"
        if share < 0.001
        else f"{100 * share:.1f} %"
        if share < 0.1 or share > 0.99
        else f"{100 * share:.0f} %"
    )


def seconds(value: float) -> str:
    """A time as a person says it."""
    if not math.isfinite(value):
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = value / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of many the first ones."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def of_data(value: object, most: int = MOST_CHARACTERS) -> str:
    """A text of data: without signs that cannot be seen, shortened."""
    text = printable(str(value)[: 2 * most])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cell(value: object) -> str:
    """A value of a table of data in words; a missing one is `missing`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    return amount(float(value), 6).replace(",", "") if isinstance(value, float) else of_data(value)


def class_name(label: object) -> str:
    """A class in a sentence: a bare number or letter is called a class."""
    text = of_data(label, 60)
    return f"class {text}" if len(text) < 3 or text.replace(".", "").isdigit() else text


def day(iso: str) -> str:
    """An ISO time to the minute."""
    return iso[:16].replace("T", " ")
