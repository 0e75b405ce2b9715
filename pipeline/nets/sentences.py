"""Sentences as vectors, by a sentence-transformers model in a local folder: nothing is fetched.

Knows texts and torch; must not know tables or where vectors are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray

PACKAGE = "sentence_transformers"
BATCH = 64


class SentenceModel:
    """The model of a folder. `device` is auto (a GPU if there is one) or a device's name."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load it. Raises any error for a folder that holds none."""
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # a folder of plain transformers gets mean pooling
        given = None if device == "auto" else device
        self._model = SentenceTransformer(str(folder.resolve()), device=given, local_files_only=True)
        self.device: torch.device = self._model.device

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, numbers)."""
        found = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, dtype=np.float32)

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Yield threads to call `vectors` in: on a CPU one a core, each with one core; else one.

        Sums of more threads end in other bits.
        """
        if self.device.type != "cpu":
            with ThreadPoolExecutor(1) as pool:
                yield pool
            return
        before, one_thread = torch.get_num_threads(), _one_thread()
        one_thread()
        try:
            with ThreadPoolExecutor(cpu_count(), initializer=one_thread) as pool:
                yield pool
        finally:
            torch.set_num_threads(before)


def _one_thread() -> Callable[[], None]:
    return lambda: torch.set_num_threads(1)
