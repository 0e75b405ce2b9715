"""Images in IDX files (MNIST, Fashion-MNIST) -> the tables of a competition, one column per pixel.

Must not know: the spec, folders' layout, or how tables are written.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # http://yann.lecun.com/exdb/mnist: unsigned bytes with 3 and with 1 dimension


@dataclass(frozen=True)
class IdxFiles:
    """The IDX files of a folder; the test images' labels may be absent."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path | None


class IdxTables(NamedTuple):
    """The files as Kaggle's tables: `id`, `pixel_0`..., `label`. `solution` holds the test labels when known."""

    train: pd.DataFrame
    test: pd.DataFrame
    sample_submission: pd.DataFrame
    solution: pd.DataFrame | None


def find_idx(folder: Path) -> IdxFiles | None:
    """The IDX files in `folder`, gzipped or not; None when it holds no train images. Raises DataError."""
    train_images = _find(folder, "train-images-idx3-ubyte")
    if train_images is None:
        return None
    train_labels = _find(folder, "train-labels-idx1-ubyte")
    test_images = _find(folder, "t10k-images-idx3-ubyte")
    if train_labels is None or test_images is None:
        absent = "train-labels-idx1-ubyte" if train_labels is None else "t10k-images-idx3-ubyte"
        raise DataError(f"there is {train_images.name} but no {absent}[.gz]", where=str(folder))
    return IdxFiles(train_images, train_labels, test_images, _find(folder, "t10k-labels-idx1-ubyte"))


def idx_tables(folder: Path) -> IdxTables:
    """Read the IDX files in `folder`. Ids count up from 1; the test images' follow those of the train images.

    Pixels are uint8, row by row from the top left. Raises DataError for a file that is absent, cut short or no IDX.
    """
    files = find_idx(folder)
    if files is None:
        raise DataError("there is no train-images-idx3-ubyte[.gz]", where=str(folder))
    train_pixels, test_pixels = _read_images(files.train_images), _read_images(files.test_images)
    if train_pixels.shape[1:] != test_pixels.shape[1:]:
        raise DataError(
            f"its images are {_size(test_pixels)}, those of {files.train_images.name} {_size(train_pixels)}",
            where=str(files.test_images),
        )
    train = _table(train_pixels, first_id=1)
    train["label"] = _read_labels(files.train_labels, len(train_pixels), files.train_images)
    test = _table(test_pixels, first_id=len(train_pixels) + 1)
    sample_submission = pd.DataFrame({"id": test["id"], "label": np.zeros(len(test), dtype=np.int64)})
    solution = None
    if files.test_labels is not None:
        labels = _read_labels(files.test_labels, len(test_pixels), files.test_images)
        solution = pd.DataFrame({"id": test["id"], "label": labels})
    return IdxTables(train, test, sample_submission, solution)


def _find(folder: Path, name: str) -> Path | None:
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).is_file()), None)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[2]}"


def _table(pixels: NDArray[np.uint8], *, first_id: int) -> pd.DataFrame:
    flat = pixels.reshape(len(pixels), -1)  # (images, pixels)
    table = pd.DataFrame(flat, columns=[f"pixel_{j}" for j in range(flat.shape[1])])
    table.insert(0, "id", np.arange(first_id, first_id + len(flat), dtype=np.int64))
    return table


def _read_images(path: Path) -> NDArray[np.uint8]:
    """Pixels (images, rows, columns)."""
    data = _bytes_of(path)
    n_images, height, width = _header(data, path, magic=IMAGES_MAGIC, n_sizes=3, what="images")
    return _body(data, path, 16, n_images * height * width).reshape(n_images, height, width)


def _read_labels(path: Path, n_images: int, images: Path) -> NDArray[np.int64]:
    data = _bytes_of(path)
    (n_labels,) = _header(data, path, magic=LABELS_MAGIC, n_sizes=1, what="labels")
    if n_labels != n_images:
        raise DataError(f"holds {n_labels} labels for the {n_images} images of {images.name}", where=str(path))
    return _body(data, path, 8, n_labels).astype(np.int64)


def _bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"is no complete gzip file: {error}", where=str(path), hint="Download it again.") from None


def _header(data: bytes, path: Path, *, magic: int, n_sizes: int, what: str) -> tuple[int, ...]:
    """The sizes an IDX file declares: big-endian 32-bit integers after its magic number."""
    found = int.from_bytes(data[:4], "big")
    if len(data) < 4 * (1 + n_sizes) or found != magic:
        raise DataError(f"is no IDX file of {what}: it starts with {found}, not with {magic}", where=str(path))
    return struct.unpack(f">{n_sizes}I", data[4 : 4 * (1 + n_sizes)])


def _body(data: bytes, path: Path, start: int, n_bytes: int) -> NDArray[np.uint8]:
    if len(data) - start != n_bytes:
        raise DataError(
            f"holds {len(data) - start} bytes after its header, which declares {n_bytes}",
            where=str(path),
            hint="Download it again.",
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start)
