"""Texts as a few numbers: the leading components of their TF-IDF, for models that cannot read thousands of terms.

Knows text columns and fit rows; must not know targets. Latent semantic analysis: Deerwester et al. (1990).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pipeline.base.arrays import FloatArray
from pipeline.base.text import holds_sentences
from pipeline.encoders.columns import Fitted
from pipeline.encoders.kept import KEPT, digest
from pipeline.encoders.terms import TermWeights, Vocabulary, find_terms, weigh_terms

LONGEST = 2  # words of a term
MOST_TERMS = 4000
SAME_AS_NOTHING = 1e-6  # of the strongest component
DIGITS = 7  # of a stored loading; float32 has no more
BYTES_OF_TERM = 80  # in a tuple of Python


class TextComponents(Fitted):
    """The components of the TF-IDF of one column of sentences, or of several columns joined."""

    columns: list[str]
    stem: str  # what the names of the components begin with
    terms: list[str]
    idf: list[float]
    loadings: list[list[float]]  # (terms, components)

    @property
    def names(self) -> list[str]:
        """The names of the components."""
        n_components = len(self.loadings[0]) if self.loadings else 0
        return [f"{self.stem}.component.{number}" for number in range(n_components)]

    def read(self, frame: pd.DataFrame) -> dict[str, FloatArray]:
        """Each row's components by name; 0 for a text without known terms."""
        if not self.loadings:
            return {}
        known = _Terms(tuple(self.columns), tuple(self.terms), np.array(self.idf, dtype=np.float32))
        values = known.weighted(frame) @ np.array(self.loadings, dtype=np.float32)
        return dict(zip(self.names, values.T.astype(np.float64), strict=True))

    @classmethod
    def fit(
        cls, columns: Sequence[str], frame: pd.DataFrame, n_components: int, stem: str | None = None
    ) -> TextComponents:
        """Learn terms and components from the fit rows."""
        known = _Terms.fit(tuple(columns), frame)
        return cls(
            columns=list(columns),
            stem="+".join(columns) if stem is None else stem,
            terms=list(known.terms),
            idf=known.idf.tolist(),
            loadings=known.loadings(frame, n_components).tolist(),
        )


@dataclass(frozen=True)
class _Terms:
    """The terms of columns of sentences, and the inverse document frequencies of the rows that they were learned from.

    What models with other numbers of components learn from the same rows, and read in the same texts, is kept.
    """

    columns: tuple[str, ...]
    terms: tuple[str, ...]
    idf: NDArray[np.float32]

    @classmethod
    def fit(cls, columns: tuple[str, ...], frame: pd.DataFrame) -> _Terms:
        key = ("terms", columns, _digest(frame, columns))
        return KEPT.get(key, lambda: cls._fit(columns, frame), lambda found: found._n_bytes)

    @classmethod
    def _fit(cls, columns: tuple[str, ...], frame: pd.DataFrame) -> _Terms:
        (vocabulary,) = find_terms(frame, columns, words=LONGEST, characters=0, is_joined=True)
        weights = weigh_terms(vocabulary.count(frame), most=MOST_TERMS)
        return cls(columns, tuple(vocabulary.terms[position] for position in weights.chosen), weights.idf)

    def weighted(self, frame: pd.DataFrame) -> sparse.csr_matrix:
        """(rows, terms) TF-IDF of any rows, which callers must not modify."""
        key = ("weighted", self._key, _digest(frame, self.columns))
        return KEPT.get(key, lambda: self._weighted(frame), lambda made: _bytes_of(made) + self._n_bytes)

    @property
    def _key(self) -> tuple[tuple[str, ...], tuple[str, ...], bytes]:
        return self.columns, self.terms, self.idf.tobytes()

    @property
    def _n_bytes(self) -> int:
        return BYTES_OF_TERM * len(self.terms)

    def loadings(self, frame: pd.DataFrame, n_components: int) -> NDArray[np.float64]:
        """(terms, components) of the rows that the terms were learned from."""
        key = ("loadings", n_components, self._key, _digest(frame, self.columns))
        return KEPT.get(
            key, lambda: _loadings(self.weighted(frame), n_components), lambda made: made.nbytes + self._n_bytes
        )

    def _weighted(self, frame: pd.DataFrame) -> sparse.csr_matrix:
        counts = Vocabulary("words", self.columns, LONGEST, self.terms).count(frame)
        return TermWeights(np.arange(len(self.terms)), self.idf).weighted(counts)


def _bytes_of(matrix: sparse.csr_matrix) -> int:
    return int(matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes)


def _digest(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    return digest(*(frame[name] for name in columns))


def fit_text_components(
    names: Sequence[str], frame: pd.DataFrame, n_components: int, stems: Mapping[str, str] = MappingProxyType({})
) -> list[TextComponents]:
    """Learn the components of each column of sentences in `names`, and of all joined if there are several.

    `stems`: what the names of a column's components begin with, if not its name.
    """
    sentences = [name for name in names if n_components and holds_sentences(frame[name])]
    groups = [[name] for name in sentences] + ([sentences] if len(sentences) > 1 else [])
    joined = ["+".join(stems.get(name, name) for name in group) for group in groups]
    return [
        TextComponents.fit(group, frame, n_components, stem if len(group) == 1 or stem not in frame else f"{stem}'")
        for group, stem in zip(groups, joined, strict=True)
    ]


def _loadings(weighted: sparse.csr_matrix, n_components: int) -> NDArray[np.float64]:
    """(terms, components) right singular vectors, strongest first; their signs make the largest loading positive."""
    from scipy.sparse.linalg import svds

    n_components = min(n_components, min(weighted.shape) - 1)
    if n_components < 1:
        return np.zeros((weighted.shape[1], 0))
    start = np.full(min(weighted.shape), 1.0 / np.sqrt(min(weighted.shape)))
    _, strengths, rows = svds(weighted.astype(np.float64), k=n_components, v0=start, return_singular_vectors="vh")
    # what lies beyond the rank of the texts is no component: other vectors each time, and only rounding along them
    vectors = rows[strengths > SAME_AS_NOTHING * strengths.max(initial=0.0)][::-1].T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    loadings: NDArray[np.float64] = np.round(vectors * np.sign(largest), DIGITS)
    return loadings
