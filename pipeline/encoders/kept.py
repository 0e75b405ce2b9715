"""Results of slow functions, kept for models that ask for the same, as members of a race do of their texts.

Knows keys and sizes; must not know what is computed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

import pandas as pd

T = TypeVar("T")

MOST_BYTES = 256 << 20


class Kept:
    """The results asked for last, up to a number of bytes; for several threads. Callers must not modify them."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = Lock()
        self._known: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # key -> result, its bytes

    def get(self, key: Hashable, make: Callable[[], T], n_bytes: Callable[[T], int]) -> T:
        """The result of `make`, or that of an earlier call with the key; `n_bytes` tells its size."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                found: T = self._known[key][0]
                return found
        made = make()
        with self._lock:
            self._known[key] = made, n_bytes(made)
            while self.n_bytes > self.most_bytes:
                self._known.popitem(last=False)
        return made

    @property
    def n_bytes(self) -> int:
        """The bytes of all results."""
        return sum(size for _, size in self._known.values())


KEPT = Kept(MOST_BYTES)  # of this process: what is learned from texts, and how they are read


def digest(*columns: pd.Series) -> str:
    """A hash of the cells of some columns, in the order of the rows."""
    total = hashlib.sha256(str(len(columns)).encode())
    for column in columns:
        total.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
    return total.hexdigest()
