"""Embeddings of sentences by a sentence-transformers model in a local folder, once for each text.

Knows columns of text and the cache beside the features; must not know targets or folds. Nothing is learned from rows,
and nothing is fetched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base import files, weights
from pipeline.base.errors import SpecError
from pipeline.base.progress import progress_bar, say
from pipeline.base.text import TEXT, holds_sentences
from pipeline.competition.workspace import Workspace
from pipeline.config.spec import CompetitionSpec
from pipeline.config.types import Role

if TYPE_CHECKING:
    from pipeline.nets.sentences import SentenceModel

PACKAGE, KEY = "sentence_transformers", "[encoder] text_embeddings"
CHUNK = 2048  # texts of a file of the cache: what a killed call loses at most
FEWEST_FILES = ("config.json", "modules.json")  # one of them is in every model's folder

Vectors = NDArray[np.float32]


def model_folder(workspace: Workspace, spec: CompetitionSpec) -> Path | None:
    """The folder of the model that the spec names; None if it names none. Raises SpecError."""
    given = spec.encoder.text_embeddings
    if given is None:
        return None
    folder = weights.located(given, workspace.folder)
    if folder is None:
        hint = f"It is relative to {workspace.folder}, or absolute; nothing is downloaded. {weights.where_looked()}"
        raise SpecError(f"the folder {given!r} does not exist", where=KEY, hint=hint)
    if not folder.is_dir() or not any((folder / name).is_file() for name in FEWEST_FILES):
        hint = "`SentenceTransformer(...).save(FOLDER)` writes one: config.json, modules.json, a tokenizer and weights."
        raise SpecError(f"{folder} is not the folder of a sentence-transformers model", where=KEY, hint=hint)
    if importlib.util.find_spec(PACKAGE) is None:
        hint = "pip install -e '.[text]', or remove the key."
        raise SpecError("the package sentence-transformers is not installed", where=KEY, hint=hint)
    return folder


def columns_to_embed(frame: pd.DataFrame, roles: Mapping[str, Role]) -> list[str]:
    """The columns of sentences. Raises SpecError if there are none."""
    names = [name for name, role in roles.items() if role == "text" and holds_sentences(frame[name])]
    if not names:
        hint = "List the columns of sentences in [columns] texts, or remove the key."
        raise SpecError("no column holds sentences (five words or more on average)", where=KEY, hint=hint)
    return names


@dataclass
class TextEmbeddings:
    """A model and the vectors of the texts that it was given."""

    folder: Path
    cache: Path
    device: str = "auto"
    known: dict[str, Vectors] = field(default_factory=dict)  # text -> (numbers,)

    def prepare(self, columns: Iterable[pd.Series]) -> None:
        """Embed all texts of the columns; those in the cache are read from there."""
        texts = sorted({text for column in columns for text in _texts(column).unique().tolist()} - self.known.keys())
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        paths = [self.cache / f"{files.sha256_of_json([self._sha256, chunk])[:24]}.npy" for chunk in chunks]
        n_new = sum(len(chunk) for chunk, path in zip(chunks, paths, strict=True) if not path.exists())
        if not n_new:
            for chunk, path in zip(chunks, paths, strict=True):
                self.known |= self._kept(chunk, path)
            return
        say(f"text embeddings: {n_new} texts by {self.folder.name} ({self._model.device.type})")
        with progress_bar("text embeddings") as update, self._model.pool() as pool:
            futures = [pool.submit(self._kept, *one) for one in zip(chunks, paths, strict=True)]
            try:
                for number, future in enumerate(futures):
                    self.known |= future.result()
                    update((number + 1) / len(chunks), f"{min((number + 1) * CHUNK, len(texts))} of {len(texts)} texts")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def with_embeddings(
        self, frame: pd.DataFrame, roles: Mapping[str, Role], names: Sequence[str]
    ) -> tuple[pd.DataFrame, dict[str, Role]]:
        """The frame and its roles with the embeddings of the columns `names`, of a missing text those of an empty one.

        Texts that were not prepared are embedded, too, and not kept.
        """
        parts, new_roles = [frame], dict(roles)
        for name in names:
            codes, texts = pd.factorize(_texts(frame[name]))
            vectors = self._vectors([str(text) for text in texts])
            stem = f"{name} embedding"
            while f"{stem} 0" in frame.columns:
                stem += "'"
            made = [f"{stem} {number}" for number in range(vectors.shape[1])]
            parts.append(pd.DataFrame(vectors[codes], index=frame.index, columns=made))
            new_roles |= dict.fromkeys(made, "embedding")
        return pd.concat(parts, axis=1), new_roles

    def _vectors(self, texts: list[str]) -> Vectors:
        """(texts, numbers)."""
        new = [text for text in texts if text not in self.known]
        found: dict[str, Vectors] = {}
        if new:
            with self._model.pool() as pool:
                found = dict(zip(new, pool.submit(self._model.vectors, new).result(), strict=True))
        if not texts:
            return np.empty((0, len(next(iter(self.known.values()), ()))), dtype=np.float32)
        return np.stack([found[text] if text in found else self.known[text] for text in texts])

    def _kept(self, chunk: Sequence[str], path: Path) -> dict[str, Vectors]:
        """The vectors of the texts, from the cache or made and kept there."""
        vectors = files.read_checkpoint(files.read_npy, path)
        if vectors is None:
            vectors = self._model.vectors(chunk)
            files.write_npy(path, vectors)
        return dict(zip(chunk, vectors, strict=True))

    @cached_property
    def _sha256(self) -> str:
        return str(weights.sha256_of(self.folder))

    @cached_property
    def _model(self) -> SentenceModel:
        from pipeline.nets.sentences import SentenceModel

        try:
            return SentenceModel(self.folder, self.device)
        except Exception as error:  # each kind of file raises its own errors
            what = f"{self.folder} cannot be read as a sentence-transformers model: {str(error).splitlines()[0]}"
            raise SpecError(what, where=KEY) from error


def _texts(column: pd.Series) -> pd.Series:
    texts: pd.Series = column.fillna("").astype(TEXT)
    return texts
