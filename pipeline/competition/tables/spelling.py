"""Class labels that train and the sample submission spell differently: spaces, cases, 1.0 for 1, False for 0.

Must not know: files, the spec, or what else a label could be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

from pipeline.competition.tables.reading import RawTable, as_written

Spelling = Callable[[str], str]


def _one_space(text: str) -> str:
    return " ".join(text.split())


def _whole(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else text


TRIMMED: tuple[Spelling, ...] = (str, str.strip, _one_space)
WRITTEN: tuple[Spelling, ...] = (
    str,
    _whole,
    lambda text: f"{text}.0",
    lambda text: {"false": "0", "true": "1"}.get(text.lower(), text),
    lambda text: {"0": "False", "1": "True"}.get(text, text),
    str.lower,
    str.upper,
    str.capitalize,
    str.title,
)


def spelling_of(train: RawTable, target: str, sample: RawTable, column: str) -> dict[str, str]:
    """How the sample spells the labels of train, by train's; {} if alike, or if no one rule maps one to one."""
    if column not in sample.frame.columns:  # the check of its columns says so
        return {}
    labels = set(as_written(train.frame[target]).dropna().unique())
    wanted = set(as_written(sample.frame[column]).dropna().unique())
    return spelling(labels, wanted)


def spelling(labels: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """The rule by which all that is wanted is a label, and no two labels become one.

    >>> spelling([" >50K", " <=50K"], ["<=50K"])
    {' <=50K': '<=50K', ' >50K': '>50K'}
    """
    known, asked = sorted(label for label in labels if label), {text for text in wanted if text}
    if not asked or asked <= set(known):
        return {}
    for trim, write in product(TRIMMED, WRITTEN):
        found = {label: write(trim(label)) for label in known}
        if asked <= set(found.values()) and len(set(found.values())) == len(found):
            return {label: other for label, other in found.items() if label != other}
    return {}
