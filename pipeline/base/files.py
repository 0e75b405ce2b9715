"""Atomic writing of files, and reading that reports a missing or broken file.

Knows formats (json, csv, parquet, npy, npz, safetensors); must not know what the numbers mean.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import secrets
import subprocess
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from pipeline.base.errors import ArtifactError
from pipeline.base.progress import say
from pipeline.base.redaction import redact_known

if TYPE_CHECKING:  # imported by the functions that need them, so that `--help` is quick
    import pandas as pd
    from numpy.typing import NDArray

Content = TypeVar("Content")

CHECKSUM = "checksum"  # key in the metadata of safetensors

VERSIONED_PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "pyarrow")  # those that affect results
WRITE_HINTS = {
    errno.ENOSPC: "The disk is full: free some space and run the same command again; nothing was overwritten.",
    errno.EDQUOT: "Your quota is used up: free some space and run the same command again; nothing was overwritten.",
    errno.EFBIG: "A file may not grow that large here (see `ulimit -f`); nothing was overwritten.",
    errno.EIO: "The disk reports a fault: check it, then run the same command again; nothing was overwritten.",
    errno.EROFS: "The file system is read-only: choose a folder you may write to with --root.",
    errno.EACCES: "You may not write there: change the folder's permissions, or choose another with --root.",
    errno.EISDIR: "A folder is where a file is needed: move it away.",
    errno.ENAMETOOLONG: "A name in the path is too long: choose a shorter one.",
    errno.ENOTDIR: "A file is where a folder is needed: move it away.",
}


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` once it is complete and flushed to disk. Raises ArtifactError."""
    partial: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        with name.open("xb") as file:
            partial = name
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        partial = None
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_error(path: Path | None, error: OSError) -> ArtifactError:
    """Return the error to raise if `path`, by default what `error` names, cannot be written, with a hint."""
    path = path or Path(error.filename or "a file")
    hint = WRITE_HINTS.get(error.errno or 0, "")
    return ArtifactError(f"cannot be written: {error.strerror or error}", where=str(path), hint=hint)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, without the secrets in use."""
    with atomic_write(path) as file:
        file.write(redact_known(text).encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. Raises ValueError for NaN and infinity, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV atomically, without the index and with `\\n` line ends."""
    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n", mode="wb", encoding="utf-8")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet file atomically, without the index."""
    with atomic_write(path) as file:
        frame.to_parquet(file, index=False)


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write an array atomically. Raises ValueError for objects, which would be pickled."""
    import numpy as np

    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Write named arrays as safetensors atomically, with a checksum, which the format lacks."""
    import numpy as np
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, {CHECKSUM: _checksum(tensors)}))


def _checksum(tensors: dict[str, NDArray[Any]]) -> str:
    checksum = 0
    for name, array in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {array.dtype.str} {array.shape} ".encode(), checksum)
        checksum = zlib.crc32(array.tobytes(), checksum)
    return f"{checksum:08x}"


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write named arrays as a compressed npz atomically. Raises ValueError for objects, which would be pickled."""
    import numpy as np

    if objects := [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]:
        raise ValueError(f"arrays of objects cannot be stored: {', '.join(objects)}")
    contents: dict[str, Any] = {**arrays}
    with atomic_write(path) as file:
        np.savez_compressed(file, **contents)


def decoded(content: bytes) -> str:
    """Decode UTF-8, or the encoding that a byte order mark names, as Windows editors write. Raises UnicodeError."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig")


def _read(path: Path, read: Callable[[Path], Content]) -> Content:
    """Return `read(path)`. Raises ArtifactError for a missing or broken file."""
    try:
        return read(path)
    except FileNotFoundError as error:
        raise ArtifactError("does not exist", where=str(path)) from error
    except Exception as error:  # each format raises its own errors
        hint = "Delete it and run the same command again."
        raise ArtifactError(f"cannot be read: {error}", where=str(path), hint=hint) from error


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file, a large one through a memory map. Raises ArtifactError."""
    import pandas as pd
    import pyarrow.parquet as pq

    import pipeline.base.text  # noqa: F401 - texts as texts under pandas 2, too
    from pipeline.base import mapped

    def read(path: Path) -> pd.DataFrame:
        size = pq.read_metadata(path)
        is_large = mapped.is_large(size.num_rows, size.num_columns)
        return mapped.read_parquet(path) if is_large else pd.read_parquet(path)

    return _read(path, read)


def read_npy(path: Path) -> NDArray[Any]:
    """Read an array; pickled objects are refused. Raises ArtifactError."""
    import numpy as np

    return _read(path, lambda file: np.load(file, allow_pickle=False))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays from safetensors and compare their checksum, if there is one. Raises ArtifactError."""

    def read(path: Path) -> dict[str, NDArray[Any]]:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            checksum = (file.metadata() or {}).get(CHECKSUM)
        if checksum not in (None, _checksum(tensors)):
            raise ValueError("its content was changed after it was written")
        return tensors

    return _read(path, read)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays from an npz; pickled objects are refused. Raises ArtifactError."""
    import numpy as np

    def read(path: Path) -> dict[str, NDArray[Any]]:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    return _read(path, read)


def read_checkpoint(read: Callable[[Path], Content], path: Path | None) -> Content | None:
    """Return `read(path)`, the work of an interrupted call; None if there is none, or it is broken, which is said."""
    if path is None or not path.exists():
        return None
    try:
        return read(path)
    except ArtifactError as error:
        say(f"{error.where}: {error.what}; what it held is trained again")
        return None


def is_unchanged(path: Path, sha256: str) -> bool:
    """Return whether the file is there and has this hash."""
    try:
        return sha256_of(path) == sha256
    except ArtifactError:
        return False


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's bytes; a process reads an unchanged file once. Raises ArtifactError."""
    try:
        now = path.stat()
        return _sha256_of(path.resolve(), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


@functools.lru_cache(maxsize=1024)
def _sha256_of(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the hex sha256 of a value's JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def git_commit(root: Path) -> str | None:
    """Return the commit of the checkout, with `+` if tracked files differ; None without a checkout or git."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect results."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONED_PACKAGES}
