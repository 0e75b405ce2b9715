"""TF-IDF of texts: words and pairs of words of each column, and character n-grams of all columns together.

Knows text columns and rows; must not know targets or folds. Language-free: no stop words, no stemming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pipeline.base.text import TEXT

WORD_OR_SIGN = r"(?u)\w+|[^\w\s]"  # signs carry style and emphasis
FEWEST_CHARACTERS = 2  # of a character n-gram
MOST_CHARACTERS = 30_000_000  # in all texts; more would take gigabytes as character n-grams
LEAST_ROWS = 2  # of a term; a term of one row says nothing about another

Kind = Literal["words", "characters"]


@dataclass(frozen=True)
class Vocabulary:
    """The terms of one group of text columns, and how to find them in a text."""

    kind: Kind
    columns: tuple[str, ...]
    longest: int  # words or characters of a term
    terms: tuple[str, ...]

    def count(self, frame: pd.DataFrame) -> sparse.csr_matrix:
        """(rows, terms) float32 counts, for any frame with the columns."""
        if not self.terms:
            return sparse.csr_matrix((len(frame), 0), dtype=np.float32)
        counter = _counter(self.kind, self.longest, vocabulary={term: code for code, term in enumerate(self.terms)})
        return sparse.csr_matrix(counter.transform(_texts(frame, self.columns)))


@dataclass(frozen=True)
class TermWeights:
    """Terms chosen from a vocabulary by the fit rows, with their inverse document frequencies there."""

    chosen: NDArray[np.int64]  # (chosen,) positions in the vocabulary
    idf: NDArray[np.float32]  # (chosen,)

    def weighted(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """(rows, chosen) (1 + log count) x idf, each row of length 1."""
        from sklearn.preprocessing import normalize

        some = sparse.csr_matrix(counts[:, self.chosen], dtype=np.float32)
        if not some.nnz:
            return some
        some.data = (1.0 + np.log(some.data)) * self.idf[some.indices]
        return sparse.csr_matrix(normalize(some, copy=False))


def find_terms(
    frame: pd.DataFrame, columns: Sequence[str], *, words: int, characters: int, is_joined: bool = False
) -> list[Vocabulary]:
    """The vocabularies of the text columns: terms of up to `words` words or `characters` characters.

    Words are found in each column by itself, or in all of them `is_joined`; characters in all of them.

    A term occurs in at least two rows. What the fit rows of a fold do not have is left out by `weigh_terms`: this only
    saves cutting the same texts once for each fold.
    """
    groups = [tuple(columns)] if is_joined else [(name,) for name in columns]
    found = [_vocabulary("words", group, words, frame) for group in groups]
    n_characters = sum(int(frame[name].str.len().sum()) for name in columns)
    if characters >= FEWEST_CHARACTERS and n_characters <= MOST_CHARACTERS:
        found.append(_vocabulary("characters", tuple(columns), characters, frame))
    return found


def weigh_terms(counts: sparse.csr_matrix, *, most: int) -> TermWeights:
    """Choose the terms that occur in at least two of these rows, the `most` frequent ones, and weigh them.

    idf = 1 + log((1 + rows) / (1 + rows with the term)), as scikit-learn's `TfidfVectorizer`.
    """
    n_rows_with = np.bincount(counts.indices, minlength=counts.shape[1])
    chosen = np.flatnonzero(n_rows_with >= LEAST_ROWS)
    if len(chosen) > most:
        chosen = np.sort(chosen[np.argsort(-n_rows_with[chosen], kind="stable")[:most]])
    idf = 1.0 + np.log((1.0 + counts.shape[0]) / (1.0 + n_rows_with[chosen]))
    return TermWeights(chosen, idf.astype(np.float32))


def _vocabulary(kind: Kind, columns: tuple[str, ...], longest: int, frame: pd.DataFrame) -> Vocabulary:
    counter = _counter(kind, longest, min_df=LEAST_ROWS)
    try:
        counter.fit(_texts(frame, columns))
    except ValueError:  # no term is left
        return Vocabulary(kind, columns, longest, ())
    return Vocabulary(kind, columns, longest, tuple(counter.get_feature_names_out().tolist()))


def _counter(kind: Kind, longest: int, **options: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    if kind == "words":
        return CountVectorizer(ngram_range=(1, longest), token_pattern=WORD_OR_SIGN, dtype=np.float32, **options)
    return CountVectorizer(analyzer="char_wb", ngram_range=(FEWEST_CHARACTERS, longest), dtype=np.float32, **options)


def _texts(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    joined = frame[columns[0]].fillna("").astype(TEXT)
    for name in columns[1:]:
        joined = joined + " " + frame[name].fillna("").astype(TEXT)
    return [str(text) for text in joined.tolist()]
