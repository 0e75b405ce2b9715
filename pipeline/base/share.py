"""How several processes, each with a GPU of its own, share the fits of one run.

Must not know what a fit is. The processes write checkpoints into one folder and do not talk to each other.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

VARIABLE = "PIPELINE_SHARE"  # "0/2" and "1/2" in the processes that share a run, "/2" in the one that collects


class ShareDone(Exception):
    """This process has trained its share; another process reads the results from the checkpoints."""


@dataclass(frozen=True)
class Share:
    """The fits that this process trains when `of` processes share a run; all must agree on `of`.

    `number` is None in the process that comes last: it reads what the others have trained and trains what is missing.
    """

    of: int = 1
    number: int | None = None

    @classmethod
    def from_environment(cls) -> Share:
        """Return the share that the environment gives this process: everything, unless it is one of several."""
        found = re.fullmatch(r"(\d*)/([1-9]\d*)", os.environ.get(VARIABLE, ""))
        return cls(int(found[2]), int(found[1]) if found[1] else None) if found else WHOLE

    def has(self, number: int) -> bool:
        """Whether this process trains the fit with this number."""
        return self.number is None or number % self.of == self.number

    def end(self) -> None:
        """Raise ShareDone unless this process has everything."""
        if self.number is not None:
            raise ShareDone


WHOLE = Share()
