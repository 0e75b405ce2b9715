"""Texts as a few numbers: the leading components of their TF-IDF, for models that cannot read thousands of terms.

Knows text columns and fit rows; must not know targets. Latent semantic analysis: Deerwester et al. (1990).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from pipeline.base.arrays import FloatArray
from pipeline.encoders.columns import Fitted
from pipeline.encoders.terms import TermWeights, Vocabulary, find_terms, holds_sentences, weigh_terms

LONGEST = 2  # words of a term
MOST_TERMS = 4000
DIGITS = 7  # of a stored loading; float32 has no more


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
        counts = Vocabulary("words", tuple(self.columns), LONGEST, tuple(self.terms)).count(frame)
        weights = TermWeights(np.arange(len(self.terms)), np.array(self.idf, dtype=np.float32))
        values = weights.weighted(counts) @ np.array(self.loadings, dtype=np.float32)
        return dict(zip(self.names, values.T.astype(np.float64), strict=True))

    @classmethod
    def fit(
        cls, columns: Sequence[str], frame: pd.DataFrame, n_components: int, stem: str | None = None
    ) -> TextComponents:
        """Learn terms and components from the fit rows."""
        (vocabulary,) = find_terms(frame, columns, words=LONGEST, characters=0, is_joined=True)
        counts = vocabulary.count(frame)
        weights = weigh_terms(counts, most=MOST_TERMS)
        return cls(
            columns=list(columns),
            stem="+".join(columns) if stem is None else stem,
            terms=[vocabulary.terms[position] for position in weights.chosen],
            idf=weights.idf.tolist(),
            loadings=_loadings(weights.weighted(counts), n_components).tolist(),
        )


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
    vectors = svds(weighted.astype(np.float64), k=n_components, v0=start, return_singular_vectors="vh")[2][::-1].T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(n_components)]
    loadings: NDArray[np.float64] = np.round(vectors * np.sign(largest), DIGITS)
    return loadings
