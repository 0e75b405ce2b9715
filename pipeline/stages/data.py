"""Stage `data`: a competition's raw files, from the first place that has them -> `raw/`, `raw/source.json`.

Order: `raw/` itself, `PIPELINE_DATA_DIR/<competition>`, Kaggle (a competition or a dataset), built-in sample data.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipeline.base import files
from pipeline.base.errors import DataError, KaggleError, did_you_mean
from pipeline.base.progress import say
from pipeline.competition import idx_images
from pipeline.competition.samples import NOT_ON_KAGGLE, SAMPLES, make_sample
from pipeline.competition.samples.recognition import MARK_FILE, MARK_TEXT, holds_sample
from pipeline.competition.tables.formats import KINDS, ZIP, is_table
from pipeline.competition.workspace import Workspace
from pipeline.config.file_record import FileRecord
from pipeline.config.records import KAGGLE_FACTS, SOLUTION, KaggleFacts, RawSource
from pipeline.kaggle.client.credentials import find_credentials
from pipeline.kaggle.client.download import download_file, download_files, forget_downloads
from pipeline.kaggle.client.extraction import extract
from pipeline.kaggle.client.responses import RemoteFile
from pipeline.kaggle.client.session import MOST_LISTED, KaggleSession
from pipeline.kaggle.client.urls import SETTINGS_URL, data_url

DATA_DIR_VARIABLE = "PIPELINE_DATA_DIR"
NOTES = ".md"  # kept among the tables


def fetch_data(workspace: Workspace, slug: str, *, place: Path | None = None) -> None:
    """Fill `raw/` unless it is complete; `slug` is a competition or `owner/name`, `place` a folder to use first.

    Raises DataError if there are no files of the competition, KaggleError if Kaggle does not provide them.
    """
    place = place or _local_place(workspace.competition, slug)
    is_for_kaggle = find_credentials() is not None and slug not in NOT_ON_KAGGLE
    if not workspace.source.exists() and _raw_files(workspace.raw):
        source = write_source(workspace, "files put there by hand")
        say(f"data: using the files in {workspace.raw}{', which are SAMPLE DATA' if source.is_sample else ''}")
    if workspace.source.exists():
        source = RawSource.read(workspace.source)
        has_real_files = place is not None and not holds_sample(place)
        if not source.is_sample or not (has_real_files or is_for_kaggle):
            _check_unchanged(workspace, source)
            forget_downloads(_parts(workspace))
            return
        if has_real_files:
            say(f"data: found real files in {place}; they replace the sample data")
    if place is not None:
        _fill(workspace, lambda folder: _copy(place, folder), str(place))
    elif is_for_kaggle:
        _fill(workspace, lambda folder: _download(workspace, slug, folder), f"Kaggle: {slug}")
        forget_downloads(_parts(workspace))
    elif workspace.competition in SAMPLES:
        _fill(workspace, lambda folder: _write_sample(workspace, folder), "built-in sample")
        say(
            f"data: no files of {workspace.competition} found; using generated SAMPLE DATA, which is never uploaded "
            f"(for real data set {DATA_DIR_VARIABLE}, or put Kaggle's files into {workspace.raw})"
        )
        return
    else:
        raise DataError(
            f"no files of the competition {workspace.competition!r} were found",
            where=str(workspace.raw),
            hint=f"With Kaggle credentials ({SETTINGS_URL}) they are downloaded. Otherwise put train.csv, test.csv and "
            f"sample_submission.csv there ({data_url(slug)}), or set {DATA_DIR_VARIABLE} to a folder containing "
            f"{workspace.competition}/. {_near(workspace.competition)}",
        )
    say(f"data: {len(_raw_files(workspace.raw))} files in {workspace.raw}")


def list_files(slug: str) -> tuple[list[RemoteFile], bool]:
    """Return the files of a competition or dataset at Kaggle, and whether those are all. Raises KaggleError."""
    listed = KaggleSession.connect().data_files(slug)
    return listed[:MOST_LISTED], len(listed) <= MOST_LISTED


def fetch_files(workspace: Workspace, slug: str, names: Sequence[str]) -> None:
    """Add the files with these names at Kaggle to `raw/`, or replace sample data by them; skip those that are there.

    A name may lack its folder or `.zip`. Raises DataError, KaggleError.
    """
    if not names:
        raise DataError("no file is named", where="--files", hint="For example --files train.csv,test.csv.")
    session = KaggleSession.connect()
    wanted = _chosen(slug, session.data_files(slug), names)
    if not workspace.source.exists() and _raw_files(workspace.raw):
        write_source(workspace, "files put there by hand")
    source = RawSource.read(workspace.source) if workspace.source.exists() else None
    try:
        if source is not None and source.is_sample:
            shutil.rmtree(workspace.raw)
            source = None
        elif source is not None:
            _check_unchanged(workspace, source)
        workspace.raw.mkdir(parents=True, exist_ok=True)
        for name, n_bytes in wanted.items():
            _add_file(workspace, session, slug, name, n_bytes)
        if source is None:
            _note_metric(session, slug, workspace.raw)
    except OSError as error:
        raise files.write_error(workspace.raw, error) from error
    write_source(workspace, f"Kaggle: {slug}" if source is None else source.source)
    forget_downloads(_parts(workspace))


def _chosen(slug: str, listed: list[RemoteFile], names: Sequence[str]) -> dict[str, int | None]:
    """Return the listed names that `names` mean, and their sizes. A name may be right if the list is not whole."""
    sizes = {file.name: file.n_bytes for file in listed}
    chosen: dict[str, int | None] = {}
    for name in names:
        ends = (name, f"{name}.zip")
        found = [one for one in sizes if one in ends] or [one for one in sizes if one.rpartition("/")[2] in ends]
        if len(found) > 1:
            raise DataError(f"may be any of {', '.join(map(repr, found[:5]))}", where=f"{slug}: {name!r}")
        if not found and len(listed) <= MOST_LISTED:
            hint = did_you_mean(name, sizes)
            raise DataError("Kaggle lists no such file", where=f"{slug}: {name!r}", hint=hint)
        chosen |= {found[0]: sizes[found[0]]} if found else {name: None}
    return chosen


def _add_file(workspace: Workspace, session: KaggleSession, slug: str, name: str, n_bytes: int | None) -> None:
    """Download a file into `raw/`, without the folder that it has at Kaggle."""
    there = workspace.raw / name.rpartition("/")[2].removesuffix(".zip")
    if there.exists():
        say(f"data: {there} is already there")
        return
    with tempfile.TemporaryDirectory(prefix=".files.", suffix=".partial", dir=workspace.folder) as temporary:
        parts = _parts(workspace)
        folder = download_file(session, slug, name, n_bytes, Path(temporary), part_folder=parts)
        for path in sorted(folder.iterdir()):
            there = workspace.raw / path.name
            is_new = not there.exists()
            if is_new:
                path.replace(there)
            say(f"data: {there} {'was added' if is_new else 'is already there and was left as it is'}")


def _parts(workspace: Workspace) -> Path:
    """The folder of unfinished downloads."""
    return workspace.folder / "download"


def _near(competition: str) -> str:
    folder = os.environ.get(DATA_DIR_VARIABLE)
    known = [path.name for path in Path(folder).iterdir() if path.is_dir()] if folder and Path(folder).is_dir() else []
    return did_you_mean(competition, [*known, *SAMPLES])


def _local_place(competition: str, slug: str) -> Path | None:
    """Return the competition's folder in `PIPELINE_DATA_DIR`, named after it or its Kaggle slug."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    if not given:
        return None
    if not Path(given).is_dir():
        raise DataError("is not a folder", where=f"{DATA_DIR_VARIABLE}={given}", hint="Correct or unset it.")
    return next((path for name in (competition, slug) if (path := Path(given) / name).is_dir()), None)


def _raw_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_table(path) or path.suffix == NOTES)


def _fill(workspace: Workspace, write: Callable[[Path], None], source: str) -> None:
    """Write a temporary folder beside `raw/` and rename it, so that `raw/` is complete or absent."""
    try:
        workspace.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".raw.", suffix=".partial", dir=workspace.folder))
        try:
            write(partial)
            partial.chmod(0o755)
            shutil.rmtree(workspace.raw, ignore_errors=True)
            partial.replace(workspace.raw)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise files.write_error(workspace.raw, error) from error
    write_source(workspace, source)


def _copy(place: Path, folder: Path) -> None:
    if idx_images.find_idx(place):
        train, test, sample, solution = idx_images.idx_tables(place)
        files.write_parquet(folder / "train.parquet", train)
        files.write_parquet(folder / "test.parquet", test)
        files.write_csv(folder / "sample_submission.csv", sample)
        if solution is not None:
            files.write_csv(folder.parent / "solution" / "solution.csv", solution)
        return
    for path in _raw_files(place):
        if path.suffix.lower() != ZIP:
            shutil.copyfile(path, folder / path.name)
    _unpack_tables(place, folder)
    if not _raw_files(folder):
        raise DataError(f"contains no table ({KINDS})", where=str(place))


def _unpack_tables(place: Path, folder: Path) -> None:
    """Extract zips of single tables, which lie beside other files, or the one zip of all files."""
    zips = sorted(place.glob("*.zip"))
    tables = [path for path in zips if is_table(path)]
    for archive in tables or (zips if len(zips) == 1 and not _raw_files(folder) else []):
        with tempfile.TemporaryDirectory(prefix=".files.", suffix=".partial", dir=folder.parent) as temporary:
            extract(archive, Path(temporary), name=str(archive))
            for path in Path(temporary).iterdir():
                if not (folder / path.name).exists():
                    path.replace(folder / path.name)


def _download(workspace: Workspace, slug: str, folder: Path) -> None:
    """Download and extract Kaggle's files; convert images to tables; strip a single enclosing folder."""
    session = KaggleSession.connect()
    with tempfile.TemporaryDirectory(prefix=".files.", suffix=".partial", dir=workspace.folder) as temporary:
        fetched = Path(temporary)
        download_files(session, slug, fetched, part_folder=_parts(workspace))
        inside = list(fetched.iterdir())
        if len(inside) == 1 and inside[0].is_dir():
            fetched = inside[0]
        if idx_images.find_idx(fetched):
            _copy(fetched, folder)
            _note_metric(session, slug, folder)
            return
        if not _raw_files(fetched):
            raise DataError(f"Kaggle has no table ({KINDS})", where=slug)
        for path in fetched.iterdir():
            path.replace(folder / path.name)
    _note_metric(session, slug, folder)


def _note_metric(session: KaggleSession, slug: str, folder: Path) -> None:
    """Record the display name of the competition's metric; nothing for a dataset, or if Kaggle does not tell."""
    if "/" in slug:
        return
    try:
        metric = session.competition(slug).metric
    except KaggleError as error:
        say(f"data: Kaggle did not tell the evaluation metric: {error.what}")
        return
    if metric:
        say(f"data: Kaggle's evaluation metric is {metric!r}")
        KaggleFacts(metric=metric).write(folder / KAGGLE_FACTS)


def _write_sample(workspace: Workspace, folder: Path) -> None:
    sample = make_sample(workspace.competition)
    tables = {"train": sample.train, "test": sample.test, "sample_submission": sample.sample_submission}
    for name, frame in tables.items():
        _write_kaggle_csv(folder / f"{name}.csv", frame)
    _write_kaggle_csv(workspace.solution, sample.solution)
    files.write_text(folder / MARK_FILE, MARK_TEXT)


def _write_kaggle_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV as Kaggle's House Prices files are: missing cells are NA, and the text None is a value."""
    files.write_csv(path, frame.astype(object).where(frame.notna(), "NA"))


def write_source(workspace: Workspace, source: str) -> RawSource:
    """Record where the raw files came from, whether they are a built-in sample, and their sizes and hashes."""
    fetched_at = datetime.now(UTC).isoformat(timespec="seconds")
    recorded = {path.name: FileRecord.of(path) for path in _raw_files(workspace.raw)}
    if workspace.solution.exists():
        recorded[SOLUTION] = FileRecord.of(workspace.solution)
    is_sample = holds_sample(workspace.raw)
    record = RawSource(source=source, is_sample=is_sample, fetched_at=fetched_at, files=recorded)
    record.write(workspace.source)
    return record


def _check_unchanged(workspace: Workspace, source: RawSource) -> None:
    """Raise DataError if a raw file is missing or was changed."""
    mark = "; it stays SAMPLE DATA" if source.is_sample else ""
    fetch = f"Delete the folder {workspace.raw} to fetch the files again"
    accept = f", or {workspace.source} to accept the change{mark}"
    for name, recorded in source.raw_files.items():
        path = workspace.raw / name
        if not path.exists():
            raise DataError("this raw file is missing", where=str(path), hint=f"{fetch}{accept}.")
        if recorded.fault_of(path):
            raise DataError("this raw file was changed after it was fetched", where=str(path), hint=f"{fetch}{accept}.")
