"""Known ordered scales, and the levels of a column whose texts all belong to one of them.

Must not know: files, column names.
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
MIN_LEVELS = 3  # two texts may belong to a scale by chance: `No` and `Gd`


def ordered_levels(values: Sequence[str]) -> list[str]:
    """The scale, lowest first and in the values' case, that contains all the distinct `values`; [] if none does.

    The whole scale is returned, as new rows may have other levels of it; if case is mixed, only the values, sorted.
    """
    if len(values) < MIN_LEVELS:
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
