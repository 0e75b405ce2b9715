"""Images in IDX files (MNIST, Fashion-MNIST) -> the tables of a competition, one column per pixel.

Must not know: the spec, folder layouts, or how tables are written.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.base.errors import DataError
from pipeline.competition.samples.splitting import with_id
from pipeline.competition.tables.formats import DAMAGED, read_bytes

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # http://yann.lecun.com/exdb/mnist: unsigned bytes with 3 and 1 dimensions
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


class IdxTables(NamedTuple):
    """The files as Kaggle's tables: `id`, `pixel_0`..., `label`. `solution` holds the test labels if known."""

    train: pd.DataFrame
    test: pd.DataFrame
    sample_submission: pd.DataFrame
    solution: pd.DataFrame | None


def find_idx(folder: Path) -> dict[str, Path]:
    """The IDX files in `folder` by standard name, gzipped or not; empty if it has no train images.

    Raises DataError if train labels or test images are missing; test labels are optional.
    """
    candidates = [
        (name, folder / f"{name}{suffix}")
        for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
        for suffix in (".gz", "")
    ]
    found = {name: path for name, path in candidates if path.is_file()}
    if TRAIN_IMAGES not in found:
        return {}
    for name in (TRAIN_LABELS, TEST_IMAGES):
        if name not in found:
            raise DataError(f"has {found[TRAIN_IMAGES].name} but no {name}[.gz]", where=str(folder))
    return found


def idx_tables(folder: Path) -> IdxTables:
    """Read the IDX files in `folder`. Ids count up from 1, through the train images, then the test images.

    Pixels are uint8, row by row from the top left. Raises DataError for a missing or damaged file.
    """
    files = find_idx(folder)
    if not files:
        raise DataError(f"has no {TRAIN_IMAGES}[.gz]", where=str(folder))
    train_pixels, test_pixels = _read_images(files[TRAIN_IMAGES]), _read_images(files[TEST_IMAGES])
    if train_pixels.shape[1:] != test_pixels.shape[1:]:
        raise DataError(
            f"its images are {_size(test_pixels)}, those of {files[TRAIN_IMAGES].name} {_size(train_pixels)}",
            where=str(files[TEST_IMAGES]),
        )
    train = _table(train_pixels, first_id=1)
    train["label"] = _read_labels(files[TRAIN_LABELS], len(train_pixels), files[TRAIN_IMAGES])
    test = _table(test_pixels, first_id=len(train_pixels) + 1)
    sample_submission = pd.DataFrame({"id": test["id"], "label": np.zeros(len(test), dtype=np.int64)})
    solution = None
    if TEST_LABELS in files:
        labels = _read_labels(files[TEST_LABELS], len(test_pixels), files[TEST_IMAGES])
        solution = pd.DataFrame({"id": test["id"], "label": labels})
    return IdxTables(train, test, sample_submission, solution)


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[2]}"


def _table(pixels: NDArray[np.uint8], *, first_id: int) -> pd.DataFrame:
    flat = pixels.reshape(len(pixels), -1)  # (images, pixels)
    return with_id(pd.DataFrame(flat, columns=[f"pixel_{j}" for j in range(flat.shape[1])]), first_id=first_id)


def _read_images(path: Path) -> NDArray[np.uint8]:
    """Pixels (images, rows, columns)."""
    shape, pixels = _read_idx(path, magic=IMAGES_MAGIC, n_dimensions=3, what="images")
    return pixels.reshape(shape)


def _read_labels(path: Path, n_images: int, images: Path) -> NDArray[np.int64]:
    _, labels = _read_idx(path, magic=LABELS_MAGIC, n_dimensions=1, what="labels")
    if len(labels) != n_images:
        raise DataError(f"contains {len(labels)} labels for the {n_images} images of {images.name}", where=str(path))
    return labels.astype(np.int64)


def _read_idx(path: Path, *, magic: int, n_dimensions: int, what: str) -> tuple[tuple[int, ...], NDArray[np.uint8]]:
    """Shape and flat values: a magic number, one big-endian 32-bit integer per dimension, one byte per value."""
    data, start = read_bytes(path), 4 * (1 + n_dimensions)
    found = int.from_bytes(data[:4], "big")
    if len(data) < start or found != magic:
        raise DataError(f"is not an IDX file of {what}: it starts with {found}, not with {magic}", where=str(path))
    shape = struct.unpack(f">{n_dimensions}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataError(
            f"has {len(data) - start} bytes after its header, which declares {math.prod(shape)}",
            where=str(path),
            hint=DAMAGED,
        )
    return shape, np.frombuffer(data, dtype=np.uint8, offset=start)
