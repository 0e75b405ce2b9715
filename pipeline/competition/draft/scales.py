"""Known ordered scales, and the levels of a column whose texts all belong to one.

Must not know: files, columns' names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

SCALES: tuple[tuple[str, ...], ...] = (  # lowest first
    ("Po", "Fa", "TA", "Gd", "Ex"),  # House Prices' quality, basement, garage and lot scales
    ("No", "Mn", "Av", "Gd"),
    ("Unf", "LwQ", "Rec", "BLQ", "ALQ", "GLQ"),
    ("Unf", "RFn", "Fin"),
    ("Sev", "Mod", "Gtl"),
    ("very low", "low", "medium", "high", "very high"),
    ("low", "moderate", "high"),
    ("low", "mid", "high"),
    ("low", "normal", "high"),
    ("low", "average", "high"),
    ("tiny", "small", "medium", "large", "huge"),
    ("small", "medium", "large", "extra large"),
    ("XXS", "XS", "S", "M", "L", "XL", "XXL", "XXXL"),
    ("very poor", "poor", "fair", "good", "very good", "excellent"),
    ("very bad", "bad", "average", "good", "very good", "excellent"),
    ("poor", "average", "good", "excellent"),
    ("fair", "good", "very good", "premium", "ideal"),
    ("none", "mild", "moderate", "severe"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("never", "sometimes", "frequently", "always"),
    ("no", "sometimes", "frequently", "always"),
    ("strongly disagree", "disagree", "neutral", "agree", "strongly agree"),
    ("freezing", "cold", "warm", "hot", "boiling hot", "lava hot"),
    ("novice", "contributor", "expert", "master", "grandmaster"),
    ("beginner", "intermediate", "advanced", "expert"),
    ("bronze", "silver", "gold", "platinum", "diamond"),
)
CASES: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.title, str.capitalize)
FEWEST_LEVELS = 3  # two texts of a scale may be chance: `No` and `Gd`


def ordered_levels(values: Sequence[str]) -> list[str]:
    """The scale, lowest first and in the values' own case, that holds all the different `values`; [] when none does.

    The whole scale is given, so that a level first seen in new rows is known; only the values' own levels when
    their case is mixed.
    """
    if len(values) < FEWEST_LEVELS:
        return []
    for scale in SCALES:
        for case in CASES:
            levels = [case(level) for level in scale]
            if set(values) <= set(levels):
                return levels
        position = {level.lower(): index for index, level in enumerate(scale)}
        lowered = [value.lower() for value in values]
        if set(lowered) <= set(position) and len(set(lowered)) == len(values):
            return sorted(values, key=lambda value: position[value.lower()])
    return []
