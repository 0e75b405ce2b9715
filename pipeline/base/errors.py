"""Errors for the user: what is wrong, where, and how to fix it. `pipeline.cli.application` alone catches PipelineError.

Must not know any stage.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pipeline.base.printable import printable
from pipeline.base.redaction import redact


class PipelineError(Exception):
    """A problem that the user can fix. `where` names the file, column or row; `hint` says how."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        what, where, hint = redact(what), redact(where), redact(hint)
        self.what, self.where, self.hint = printable(what), printable(where, is_one_line=True), printable(hint)
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """`where: what`, then the hint on a line of its own."""
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n{self.hint}" if self.hint else first


class SpecError(PipelineError, ValueError):
    """A spec, a preset or an option is wrong."""


class DataError(PipelineError, ValueError):
    """A raw file is missing or has invalid content."""


class ArtifactError(PipelineError):
    """An artifact cannot be read or written."""


class NewerFormatError(ArtifactError):
    """A newer version of this program wrote the artifact. It is not overwritten."""


class KaggleError(PipelineError):
    """Kaggle refused, failed or could not be reached. `kind` is one word for it; Kaggle sets `retry_after_s`."""

    exit_code = 3

    def __init__(
        self, what: str, *, kind: str, where: str = "Kaggle", hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind, self.retry_after_s = kind, retry_after_s


class TrainingError(PipelineError):
    """Training cannot continue: the loss is not finite, memory is full."""


class ClusterError(PipelineError):
    """A cluster cannot be reached, was lost, or has workers that are no use."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most similar to `word`, ignoring case, or None if there is no similar one."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word, or list the known words."""
    known = list(known)
    if (near := nearest(word, known)) is not None:
        return f"Did you mean {near!r}?"
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"Known: {shown}" if known else ""
