"""Which raw file is train, test and sample submission; which column is the id.

Must not know: targets, tasks, roles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.base.errors import DataError, did_you_mean
from pipeline.competition.tables.reading import RawTable, as_written, read_raw

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
USUAL_STEMS = {  # file -> stems that settle it, then the pattern that makes a candidate
    "train": (("train", "training"), r"(^|[^a-z])train(ing)?([^a-z]|$)"),
    "test": (("test", "testing"), r"(^|[^a-z])test(ing)?([^a-z]|$)"),
    "sample_submission": (
        ("sample_submission", "samplesubmission", "sample-submission", "gender_submission"),
        r"submission",
    ),
}


@dataclass(frozen=True)
class DraftFiles:
    """The three tables, the names [files] needs, and the id column."""

    train: RawTable
    test: RawTable
    sample: RawTable
    names: dict[str, str]  # key of [files] -> file name, where it is not the default
    id: str

    @property
    def shared_columns(self) -> list[str]:
        """Columns of train and test, the id excepted, in train's order."""
        return [c for c in self.train.frame.columns if c in self.test.frame.columns and c != self.id]

    @property
    def lacking_columns(self) -> list[str]:
        """Columns of train that test lacks."""
        return [c for c in self.train.frame.columns if c not in self.test.frame.columns and c != self.id]


def find_files(raw: Path) -> DraftFiles:
    """Recognise the three files by their names and the id by its values. Raises DataError listing what was found."""
    paths = {key: _find(raw, key) for key in USUAL_STEMS}
    train, test, sample = (read_raw(paths[key]) for key in ("train", "test", "sample_submission"))
    for table in (train, test, sample):
        if len(table.frame) == 0:
            raise DataError("there are no rows", where=table.where())
    names = {key: _spec_name(path) for key, path in paths.items() if _spec_name(path) != f"{key}.csv"}
    return DraftFiles(train, test, sample, names, _find_id(train, test, sample))


def _spec_name(path: Path) -> str:
    """The name [files] gives: `.csv` also finds `.csv.gz` and `.parquet`."""
    return _stem(path.name) + ".csv"


def _stem(name: str) -> str:
    suffix = next(s for s in (".csv.gz", ".parquet", ".csv") if name.endswith(s))
    return name.removesuffix(suffix)


def _find(raw: Path, key: str) -> Path:
    all_files = sorted(p.name for p in raw.iterdir() if p.is_file()) if raw.is_dir() else []
    by_stem: dict[str, str] = {}
    for suffix in reversed(TABLE_SUFFIXES):  # the same table in two formats: the csv is the one on Kaggle
        by_stem |= {_stem(name): name for name in all_files if name.endswith(suffix) and _stem(name)}
    stems, pattern = USUAL_STEMS[key]
    for stem in stems:
        exact = [name for found, name in by_stem.items() if found.lower() == stem]
        if len(exact) == 1:
            return raw / exact[0]
    others = [k for k in USUAL_STEMS if k != key]
    found = [name for stem, name in by_stem.items() if re.search(pattern, stem.lower())]
    if key != "sample_submission":
        found = [name for name in found if not re.search(USUAL_STEMS["sample_submission"][1], name.lower())]
    if len(found) == 1:
        return raw / found[0]
    listing = ", ".join(found or all_files) or "none"
    what = f"several files may be the {key} file" if found else f"no file looks like the {key} file"
    raise DataError(
        f"{what}: {listing}",
        where=str(raw),
        hint=f"Name it {key}.csv (the others are {' and '.join(f'{k}.csv' for k in others)}), or write the spec by "
        "hand and name the file under [files].",
    )


def _find_id(train: RawTable, test: RawTable, sample: RawTable) -> str:
    shared = [c for c in sample.frame.columns if c in test.frame.columns]
    for name in shared:
        if _same_values(sample.column(name, markers=("",)), test.column(name, markers=("",))):
            if name not in train.frame.columns:
                raise DataError(
                    f"there is no id column {name!r}, as the other two files have",
                    where=train.where(),
                    hint=did_you_mean(name, train.frame.columns),
                )
            return name
    first = sample.frame.columns[0]
    if not shared:
        hint = f"Its columns are {', '.join(map(repr, sample.frame.columns))}; {test.path.name} has none of them"
        hint += f" (a row number as id?): add the column {first!r} to {train.path.name} and {test.path.name}."
    else:
        hint = "; ".join(_difference(name, sample, test) for name in shared)
    raise DataError(f"no column holds the ids of {test.path.name}", where=sample.where(), hint=hint)


def _same_values(left: pd.Series, right: pd.Series) -> bool:
    if len(left) != len(right) or left.isna().any() or right.isna().any():
        return False
    left_ids, right_ids = set(as_written(left)), set(as_written(right))
    return left_ids == right_ids and len(left_ids) == len(left)


def _difference(name: str, sample: RawTable, test: RawTable) -> str:
    values = as_written(sample.column(name)).dropna()
    n_found = int(values.isin(as_written(test.column(name))).sum())
    n_distinct = values.nunique()
    return (
        f"{name!r}: {n_found} of the sample's {len(values)} values ({n_distinct} different) are in {test.path.name}, "
        f"which has {test.column(name).nunique()} different ones in {len(test.frame)} rows"
    )
