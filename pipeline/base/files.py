"""How files are read and written: atomically, or not at all.

Knows formats (json, csv, parquet, npy, safetensors); knows nothing of what the numbers mean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import secrets
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.base.errors import ArtifactError

if TYPE_CHECKING:  # the command line shows its help without them
    import pandas as pd
    from numpy.typing import NDArray

READ_BLOCK = 1 << 20  # bytes


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` complete and flushed to disk, or not at all."""
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


def write_error(path: Path, error: OSError) -> ArtifactError:
    """The user's words for a file that could not be written."""
    hints = {
        errno.ENOSPC: "The disk is full: free some space and run the same command again; nothing was overwritten.",
        errno.EROFS: "The file system is read-only: choose a folder you may write to with --root.",
        errno.EACCES: "You may not write there: change the folder's permissions, or choose another with --root.",
        errno.ENOTDIR: "A file stands where a folder is needed: move it away.",
    }
    return ArtifactError(
        f"cannot be written: {error.strerror or error}", where=str(path), hint=hints.get(error.errno or 0, "")
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV without the index, `\\n` line ends, atomically."""
    with atomic_write(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n", mode="wb", encoding="utf-8")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet file without the index, atomically."""
    with atomic_write(path) as file:
        frame.to_parquet(file, index=False)


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write one array atomically; objects are refused."""
    import numpy as np

    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Write named arrays as safetensors atomically."""
    import numpy as np
    from safetensors.numpy import save

    with atomic_write(path) as file:
        file.write(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write named arrays as a compressed npz atomically; objects are refused."""
    import numpy as np

    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    """`read(path)`; a missing or broken file becomes an ArtifactError."""
    try:
        return read(path)
    except FileNotFoundError as error:
        raise ArtifactError("is not there", where=str(path)) from error
    except Exception as error:  # every reader has its own words for a broken file
        raise ArtifactError(
            f"cannot be read: {error}", where=str(path), hint="Delete it and run the same command again."
        ) from error


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet artifact. Raises ArtifactError."""
    import pandas as pd

    frame: pd.DataFrame = _read(path, pd.read_parquet)
    return frame


def read_npy(path: Path) -> NDArray[Any]:
    """Read one array; pickled objects are refused. Raises ArtifactError."""
    import numpy as np

    array: NDArray[Any] = _read(path, lambda p: np.load(p, allow_pickle=False))
    return array


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays from safetensors. Raises ArtifactError."""
    from safetensors.numpy import load_file

    tensors: dict[str, NDArray[Any]] = _read(path, load_file)
    return tensors


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays from an npz; pickled objects are refused. Raises ArtifactError."""
    import numpy as np

    def read(path: Path) -> dict[str, NDArray[Any]]:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    arrays: dict[str, NDArray[Any]] = _read(path, read)
    return arrays


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def git_commit(root: Path) -> str | None:
    """The checkout's commit, with `+` when files differ from it; None outside a checkout or without git."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a number."""
    packages = ("torch", "numpy", "pandas", "scikit-learn", "pyarrow")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
