"""Which raw file is train, test, labels and sample submission, and what further files are for; which column is the id.

Must not know: targets, tasks, roles.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.base.errors import DataError
from pipeline.competition.draft.ids import FoundIds, find_ids
from pipeline.competition.draft.joins import FoundTables, guess_tables
from pipeline.competition.tables.assembly import divided, with_labels
from pipeline.competition.tables.checks import CLASS_MARKERS, class_markers
from pipeline.competition.tables.deciding import MIN_NUMBER_SHARE
from pipeline.competition.tables.formats import is_table, table_name
from pipeline.competition.tables.ids import with_ids
from pipeline.competition.tables.reading import RawTable, as_written, numbers_of, read_header, read_raw
from pipeline.config.sections import Split

NAMES = {  # file -> stems that settle it, and a pattern of candidates
    "train": (("train", "training"), r"(^|[^a-z])train(ing)?([^a-z]|$)"),
    "test": (("test", "testing"), r"(^|[^a-z])test(ing)?([^a-z]|$)"),
    "sample_submission": (
        ("sample_submission", "samplesubmission", "sample-submission", "gender_submission"),
        r"submission",
    ),
}
LABELS = re.compile(r"(^|[^a-z])(labels?|targets?|outcomes?|solutions?|y)([^a-z]|$)", re.IGNORECASE)
MOST_SETS = 10  # distinct values of a column that says which rows are test
TEST_VALUE = re.compile("test(ing)?", re.IGNORECASE)


@dataclass(frozen=True)
class DraftFiles:
    """The three tables, with the columns of further ones; their names for [files] of the spec, and the id column."""

    train: RawTable
    test: RawTable
    sample: RawTable
    names: dict[str, str]  # key of [files] -> file name, if it is not the default
    ids: FoundIds
    evidence: dict[str, str] = field(default_factory=dict)  # key of [files] or [split] -> why
    split: Split = field(default_factory=Split)
    tables: FoundTables = field(default_factory=lambda: FoundTables([], []))

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

    def markers_of(self, target: str) -> frozenset[str]:
        """The texts that mark a missing class of a target; none that the sample submission has among its labels."""
        present = self.train.column(target, markers=CLASS_MARKERS).dropna()
        if len(present) == 0 or (~np.isnan(numbers_of(present))).mean() >= MIN_NUMBER_SHARE:
            return CLASS_MARKERS
        return class_markers(self.sample, self.predicted_columns)


@dataclass(frozen=True)
class _Folder:
    """The tables in a folder by the stem of their names, the preferred format of each."""

    raw: Path
    files: list[str]
    name_of_stem: dict[str, str]

    def read(self, stem: str) -> RawTable:
        table = read_raw(self.raw / self.name_of_stem[stem])
        if len(table.frame) == 0:
            raise DataError("has no rows", where=table.where())
        return table

    def name_for_spec(self, stem: str) -> str:
        found = table_name(self.name_of_stem[stem])
        return found.uncompressed if found else stem


def find_files(raw: Path) -> DraftFiles:
    """Find the files by their names and contents, the id by its values. Raises DataError that lists what was found."""
    folder = _folder(raw)
    train_stem = _stem_of("train", folder)
    test_stem = _stem_of("test", folder)
    if not folder.name_of_stem:
        _needed("train", folder)
    sample_stem = _needed("sample_submission", folder)
    sample = folder.read(sample_stem)
    predicted = [str(name) for name in sample.frame.columns[1:]]
    evidence: dict[str, str] = {}
    split = Split()
    if test_stem is None or train_stem in (None, test_stem):
        whole_stem = train_stem or test_stem or _only_table(folder, sample_stem, predicted)
        whole = None if whole_stem is None else _divided(folder.read(whole_stem), sample, predicted)
        if whole is None or whole_stem is None:  # say which one is missing
            for key in ("train", "test"):
                _needed(key, folder)
            raise DataError("holds both train and test rows, and nothing tells them apart", where=str(raw))
        train, test, split, evidence["test"] = whole
        train_stem = test_stem = whole_stem
    else:
        train, test = folder.read(train_stem), folder.read(test_stem)
    stems = {"train": train_stem, "test": test_stem, "sample_submission": sample_stem}
    ids = find_ids(train, test, sample)
    labels_stem = _labels(folder, stems, train, test, predicted)
    if labels_stem is not None:
        key = ids.columns.train if isinstance(ids.columns.train, str) and ids.columns.train else ids.id
        train, said = with_labels(train, folder.read(labels_stem), key)
        evidence["labels"] = f"{train.path.name} has no column that {test.path.name} lacks; {said[0]}"
    train, test, sample = with_ids(train, test, sample, ids.id, ids.columns)
    names = {key: folder.name_for_spec(stem) for key, stem in stems.items() if stem != key}
    names |= {} if labels_stem is None else {"labels": folder.name_for_spec(labels_stem)}
    used = {*stems.values(), labels_stem}
    further = {
        folder.name_for_spec(stem): raw / name
        for stem, name in folder.name_of_stem.items()
        if stem not in used and not _is_text(name) and "submission" not in stem.lower()
    }
    tables, (train, test) = guess_tables(further, train, test, ids.id, predicted)
    return DraftFiles(train, test, sample, names, ids, evidence, split, tables)


def _folder(raw: Path) -> _Folder:
    paths = sorted(path for path in raw.iterdir() if path.is_file()) if raw.is_dir() else []
    found = [(known, path.name) for path in paths if (known := table_name(path.name)) is not None and is_table(path)]
    found.sort(key=lambda item: item[0].rank, reverse=True)
    name_of_stem = {known.stem: name for known, name in found}  # the one of the lowest rank comes last
    return _Folder(raw, [path.name for path in paths], dict(sorted(name_of_stem.items())))


def _is_text(name: str) -> bool:
    """Whether the file ends in `.txt`: notes more often than a table."""
    found = table_name(name)
    return found is not None and found.format == ".txt"


def _needed(key: str, folder: _Folder) -> str:
    stem = _stem_of(key, folder)
    if stem is None:
        raise _unfound(key, folder, [])
    return stem


def _stem_of(key: str, folder: _Folder) -> str | None:
    """The stem of the file's name, or None. Raises DataError if several names may be meant."""
    usual, pattern = NAMES[key]
    for stem in usual:
        exact = [found for found in folder.name_of_stem if found.lower() == stem]
        if len(exact) == 1:
            return exact[0]
    found = [stem for stem in folder.name_of_stem if re.search(pattern, stem.lower())]
    found = [stem for stem in found if not _is_text(folder.name_of_stem[stem])] or found
    if key != "sample_submission":
        found = [stem for stem in found if "submission" not in stem.lower()]
        found = [stem for stem in found if not LABELS.search(stem)] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise _unfound(key, folder, found)
    return None


def _unfound(key: str, folder: _Folder, found: list[str]) -> DataError:
    what = f"several files may be the {key} file" if found else f"no file looks like the {key} file"
    listed = [folder.name_of_stem[stem] for stem in found] or folder.files
    return DataError(
        f"{what}: {', '.join(listed) or 'the folder has no files'}",
        where=str(folder.raw),
        hint=f"Rename it to {key}.csv, or write the spec by hand with the file's name under [files]. The other files "
        f"are {' and '.join(f'{other}.csv' for other in NAMES if other != key)}.",
    )


def _only_table(folder: _Folder, sample_stem: str, predicted: list[str]) -> str | None:
    """The one table, other than the sample, that has what is predicted."""
    others = [stem for stem, name in folder.name_of_stem.items() if stem != sample_stem and not _is_text(name)]
    having = [stem for stem in others if set(predicted) <= set(read_header(folder.raw / folder.name_of_stem[stem]))]
    return having[0] if len(having) == 1 else None


def _divided(whole: RawTable, sample: RawTable, predicted: list[str]) -> tuple[RawTable, RawTable, Split, str] | None:
    """Train and test rows of one file, told by a column of sets or by missing targets; None if neither tells them."""
    for name in whole.frame.columns:
        values = as_written(whole.frame[name])
        distinct = [str(value) for value in values.unique()] if values.head(1000).nunique() <= MOST_SETS else []
        test_values = [value for value in distinct if TEST_VALUE.fullmatch(value)]
        if len(distinct) > 1 and test_values and values.isin(test_values).sum() == len(sample.frame):
            split = Split(column=str(name), test=test_values)
            train, test, note = divided(whole, [name for name in predicted if name in whole.frame], split)
            return train, test, split, note
    if not predicted or not set(predicted) <= set(whole.frame.columns):
        return None
    is_missing = np.logical_and.reduce([whole.column(name).isna().to_numpy() for name in predicted])
    if not is_missing.any() or is_missing.all():
        return None
    train, test, note = divided(whole, predicted, Split())
    return train, test, Split(), note


def _labels(
    folder: _Folder, stems: dict[str, str], train: RawTable, test: RawTable, predicted: list[str]
) -> str | None:
    """The file with the targets of the train rows, if train has no column that test lacks (a row number aside)."""
    own = [name for name in train.frame.columns if name not in test.frame.columns]
    if any(name in own for name in predicted) or len(own) > 1:
        return None
    others = [stem for stem in folder.name_of_stem if stem not in stems.values()]
    others = [
        stem for stem in others if not re.search(NAMES["test"][1], stem.lower()) and "submission" not in stem.lower()
    ]
    named = [stem for stem in others if LABELS.search(stem)]
    named = named or [
        stem for stem in others if set(predicted) <= set(read_header(folder.raw / folder.name_of_stem[stem]))
    ]
    return named[0] if len(named) == 1 and not own else None
