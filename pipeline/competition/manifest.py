"""The manifest of the feature tables. Must not know how the tables are made or read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipeline.base import files
from pipeline.competition.tables.typed import ColumnRecipe
from pipeline.config.artifact import Artifact, Record
from pipeline.config.file_record import FileRecord, fault_among
from pipeline.config.types import Label, Role

FILE_NAMES = {
    **{table: f"{table}.parquet" for table in ("train", "test", "train_rows", "test_rows", "sample_submission")},
    "folds": "folds.npy",
}


class FeatureFiles(Record):
    """The files beside the manifest, as they were written."""

    train: FileRecord
    test: FileRecord
    train_rows: FileRecord
    test_rows: FileRecord
    sample_submission: FileRecord
    folds: FileRecord

    @classmethod
    def of(cls, folder: Path) -> FeatureFiles:
        """Record the files in `folder`."""
        return cls(**{key: FileRecord.of(folder / name) for key, name in FILE_NAMES.items()})

    def fault_in(self, folder: Path) -> str:
        """Describe the first file in `folder` that is missing or was changed; "" if there is none."""
        return fault_among(folder, {name: getattr(self, key) for key, name in FILE_NAMES.items()})


class FeatureManifest(Artifact):
    """`features/manifest.json`: columns, row counts, classes, folds, hashes."""

    WHAT: ClassVar[str] = "a features manifest"
    REMEDY: ClassVar[str] = "Delete it; `make features` writes it again."

    format: Literal[2] = 2
    competition: str
    is_sample: bool
    data: str
    fingerprint: str
    made_of: dict[str, str]  # input -> hash
    raw_files: dict[str, FileRecord]  # those that were read
    files: FeatureFiles
    n_train_rows: int  # of the train file
    n_extra_rows: int = 0  # of [[extra_rows]]; they follow the others in `train`, `train_rows` and `folds`
    n_test_rows: int
    roles: dict[str, Role]
    dtypes: dict[str, str]
    recipes: list[ColumnRecipe]
    left_out: dict[str, str]  # column -> why
    classes: list[Label]  # in code order; [] for regression
    n_folds: int
    rows_by_fold: list[int]
    n_never_validated: int  # of the train file
    notes: list[str]
    versions: dict[str, str]

    @property
    def tables(self) -> str:
        """A hash of all that runs read: content of the tables and folds, roles of the columns."""
        read = self.model_dump(mode="json", include={"is_sample", "roles", "recipes", "classes"})
        tables = self.files.model_dump(mode="json", exclude={"sample_submission"})
        return files.sha256_of_json([read, tables, sorted(self.left_out)])
