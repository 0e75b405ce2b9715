"""Seeds derived from the one in the configuration. Must not know what they are for."""

from __future__ import annotations

import zlib

import numpy as np


def derive_seed(seed: int, *path: int | str) -> int:
    """Derive a 63-bit seed for the use `path`, e.g. `derive_seed(0, "fold", 3, "member", 1)`; same on every machine."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    # the length is included because a SeedSequence does not tell [1] from [1, 0]
    return int(np.random.SeedSequence([seed, len(words), *words]).generate_state(1, np.uint64)[0] >> np.uint64(1))
