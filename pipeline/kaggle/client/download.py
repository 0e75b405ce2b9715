"""All files of a competition or data set in a folder: resumed, verified, then unpacked.

Knows HTTP and part files; knows nothing of specs or of what the files mean. The official client's own resume is not
used: its version 2.2.4 can end with a corrupt archive and report success.
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
from pipeline.kaggle.client.answers import RemoteFile
from pipeline.kaggle.client.extraction import extract
from pipeline.kaggle.client.faults import PASSING, STALE, STALE_STATUS, explain, explain_status, is_html
from pipeline.kaggle.client.parts import PartialFile, Remote
from pipeline.kaggle.client.session import KaggleSession

BLOCK = 1 << 18  # bytes
IDLE_ATTEMPTS = len(calls.RETRY_DELAYS_S)  # attempts in a row that may bring not one byte
MAX_ATTEMPTS = 200


def download_files(session: KaggleSession, slug: str, folder: Path, *, part_folder: Path) -> None:
    """Fill `folder` with the files of a competition, or of the data set `owner/name`.

    What an interrupted download had waits in `part_folder`, which is gone at the end. Raises KaggleError, DataError.
    """
    with hold(part_folder.with_name(f"{part_folder.name}.lock")):
        _download_alone(session, slug, folder, part_folder)


def _download_alone(session: KaggleSession, slug: str, folder: Path, part_folder: Path) -> None:
    listed = session.data_files(slug)
    part = PartialFile(part_folder)
    fetch(session, slug, part)
    if not part.is_sound():
        was_resumed = part.was_resumed
        part.delete()
        if not was_resumed:
            raise _corrupt(slug)
        say("Kaggle: the resumed archive is not sound; fetching it anew")
        fetch(session, slug, part)
        if not part.is_sound():
            part.delete()
            raise _corrupt(slug)
    if zipfile.is_zipfile(part.file):
        extract(part.file, folder)
    else:
        _take_single_file(slug, part, listed, folder)
    _compare(listed, folder)
    part.delete()


def fetch(session: KaggleSession, slug: str, part: PartialFile) -> None:
    """Bring `part` to its full size: attempts go on where the last one broke off. Raises KaggleError."""
    n_idle = 0
    with progress_bar(f"download {slug}") as update:
        for _ in range(MAX_ATTEMPTS):
            before = part.n_bytes
            try:
                _attempt(session, slug, part, update)
                return
            except KaggleError as error:
                if error.kind == STALE:
                    part.remote = None  # the next attempt asks Kaggle for a new address
                elif error.kind not in PASSING:
                    raise
                n_idle = 0 if part.n_bytes > before else n_idle + 1
                if n_idle > IDLE_ATTEMPTS:
                    raise _unfinished(error, part) from error
                calls.wait_before_retry(error, calls.RETRY_DELAYS_S[max(0, n_idle - 1)])
            except OSError as error:
                raise files.write_error(part.file, error) from error
    raise _unfinished(KaggleError("broke off too often", kind="dropped", where=slug), part)


def _attempt(session: KaggleSession, slug: str, part: PartialFile, update: Any) -> None:
    """One go: an address from Kaggle unless there is one, then the bytes that are missing."""
    if part.remote is None or not part.remote.url:
        response = session.open_archive(slug)
        part.remote = Remote.of(response, response.url if response.history else "")
        if part.continues(part.remote):
            response.close()
            if part.n_bytes == part.remote.n_bytes:
                part.was_resumed = True
                return
            response = _get(slug, part.remote, part)
    else:
        response = _get(slug, part.remote, part)
    with contextlib.closing(response):
        if is_html(response):
            raise explain(ValueError("a web page"), response, doing="the download", slug=slug)
        if _is_message(response):
            raise explain(ValueError("no file"), response, doing="the download", slug=slug)
        if response.status_code == 206:
            part.was_resumed = True
        else:
            part.remote = Remote.of(response, part.remote.url)
            if part.n_bytes:
                say("download: the part that was there cannot be continued; starting anew")
            part.begin(part.remote)
        _append(response, slug, part, part.remote, update)


def _is_message(response: Any) -> bool:
    """Whether this is JSON from Kaggle itself: the client looked for an error in it, and it is no file."""
    return "application/json" in response.headers.get("Content-Type", "") and response.request.method == "POST"


def _get(slug: str, remote: Remote, part: PartialFile) -> Any:
    """Ask the storage for the bytes that are missing, or for all when they are of another version."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    validator, have = part.validator(), part.n_bytes
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    response = calls.write(
        "the download",
        slug,
        lambda: requests.get(remote.url, headers=headers, stream=True, timeout=calls.timeouts()),
    )
    status, span = response.status_code, response.headers.get("Content-Range", "")
    is_as_asked = status != 206 or (
        span.startswith(f"bytes {have}-") and span.rsplit("/", 1)[-1] in ("*", str(remote.n_bytes))
    )
    if status < 400 and is_as_asked:
        return response
    with contextlib.closing(response):
        if status < 400 or status == 416:  # other bytes than asked for, or fewer there than here
            part.file.unlink(missing_ok=True)
            raise KaggleError(f"cannot continue the download ({status} {span})", kind=STALE, where=slug)
        if status in STALE_STATUS:
            raise KaggleError(f"the storage refused the download ({status})", kind=STALE, where=slug)
        raise explain_status(response, doing="the download", slug=slug)


def _append(response: Any, slug: str, part: PartialFile, remote: Remote, update: Any) -> None:
    """Write what comes, as it comes; fewer bytes than announced are a broken connection."""
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
    """The body in pieces as small as they arrive, so that a cut loses nothing that was sent."""
    from urllib3.exceptions import HTTPError

    decode = bool(response.headers.get("Content-Encoding"))
    try:
        while block := response.raw.read1(BLOCK, decode_content=decode):
            yield block
    except (HTTPError, OSError, ValueError) as error:
        raise explain(error, None, doing="the download", slug=slug) from error


def _unfinished(error: KaggleError, part: PartialFile) -> KaggleError:
    kept = f"{part.n_bytes / 1e6:.1f} MB are kept in {part.folder}: the same command goes on from there."
    return KaggleError(error.what, kind=error.kind, where=error.where, hint=f"{kept} {error.hint}".strip())


def _corrupt(slug: str) -> KaggleError:
    return KaggleError(
        "the archive Kaggle sent is not sound; nothing was kept of it",
        kind="corrupt",
        where=slug,
        hint="Run the same command again; when it stays, download it in the browser.",
    )


def _take_single_file(slug: str, part: PartialFile, listed: list[RemoteFile], folder: Path) -> None:
    """What came is no archive: right only where there is a single file, of just that size."""
    name = Path(listed[0].name).name if len(listed) == 1 else ""
    if not name or part.n_bytes != listed[0].n_bytes:
        part.delete()
        raise KaggleError(
            "what Kaggle sent is no archive; nothing was kept of it",
            kind="corrupt",
            where=slug,
            hint="Run the same command again; when it stays, download it in the browser.",
        )
    shutil.copyfile(part.file, folder / name)


def _compare(listed: list[RemoteFile], folder: Path) -> None:
    """Say which files that Kaggle lists are not as listed; the archive's own checksums were right."""
    names = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for file in listed:
        name = file.name.rsplit("/", 1)[-1]
        size = names.get(name, names.get(name.removesuffix(".zip")))
        if size is None and name.removesuffix(".zip") not in {path.name for path in folder.rglob("*")}:
            say(f"download: Kaggle lists {file.name}, which its archive does not hold")
        elif file.n_bytes and size is not None and size != file.n_bytes and name in names:
            say(f"download: {file.name} has {size} bytes, Kaggle lists {file.n_bytes}; its checksum is right")
