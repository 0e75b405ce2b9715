"""Download all files of a competition or dataset into a folder: resumable, verified, then extracted.

Handles HTTP and partial files; knows nothing of specs or of what the files mean. Does not use the official client's
own resume: version 2.2.4 can produce a corrupt archive and report success.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.base import files
from pipeline.base.errors import KaggleError
from pipeline.base.locks import hold
from pipeline.base.progress import progress_bar, say
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.errors import EXPIRED, SLOW, TRANSIENT, explain, explain_status, is_html, reworded
from pipeline.kaggle.client.extraction import CorruptArchive, extract
from pipeline.kaggle.client.partial_file import PartialFile, Remote
from pipeline.kaggle.client.responses import RemoteFile
from pipeline.kaggle.client.session import KaggleSession

BLOCK = 1 << 18  # bytes
IDLE_ATTEMPTS = len(calls.RETRY_DELAYS_S)  # attempts in a row that may yield no bytes
MAX_ATTEMPTS = 200
ACTION = "downloading the files"


def download_files(session: KaggleSession, slug: str, folder: Path, *, part_folder: Path) -> None:
    """Fill `folder` with the files of a competition, or of the dataset `owner/name`.

    `part_folder` keeps an interrupted download and is deleted at the end. Raises KaggleError, DataError.
    """
    with hold(part_folder.with_name(f"{part_folder.name}.lock")):
        listed = session.data_files(slug)
        part = PartialFile(part_folder)
        _fetch_and_unpack(session, slug, part, listed, folder)
        _report_differences(listed, folder)
        part.delete()


def _fetch_and_unpack(
    session: KaggleSession, slug: str, part: PartialFile, listed: list[RemoteFile], folder: Path
) -> None:
    """Download and unpack, a second time if resuming produced a corrupt archive. Raises KaggleError, DataError."""
    fetch(session, slug, part)
    try:
        _unpack(slug, part, listed, folder)
        return
    except CorruptArchive as error:
        if not part.was_resumed:
            raise _corrupt(slug, part, "the archive Kaggle sent is corrupt") from error
    part.delete()
    say("Kaggle: the resumed archive is corrupt; downloading it again")
    fetch(session, slug, part)
    try:
        _unpack(slug, part, listed, folder)
    except CorruptArchive as error:
        raise _corrupt(slug, part, "the archive Kaggle sent is corrupt") from error


def _unpack(slug: str, part: PartialFile, listed: list[RemoteFile], folder: Path) -> None:
    """Extract the archive, whose checksums are verified on the way, or copy a file that is none.

    A corrupt archive leaves nothing in the folder.
    """
    if zipfile.is_zipfile(part.file):
        try:
            extract(part.file, folder, name=slug)
        except CorruptArchive:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise
        return
    with part.file.open("rb") as file:
        if file.read(4).startswith(b"PK"):
            raise CorruptArchive("the archive is cut off", where=slug)
    _copy_single_file(slug, part, listed, folder)


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
        response = session.open_archive(slug)
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
        raise _corrupt(slug, part, "the file Kaggle sent is not an archive")
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
