"""Where raw files came from, and what a submission is made of. Must not know how either is made."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.config.artifact import Artifact, Record
from pipeline.config.run import FinalStrategy, RunConfig


class RawFile(Record):
    """A file's content."""

    bytes: int
    sha256: str


class RawSource(Artifact):
    """`raw/source.json`: where the raw files came from, and what they held then."""

    WHAT: ClassVar[str] = "a record of raw files"
    REMEDY: ClassVar[str] = (
        "Delete the folder {folder} to fetch the files again; files that you put there yourself must be kept elsewhere."
    )

    format: Literal[1] = 1
    source: str
    is_sample: bool
    fetched_at: str  # ISO, UTC
    files: dict[str, RawFile]


class NotebookVersion(Record):
    """The notebook at Kaggle that wrote a submission."""

    owner: str
    slug: str
    version: int
    file_name: str
    bundle: str  # sha256 of what was pushed
    is_code: bool  # the competition takes notebooks alone


class Provenance(Artifact):
    """`submissions/<competition>/<run>.json`: all that a submission is made of."""

    WHAT: ClassVar[str] = "a submission's provenance"
    REMEDY: ClassVar[str] = "Delete {path} and make the submission again: `make submit`."

    format: Literal[1] = 1
    run: str
    submission: str
    sha256: str
    n_rows: int
    data: str
    is_sample: bool
    metric: str
    cv_score: float
    nested_score: float | None  # of an ensemble
    final: FinalStrategy
    final_reason: str
    fingerprint: str
    config: RunConfig
    raw_files: dict[str, str]  # name -> sha256
    git_commit: str | None
    versions: dict[str, str]
    made_at: str  # ISO, UTC
    elapsed_s: float
    kernel: NotebookVersion | None
