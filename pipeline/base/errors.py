"""The errors a user may see. Each says what is wrong, where, and what would be right.

Knows nothing of any stage; `pipeline.cli` is the one place that catches `PipelineError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """A mistake the user can mend. `where` names file, column or row; `hint` says what would be right."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One to three lines: `where: what`, then the hint."""
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n{self.hint}" if self.hint else first


class SpecError(PipelineError, ValueError):
    """`competition.toml`, a preset or a `--set` is wrong."""


class DataError(PipelineError, ValueError):
    """A raw file is missing or holds what it must not."""


class ArtifactError(PipelineError):
    """An artifact cannot be read or written."""


class KaggleError(PipelineError):
    """Kaggle refused, failed or could not be reached. `kind` is one word for it; `retry_after_s` is Kaggle's wish."""

    exit_code = 3

    def __init__(
        self, what: str, *, kind: str, where: str = "Kaggle", hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind, self.retry_after_s = kind, retry_after_s


class TrainingError(PipelineError):
    """Training could not go on (a loss that is not finite, no memory)."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, ignoring case, or None when nothing is near."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when a known word is near, else the list of the known ones."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"Did you mean {near!r}?"
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"Known: {shown}" if known else ""
