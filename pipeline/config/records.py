"""Small artifacts: sources of raw files, provenance of submissions, repeats, results of tuning.

Must not know how any of them is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipeline.config.artifact import Artifact, Record, Score
from pipeline.config.file_record import FileRecord
from pipeline.config.run import FinalStrategy, RunConfig

SOLUTION = "../solution/solution.csv"  # relative to `raw/`
KAGGLE_FACTS = "kaggle.json"  # in `raw/`


class RawSource(Artifact):
    """`raw/source.json`: where the raw files came from, and their content then."""

    WHAT: ClassVar[str] = "a record of raw files"
    REMEDY: ClassVar[str] = (
        "Delete the folder {folder} to fetch the files again; first move files of your own elsewhere."
    )

    format: Literal[1] = 1
    source: str
    is_sample: bool
    fetched_at: str  # ISO, UTC
    files: dict[str, FileRecord]  # name in the folder -> its content; also SOLUTION, if there is one

    @property
    def raw_files(self) -> dict[str, FileRecord]:
        """The files in the folder."""
        return {name: file for name, file in self.files.items() if name != SOLUTION}


class KaggleFacts(Artifact):
    """`raw/kaggle.json`: what Kaggle told of the competition when the files were downloaded."""

    WHAT: ClassVar[str] = "a record of what Kaggle told"
    REMEDY: ClassVar[str] = "Delete it."

    format: Literal[1] = 1
    metric: str  # display name of the evaluation metric


def metric_at_kaggle(raw: Path) -> str:
    """Kaggle's name of the evaluation metric, "" if it is not known; `raw` is the folder of the raw files."""
    facts = KaggleFacts.read_or_none(raw / KAGGLE_FACTS, otherwise="Kaggle's metric counts as unknown")
    return "" if facts is None else facts.metric


class Place(Artifact):
    """`submissions/<competition>/place.json`: the team's place on the public leaderboard when it was last asked for."""

    WHAT: ClassVar[str] = "a record of the place on the leaderboard"
    REMEDY: ClassVar[str] = "Delete {path}; `make leaderboard` writes it again."

    format: Literal[1] = 1
    rank: int | None  # None: not on it
    n_teams: int
    awards_medals: bool
    asked_at: str  # ISO, UTC


class NotebookVersion(Record):
    """The notebook at Kaggle that wrote a submission."""

    owner: str
    slug: str
    version: int
    file_name: str
    bundle: str  # sha256 of what was pushed
    is_code: bool  # the competition accepts only notebooks


class Provenance(Artifact):
    """`submissions/<competition>/<run>.json`: everything that made a submission."""

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
    cv_score: Score
    nested_score: float | None  # of an ensemble
    final: FinalStrategy
    final_reason: str
    fingerprint: str  # of everything that the file depends on
    config: RunConfig
    raw_files: dict[str, str]  # name -> sha256
    git_commit: str | None
    versions: dict[str, str]
    made_at: str  # ISO, UTC
    elapsed_s: float
    kernel: NotebookVersion | None


class Repeat(Record):
    """Scores of a run's configuration on other folds."""

    fold_seed: int
    cv_score: Score
    fold_scores: list[Score]


class Repeats(Artifact):
    """`runs/<run>/repeats.json`: mean and standard deviation over the run's own folds and the others."""

    WHAT: ClassVar[str] = "a record of repeats"

    format: Literal[1] = 1
    fingerprint: str
    own: Score
    mean: Score
    sd: Score
    repeats: list[Repeat]


class CheckpointMark(Artifact):
    """`checkpoints/fingerprint.json`: the run that the checkpoints belong to."""

    WHAT: ClassVar[str] = "a fingerprint of checkpoints"

    format: Literal[1] = 1
    fingerprint: str


class FoldsSeen(Record):
    """A configuration's score on the folds of the study, and on others."""

    tuned_folds: Score
    fresh_folds: list[Score]


class Confirmation(Record):
    """The best trials and the untuned default, scored on folds that the study has not seen."""

    default: FoldsSeen
    chosen: FoldsSeen
    candidates: list[FoldsSeen]
    lead_on_tuned_folds: Score
    lead_on_fresh_folds: Score


class EnsembleComparison(Record):
    """The numbers behind the choice between an ensemble of trials and a single trial."""

    is_chosen: bool
    weights: dict[str, float]  # trial -> weight
    selection_score: Score
    nested_score: Score
    single_nested_score: Score
    single_seeds: int
    lead: Score
    lead_error: Score


class TuningResult(Artifact):
    """`tuning/<model>/best.json`: the configuration that tuning chose, and the evidence for it."""

    WHAT: ClassVar[str] = "a result of tuning"
    REMEDY: ClassVar[str] = "Delete {path}; `make tune` writes it again from the finished trials."

    format: Literal[1] = 1
    study: str
    n_trials: int
    metric: str
    cv_score: Score
    n_train_rows: int
    is_of_all_rows: bool
    confirmation: Confirmation | None
    ensemble: EnsembleComparison | None
    config: RunConfig
    features: str  # fingerprint of the data that trials were trained on
    is_sample: bool
    written_at: str  # ISO, UTC
