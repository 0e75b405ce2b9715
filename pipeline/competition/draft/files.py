"""Which raw file is train, test and sample submission; which column is the id.

Must not know: targets, tasks, roles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.base.errors import DataError
from pipeline.competition.draft.ids import FoundIds, find_ids
from pipeline.competition.tables.ids import with_ids
from pipeline.competition.tables.reading import RawTable, read_raw

SUFFIXES = (".parquet", ".csv.gz", ".csv")  # if a table has several formats, the last of these is read
NAMES = {  # file -> stems that settle it, and a pattern of candidates
    "train": (("train", "training"), r"(^|[^a-z])train(ing)?([^a-z]|$)"),
    "test": (("test", "testing"), r"(^|[^a-z])test(ing)?([^a-z]|$)"),
    "sample_submission": (
        ("sample_submission", "samplesubmission", "sample-submission", "gender_submission"),
        r"submission",
    ),
}


@dataclass(frozen=True)
class DraftFiles:
    """The three tables, their names for [files] of the spec, and the id column."""

    train: RawTable
    test: RawTable
    sample: RawTable
    names: dict[str, str]  # key of [files] -> file name, if it is not the default
    ids: FoundIds

    @property
    def id(self) -> str:
        """The id column, which all three tables have here."""
        return self.ids.id

    @property
    def shared_columns(self) -> list[str]:
        """Columns of both train and test, without the id, in train's order."""
        return [c for c in self.train.frame.columns if c in self.test.frame.columns and c != self.id]

    @property
    def train_only_columns(self) -> list[str]:
        """Columns of train that test does not have."""
        return [c for c in self.train.frame.columns if c not in self.test.frame.columns and c != self.id]

    @property
    def predicted_columns(self) -> list[str]:
        """Columns of the sample submission, without the id."""
        return [c for c in self.sample.frame.columns if c != self.id]


def find_files(raw: Path) -> DraftFiles:
    """Find the three files by their names and the id by its values. Raises DataError that lists what was found."""
    names = sorted(path.name for path in raw.iterdir() if path.is_file()) if raw.is_dir() else []
    name_of_stem = {name.removesuffix(suffix): name for suffix in SUFFIXES for name in names if name.endswith(suffix)}
    stems = {key: _stem_of(key, raw, name_of_stem, names) for key in NAMES}
    train, test, sample = tables = [read_raw(raw / name_of_stem[stem]) for stem in stems.values()]
    for table in tables:
        if len(table.frame) == 0:
            raise DataError("has no rows", where=table.where())
    other_names = {key: f"{stem}.csv" for key, stem in stems.items() if stem != key}  # `.csv` also finds `.parquet`
    ids = find_ids(train, test, sample)
    train, test, sample = with_ids(train, test, sample, ids.id, ids.columns)
    return DraftFiles(train, test, sample, other_names, ids)


def _stem_of(key: str, raw: Path, name_of_stem: dict[str, str], names: list[str]) -> str:
    usual, pattern = NAMES[key]
    for stem in usual:
        exact = [found for found in name_of_stem if found.lower() == stem]
        if len(exact) == 1:
            return exact[0]
    found = [stem for stem in name_of_stem if re.search(pattern, stem.lower())]
    if key != "sample_submission":
        found = [stem for stem in found if "submission" not in stem.lower()]
    if len(found) == 1:
        return found[0]
    what = f"several files may be the {key} file" if found else f"no file looks like the {key} file"
    raise DataError(
        f"{what}: {', '.join([name_of_stem[stem] for stem in found] or names) or 'the folder has no files'}",
        where=str(raw),
        hint=f"Rename it to {key}.csv, or write the spec by hand with the file's name under [files]. The other files "
        f"are {' and '.join(f'{other}.csv' for other in NAMES if other != key)}.",
    )
