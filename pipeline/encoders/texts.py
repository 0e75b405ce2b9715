"""Features of texts such as names and codes: delimited parts, letters and digits, frequent words, shared keys.

Knows one column of text; must not know targets, or which rows are whose.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from pipeline.base.arrays import FloatArray
from pipeline.base.text import TEXT
from pipeline.encoders.columns import FittedColumn
from pipeline.encoders.kept import KEPT, digest

DELIMITERS = ("/", "_", "|", ":", "-")
MOSTLY = 0.95  # share of the texts that must have the same structure
FEWEST_NUMBERS = 0.3  # share of texts with digits above which the column holds codes
RAREST_WORD, COMMONEST_WORD, MOST_WORDS = 0.02, 0.98, 12
MOST_NUMBERS = 0.5  # distinct numbers per row; more look like row numbers
MOST_LEVELS = 50  # of a category
MOST_KEYS = 20_000  # distinct values of a key
WORD = re.compile(r"[^\W\d_]{2,}")

Part = Literal["number", "category", "key"]
Expanded = tuple[NDArray[np.intp], dict[str, pd.Series | FloatArray]]  # each row's text, and the features of each text


class TextColumn(FittedColumn):
    """The structure of a column's texts in the fit rows, which decides the features made from any text.

    With a `delimiter`, the text is split and each part read in the ways that `parts` lists. Without one, the features
    are its length; the leading letters and last number of a code, or the number of words; its frequent `words`; `keys`.
    """

    delimiter: str | None = None
    parts: list[list[Part]] = Field(default=[])
    is_code: bool = False
    words: list[str] = Field(default=[])
    keys: list[str] = Field(default=[])  # of `whole` (the text), `first` and `last` (its words)

    @property
    def roles(self) -> dict[str, Part]:
        """Feature -> how it is used. A key has many levels and becomes only counts and target means."""
        if self.delimiter is not None:
            return {
                f"{self.prefix}.{number}{'.key' if part == 'key' else ''}": part
                for number, parts in enumerate(self.parts)
                for part in parts
            }
        made: dict[str, Part] = {f"{self.prefix}.length": "number"}
        if self.is_code:
            made |= {f"{self.prefix}.letters": "category", f"{self.prefix}.number": "number"}
        else:
            made[f"{self.prefix}.n_words"] = "number"
        made |= {f"{self.prefix}.has.{word}": "number" for word in self.words}
        return made | {f"{self.prefix}.{key}.key": "key" for key in self.keys}

    def expand(self, column: pd.Series) -> dict[str, pd.Series | FloatArray]:
        """Each row's features, from its own text: numbers, or `str` with missing values."""
        key = (self.model_dump_json(), digest(column))
        codes, made = KEPT.get(key, lambda: self._expand(column), _n_bytes)
        return {
            name: values[codes]
            if isinstance(values, np.ndarray)
            else pd.Series(values.array.take(codes), index=column.index)
            for name, values in made.items()
        }

    def _expand(self, column: pd.Series) -> Expanded:
        codes, texts = pd.factorize(column.astype(TEXT), use_na_sentinel=False)
        return codes, self._expand_unique(pd.Series(texts, dtype=TEXT))

    def _expand_unique(self, text: pd.Series) -> dict[str, pd.Series | FloatArray]:
        if self.delimiter is not None:
            pieces = text.str.split(self.delimiter, n=len(self.parts) - 1, regex=False, expand=True)
            pieces = pieces.reindex(columns=range(len(self.parts))).astype(TEXT)
            made: dict[str, pd.Series | FloatArray] = {}
            for name, part in self.roles.items():
                piece = pieces[int(name.removeprefix(f"{self.prefix}.").removesuffix(".key"))]
                made[name] = _numbers(piece) if part == "number" else piece
            return made
        made = {f"{self.prefix}.length": _numbers(text.str.len())}
        if self.is_code:
            made[f"{self.prefix}.letters"] = _letters(text)
            made[f"{self.prefix}.number"] = _numbers(text.str.extract(r"(\d+)\D*$", expand=False))
        else:
            made[f"{self.prefix}.n_words"] = _numbers(text.str.count(r"\S+"))
        found = [frozenset(WORD.findall(value)) if isinstance(value, str) else None for value in text.tolist()]
        for word in self.words:
            made[f"{self.prefix}.has.{word}"] = np.array([np.nan if f is None else float(word in f) for f in found])
        for key in self.keys:
            made[f"{self.prefix}.{key}.key"] = _key(text, key)
        return made


def fit_text(name: str, column: pd.Series, stem: str | None = None) -> TextColumn:
    """Learn the structure of a column's texts from the fit rows."""
    known = column.dropna().astype(TEXT)
    if known.empty:
        return TextColumn(name=name, stem=stem)
    for delimiter in DELIMITERS:
        n_parts = known.str.count(re.escape(delimiter)) + 1
        usual = int(n_parts.mode().iloc[0])
        if usual > 1 and (n_parts == usual).mean() >= MOSTLY:
            pieces = known[n_parts == usual].str.split(delimiter, regex=False, expand=True)
            parts = [_uses(pieces[number]) for number in range(usual)]
            if any(parts):
                return TextColumn(name=name, stem=stem, delimiter=delimiter, parts=parts)
    is_code = bool(known.str.contains(r"\d").mean() >= FEWEST_NUMBERS)
    keys = [key for key in (("whole",) if is_code else ("whole", "first", "last")) if _is_shared(_key(known, key))]
    words = [] if is_code else _frequent_words(known)
    return TextColumn(name=name, stem=stem, is_code=is_code, words=words, keys=keys)


def _n_bytes(expanded: Expanded) -> int:
    codes, made = expanded
    parts = (part.memory_usage(deep=True) if isinstance(part, pd.Series) else part.nbytes for part in made.values())
    return int(codes.nbytes + sum(parts))


def _uses(piece: pd.Series) -> list[Part]:
    """How to read a part; [] for constants, and for parts that hardly repeat."""
    n_levels = int(piece.nunique())
    if n_levels < 2:
        return []
    uses: list[Part] = []
    is_number = np.isfinite(_numbers(piece)).mean() >= MOSTLY
    if is_number and n_levels <= MOST_NUMBERS * len(piece):
        uses.append("number")
    elif not is_number and n_levels <= MOST_LEVELS:
        uses.append("category")
    if n_levels > MOST_LEVELS and _is_shared(piece):
        uses.append("key")
    return uses


def _is_shared(values: pd.Series) -> bool:
    """Whether there are many values, some of which several rows share."""
    n_levels = int(values.nunique())
    return bool(MOST_LEVELS < n_levels < 0.98 * values.notna().sum() and n_levels <= MOST_KEYS)


def _frequent_words(known: pd.Series) -> list[str]:
    counts = Counter(word for value in known for word in frozenset(WORD.findall(value)))
    low, high = RAREST_WORD * len(known), COMMONEST_WORD * len(known)
    frequent = [word for word, count in counts.items() if low <= count <= high]
    return sorted(frequent, key=lambda word: (-counts[word], word))[:MOST_WORDS]


def _key(text: pd.Series, key: str) -> pd.Series:
    if key == "whole":
        return text
    pattern = r"([^\W\d_]+)" if key == "first" else r"([^\W\d_]+)[^\w]*$"
    found: pd.Series = text.str.extract(pattern, expand=False)
    return found.astype(TEXT)


def _letters(text: pd.Series) -> pd.Series:
    """The letters before the first digit, in upper case; `-` for none."""
    before = text.str.extract(r"^([^\d]*)", expand=False).str.replace(r"[^A-Za-z]", "", regex=True).str.upper()
    letters: pd.Series = before.mask(before == "", "-").astype(TEXT)
    return letters


def _numbers(text: pd.Series) -> FloatArray:
    numbers: FloatArray = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers
