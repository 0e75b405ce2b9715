"""Laws of the IDX reader: pixels, labels and ids line up; a damaged file is refused by name."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.base.errors import DataError
from pipeline.competition.idx_images import find_idx, idx_tables

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def images(n: int, height: int = 2, width: int = 3, first: int = 0) -> bytes:
    pixels = np.arange(first, first + n * height * width) % 256
    return struct.pack(">4I", 2051, n, height, width) + pixels.astype(np.uint8).tobytes()


def labels(values: list[int]) -> bytes:
    return struct.pack(">2I", 2049, len(values)) + bytes(values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TRAIN_IMAGES).write_bytes(images(3))
    (tmp_path / TRAIN_LABELS).write_bytes(labels([5, 0, 9]))
    (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(images(2, first=100), mtime=0))
    (tmp_path / f"{TEST_LABELS}.gz").write_bytes(gzip.compress(labels([1, 2]), mtime=0))
    return tmp_path


def test_pixels_labels_and_ids_line_up(folder: Path) -> None:
    train, test, sample_submission, solution = idx_tables(folder)
    assert list(train) == ["id", *(f"pixel_{j}" for j in range(6)), "label"]
    assert list(test) == list(train)[:-1]
    assert train["id"].tolist() == [1, 2, 3]
    assert test["id"].tolist() == [4, 5]
    assert train["label"].tolist() == [5, 0, 9]
    assert train.filter(like="pixel").to_numpy().tolist() == np.arange(18).reshape(3, 6).tolist()
    assert test.filter(like="pixel").to_numpy().tolist() == np.arange(100, 112).reshape(2, 6).tolist()
    assert set(train.filter(like="pixel").dtypes.astype(str)) == {"uint8"}
    assert sample_submission["id"].tolist() == [4, 5]
    assert list(sample_submission) == ["id", "label"]
    assert solution is not None
    assert solution.to_numpy().tolist() == [[4, 1], [5, 2]]


def test_without_test_labels_there_is_no_solution(folder: Path) -> None:
    (folder / f"{TEST_LABELS}.gz").unlink()
    assert idx_tables(folder).solution is None


def test_a_folder_without_images_has_no_idx(tmp_path: Path) -> None:
    assert find_idx(tmp_path) == {}
    with pytest.raises(DataError, match=TRAIN_IMAGES):
        idx_tables(tmp_path)


@pytest.mark.parametrize("absent", [TRAIN_LABELS, f"{TEST_IMAGES}.gz"])
def test_half_a_set_is_refused(folder: Path, absent: str) -> None:
    (folder / absent).unlink()
    with pytest.raises(DataError, match=absent.removesuffix(".gz")):
        find_idx(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (TRAIN_IMAGES, labels([1, 2, 3]), "not an IDX file of images: it starts with 2049, not with 2051"),
        (TRAIN_IMAGES, b"", "not an IDX file of images"),
        (TRAIN_IMAGES, images(3)[:-1], "has 17 bytes after its header, which declares 18"),
        (TRAIN_IMAGES, images(3) + b"x", "has 19 bytes"),
        (TRAIN_LABELS, images(3), "not an IDX file of labels"),
        (TRAIN_LABELS, labels([1, 2]), "contains 2 labels for the 3 images of train-images"),
        (TRAIN_LABELS, labels([1, 2, 3])[:-1], "has 2 bytes after its header, which declares 3"),
        (f"{TEST_IMAGES}.gz", gzip.compress(images(2), mtime=0)[:-9], "not a complete gzip file"),
        (f"{TEST_IMAGES}.gz", images(2), "not a complete gzip file"),
        (f"{TEST_IMAGES}.gz", gzip.compress(images(2, height=4), mtime=0), "images are 4 x 3, those of"),
        (f"{TEST_LABELS}.gz", gzip.compress(labels([1]), mtime=0), "contains 1 labels for the 2 images"),
    ],
)
def test_a_damaged_file_is_refused_by_name(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        idx_tables(folder)
    assert name in error.value.message
    assert said in error.value.message


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("PIPELINE_DATA_DIR" not in os.environ, reason="PIPELINE_DATA_DIR is not set")
def test_fashion_mnist_reads_whole() -> None:
    train, test, sample_submission, solution = idx_tables(Path(os.environ["PIPELINE_DATA_DIR"]) / "fashion-mnist")
    assert train.shape == (60_000, 786)
    assert test.shape == (10_000, 785)
    assert solution is not None
    assert set(train["label"]) == set(solution["label"]) == set(range(10))
    assert sample_submission["id"].tolist() == solution["id"].tolist() == list(range(60_001, 70_001))
