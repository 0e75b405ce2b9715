"""The manifest of the feature tables. Must not know how the tables are made or read."""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline.competition.tables.typed import ColumnRecipe
from pipeline.config.artifact import Artifact
from pipeline.config.records import RawFile
from pipeline.config.types import Label, Role


class FeatureManifest(Artifact):
    """`features/manifest.json`: columns, row counts, classes, folds, hashes."""

    WHAT: ClassVar[str] = "a features manifest"
    REMEDY: ClassVar[str] = "Delete it; `make features` writes it again."

    format: Literal[1] = 1
    competition: str
    is_sample: bool
    data: str
    fingerprint: str
    raw_files: dict[str, RawFile]
    n_train_rows: int
    n_test_rows: int
    roles: dict[str, Role]
    dtypes: dict[str, str]
    recipes: list[ColumnRecipe]
    left_out: dict[str, str]  # column -> why
    classes: list[Label]  # in code order; [] for regression
    n_folds: int
    rows_by_fold: list[int]
    n_never_validated: int
    folds_sha256: str
    notes: list[str]
    versions: dict[str, str]
