"""One seed in the config; everything random derives its own from it. Knows nothing of what the seeds are for."""

from __future__ import annotations

import zlib

import numpy as np


def derive_seed(seed: int, *path: int | str) -> int:
    """A seed for the use named by `path`, e.g. `derive_seed(0, "fold", 3, "member", 1)`; 63 bits, same everywhere."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    # the length goes in, because a SeedSequence takes [1] and [1, 0] for the same
    return int(np.random.SeedSequence([seed, len(words), *words]).generate_state(1, np.uint64)[0] >> np.uint64(1))
