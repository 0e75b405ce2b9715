"""Download files of a competition or dataset into a folder: resumable, verified while they are extracted.

Handles HTTP and partial files; knows nothing of specs or of what the files mean. Does not use the official client's
own resume: version 2.2.4 can produce a corrupt archive and report success.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.base import files
from pipeline.base.errors import DataError, KaggleError
from pipeline.base.names import place_of
from pipeline.base.progress import progress_bar, say
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.errors import EXPIRED, SLOW, TRANSIENT, explain, explain_status, is_html, reworded
from pipeline.kaggle.client.extraction import CorruptArchive, TooLarge, extract
from pipeline.kaggle.client.partial_file import PartialFile, Remote
from pipeline.kaggle.client.responses import RemoteFile
from pipeline.kaggle.client.session import MOST_LISTED, KaggleSession

BLOCK = 1 << 18  # bytes
IDLE_ATTEMPTS = len(calls.RETRY_DELAYS_S)  # attempts in a row that may yield no bytes
MAX_ATTEMPTS = 200
LARGE = 10e9  # bytes from which on the user is told how to fetch only some files
SOME_FILES = "`python -m pipeline data --list` lists the files, `data --files NAME,NAME` fetches some of them."
ACTION = "downloading the files"


def download_files(session: KaggleSession, slug: str, folder: Path, *, part_folder: Path) -> None:
    """Fill `folder`, which is empty, with the files of a competition, or of the dataset `owner/name`.

    `part_folder`, which no other process may use, keeps the download until `forget_downloads`.
    Raises KaggleError, DataError.
    """
    listed = session.data_files(slug)
    part = PartialFile(part_folder)
    _check_size(slug, listed, part)
    _fetch_and_unpack(session, slug, part, folder, lambda: _unpack(slug, part, listed, folder))
    _report_differences(listed[:MOST_LISTED], folder)


def download_file(
    session: KaggleSession, slug: str, name: str, n_bytes: int | None, folder: Path, *, part_folder: Path
) -> Path:
    """Put one file of a competition or dataset, unpacked, into a folder in `folder`, which is empty; return that.

    `name` is as Kaggle lists it; `n_bytes` is None if it is not known. Raises KaggleError, DataError.
    """
    try:
        place = place_of(name)
    except ValueError as error:
        raise DataError(str(error), where=f"{slug}: {name!r}") from error
    part = PartialFile(part_folder / sha256(name.encode()).hexdigest()[:16], name)
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)

    def unpack() -> None:
        if zipfile.is_zipfile(part.file) and _is_packed(part.file, place):
            extract(part.file, target.parent, name=f"{slug}: {name}")
        elif n_bytes in (None, part.n_bytes):
            shutil.copyfile(part.file, target)
        else:
            raise CorruptArchive(f"has {part.n_bytes} bytes, Kaggle lists {n_bytes}", where=f"{slug}: {name}")

    _fetch_and_unpack(session, slug, part, target.parent, unpack)
    return target.parent


def forget_downloads(part_folder: Path) -> None:
    """Delete what finished and interrupted downloads left."""
    shutil.rmtree(part_folder, ignore_errors=True)


def _check_size(slug: str, listed: list[RemoteFile], part: PartialFile) -> None:
    """Refuse files for which the disk has no room; say how to fetch some of them if they are large."""
    n_bytes = sum(file.n_bytes for file in listed)
    part.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(part.folder).free + part.n_bytes
    at_least = "at least " if len(listed) > MOST_LISTED else ""
    what = f"the files have {at_least}{n_bytes / 1e9:.1f} GB"
    if n_bytes > free:
        hint = f"Free some space, or fetch only the files you need. {SOME_FILES}"
        raise DataError(f"{what}, but the disk has only {free / 1e9:.1f} GB left", where=slug, hint=hint)
    if n_bytes > LARGE or at_least:
        say(f"download: {what}. {SOME_FILES}")


def _fetch_and_unpack(
    session: KaggleSession, slug: str, part: PartialFile, folder: Path, unpack: Callable[[], None]
) -> None:
    """Download and unpack, a second time if resuming produced a corrupt archive. Raises KaggleError, DataError."""
    for is_last in (False, True):
        fetch(session, slug, part)
        try:
            unpack()
            return
        except CorruptArchive as error:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if is_last or not part.was_resumed:
                raise _corrupt(slug, part, f"what Kaggle sent is corrupt ({error.where}: {error.what})") from error
        except TooLarge as error:
            kept = f"The download is kept in {part.folder}. {SOME_FILES}"
            raise DataError(error.what, where=error.where, hint=f"{error.hint} {kept}") from error
        except DataError:
            part.delete()
            raise
        part.delete()
        say("Kaggle: the resumed archive is corrupt; downloading it again")


def _unpack(slug: str, part: PartialFile, listed: list[RemoteFile], folder: Path) -> None:
    """Extract the archive, whose checksums are verified on the way, or copy a file that is none."""
    if zipfile.is_zipfile(part.file):
        extract(part.file, folder, name=slug)
        return
    with part.file.open("rb") as file:
        if file.read(4).startswith(b"PK"):
            raise CorruptArchive("the archive is cut off", where=slug)
    _copy_single_file(slug, part, listed, folder)


def _is_packed(archive: Path, place: PurePosixPath) -> bool:
    """Return whether a zip is only the wrapping of the file at `place`; other formats, such as xlsx, are zips, too."""
    if place.suffix.lower() == ".zip":
        return True
    try:
        with zipfile.ZipFile(archive) as opened:
            return [PurePosixPath(name).name for name in islice(opened.namelist(), 2)] == [place.name]
    except (zipfile.BadZipFile, ValueError):
        return False


def fetch(session: KaggleSession, slug: str, part: PartialFile) -> None:
    """Complete `part`; each attempt resumes where the last one stopped. Raises KaggleError."""
    n_idle = 0
    with progress_bar(f"download {slug}") as update:
        for _ in range(MAX_ATTEMPTS):
            before = part.n_bytes
            try:
                _attempt(session, slug, part, update)
                return
            except KaggleError as error:
                if error.kind == EXPIRED:
                    part.remote = None  # the next attempt asks Kaggle for a new address
                elif error.kind not in TRANSIENT:
                    raise
                n_idle = 0 if part.n_bytes > before and error.kind != SLOW else n_idle + 1
                if n_idle > IDLE_ATTEMPTS:
                    raise _unfinished(error, part) from error
                calls.wait_before_retry(error, calls.RETRY_DELAYS_S[max(0, n_idle - 1)])
            except OSError as error:
                raise files.write_error(part.file, error) from error
    raise _unfinished(KaggleError("the connection was dropped too often", kind="dropped", where=slug), part)


def _attempt(session: KaggleSession, slug: str, part: PartialFile, update: Any) -> None:
    """Make one attempt: get an address from Kaggle unless there is one, then request the missing bytes."""
    if part.remote is None or not part.remote.url:
        response = session.open_archive(slug, part.name)
        part.remote = Remote.of(response, response.url if response.history else "")
        if part.can_resume(part.remote):
            response.close()
            if part.n_bytes == part.remote.n_bytes:
                part.was_resumed = True
                return
            response = _get(slug, part.remote, part)
    else:
        response = _get(slug, part.remote, part)
    with contextlib.closing(response):
        if is_html(response) or _is_message(response):
            raise explain(ValueError("not a file"), response, action=ACTION, slug=slug)
        if response.status_code == 206:
            part.was_resumed = True
        else:
            part.remote = Remote.of(response, part.remote.url)
            if part.n_bytes:
                say("download: cannot resume the partial download; starting again")
            part.begin(part.remote)
        _append(response, slug, part, part.remote, update)


def _is_message(response: Any) -> bool:
    """Return whether this is JSON from Kaggle itself rather than a file: the client checked it for an error."""
    return "application/json" in response.headers.get("Content-Type", "") and response.request.method == "POST"


def _get(slug: str, remote: Remote, part: PartialFile) -> Any:
    """Request the missing bytes from the storage, or all bytes if those here belong to another version."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    validator, n_bytes = part.validator(), part.n_bytes
    if n_bytes and validator:
        headers |= {"Range": f"bytes={n_bytes}-", "If-Range": validator}

    def get() -> Any:
        return requests.get(remote.url, headers=headers, stream=True, timeout=calls.timeouts())

    response = calls.write(ACTION, slug, get)
    status, span = response.status_code, response.headers.get("Content-Range", "")
    is_as_requested = status != 206 or (
        span.startswith(f"bytes {n_bytes}-") and span.rsplit("/", 1)[-1] in ("*", str(remote.n_bytes))
    )
    if status < 400 and is_as_requested:
        return response
    with contextlib.closing(response):
        if status < 400 or status == 416:  # another range than requested, or the file there is shorter than this part
            part.file.unlink(missing_ok=True)
            raise KaggleError(f"cannot resume the download ({status} {span})", kind=EXPIRED, where=slug)
        raise explain_status(response, action=ACTION, slug=slug, is_storage=True)


def _append(response: Any, slug: str, part: PartialFile, remote: Remote, update: Any) -> None:
    """Write bytes as they arrive; fewer than announced mean a dropped connection."""
    part.folder.mkdir(parents=True, exist_ok=True)
    total = remote.n_bytes
    with part.file.open("ab") as file:
        done = file.tell()
        for block in _blocks(response, slug):
            file.write(block)
            done += len(block)
            if total is not None and done > total:
                break
            update(done / total if total else 0.0, f"{done / 1e6:.1f} MB")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        if done > total:
            part.file.unlink()
        raise KaggleError(f"sent {done} of {total} bytes", kind="dropped", where=slug)


def _blocks(response: Any, slug: str) -> Iterator[bytes]:
    """Yield the body in the pieces in which it arrives, so that a dropped connection loses nothing that was sent."""
    from urllib3.exceptions import HTTPError

    try:
        yield from calls.blocks_of(response, BLOCK)
    except (HTTPError, OSError, ValueError) as error:
        raise explain(error, None, action=ACTION, slug=slug) from error


def _unfinished(error: KaggleError, part: PartialFile) -> KaggleError:
    kept = f"{part.n_bytes / 1e6:.1f} MB are kept in {part.folder}; the same command resumes the download."
    return reworded(error, hint=f"{kept} {error.hint}")


def _corrupt(slug: str, part: PartialFile, what: str) -> KaggleError:
    part.delete()
    hint = "Run the same command again; if it keeps failing, download the files in the browser."
    return KaggleError(f"{what}; it was deleted", kind="corrupt", where=slug, hint=hint)


def _copy_single_file(slug: str, part: PartialFile, listed: list[RemoteFile], folder: Path) -> None:
    """Copy a download that is not an archive, which is valid only for a single listed file of that size."""
    name = Path(listed[0].name).name if len(listed) == 1 else ""
    if not name or part.n_bytes != listed[0].n_bytes:
        raise CorruptArchive("the file is not an archive", where=slug)
    shutil.copyfile(part.file, folder / name)


def _report_differences(listed: list[RemoteFile], folder: Path) -> None:
    """Print which files differ from Kaggle's list; the archive's own checksums were correct."""
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for file in listed:
        name = file.name.rsplit("/", 1)[-1]
        size = sizes.get(name, sizes.get(name.removesuffix(".zip")))
        if size is None and name.removesuffix(".zip") not in {path.name for path in folder.rglob("*")}:
            say(f"download: Kaggle lists {file.name}, but the archive does not contain it")
        elif file.n_bytes and size is not None and size != file.n_bytes and name in sizes:
            say(f"download: {file.name} has {size} bytes, Kaggle lists {file.n_bytes}; its checksum is correct")
