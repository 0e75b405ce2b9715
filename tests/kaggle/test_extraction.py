"""Extraction never writes outside the folder, follows no links and does not fill the disk."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from pipeline.base.errors import DataError
from pipeline.kaggle.client import extraction
from pipeline.kaggle.client.extraction import CorruptArchive, extract
from tests.kaggle.server import zip_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder to extract to; a file beside it must not change."""
    (tmp_path / "in").mkdir()
    (tmp_path / "beside.csv").write_text("untouched")
    return tmp_path / "in"


def unpack(folder: Path, archive: bytes) -> dict[str, bytes]:
    path = folder.parent / "archive.zip"
    path.write_bytes(archive)
    extract(path, folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name", ["../beside.csv", "a/../../beside.csv", "/etc/x", "C:\\x", "..\\beside.csv", "C:x", "a\\..\\..\\beside.csv"]
)
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match="outside the folder"):
        unpack(folder, zip_of({"train.csv": b"a", name: b"evil"}))
    assert (folder.parent / "beside.csv").read_text() == "untouched"
    assert not list(folder.iterdir())


def test_a_nested_name_that_leaves_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="outside the folder"):
        unpack(folder, zip_of({"inner.zip": zip_of({"../../beside.csv": b"evil"})}))
    assert (folder.parent / "beside.csv").read_text() == "untouched"


def test_a_link_is_refused(folder: Path) -> None:
    path = folder.parent / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("train.csv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../beside.csv")
    with pytest.raises(DataError, match="is a link or a device"):
        extract(path, folder)


def test_a_zip_bomb_is_refused_even_if_nested(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MIN_LIMIT", 100_000)
    bomb = zip_of({"zeros": bytes(3_000_000)})
    for archive in (bomb, zip_of({"inner.zip": bomb}, zipfile.ZIP_STORED)):
        with pytest.raises(DataError, match="exceeds the size limit"):
            unpack(folder, archive)
        assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 3_000_000
        for path in folder.iterdir():
            path.unlink()


def test_the_nesting_of_archives_is_limited(folder: Path) -> None:
    archive = zip_of({"x": b"x"})
    for _ in range(5):
        archive = zip_of({"inner.zip": archive})
    with pytest.raises(DataError, match="nested deeper"):
        unpack(folder, archive)


def test_two_members_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="occurs twice"):
        unpack(folder, zip_of({"Train.csv": b"1", "train.csv": b"2"}))


def test_a_nested_archive_of_existing_files_gets_its_own_folder(folder: Path) -> None:
    files = unpack(folder, zip_of({"train.csv": b"1", "train.csv.zip": zip_of({"train.csv": b"1"}), "a.zip": b"text"}))
    assert files == {"train.csv": b"1", "a.zip": b"text", "train.csv.zip/train.csv": b"1"}


def members(*named: tuple[str, bytes]) -> bytes:
    """An archive whose members may have the same name, which `zip_of` cannot make."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in named:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


AWKWARD: dict[str, tuple[str, ...]] = {
    "empty": ("train.csv", " "),
    "escape codes": ("train.csv", "a\x1b[31m.csv"),
    "right to left": ("a\u202egpj.csv",),
    "too long": ("x" * 300 + ".csv",),
    "a device": ("nul.csv",),
    "a file beside a folder of its name": ("a", "a/train.csv"),
    "names that differ by case": ("Train.csv", "train.csv"),
    "names that differ by Unicode form": ("\u00e9.csv", "e\u0301.csv"),
}


@pytest.mark.parametrize("names", AWKWARD.values(), ids=AWKWARD)
def test_awkward_names_are_refused_before_anything_is_written(folder: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        unpack(folder, members(*((name, b"a") for name in names)))
    assert "The archive was not extracted." in caught.value.message
    assert not list(folder.iterdir())


def test_overlapping_members_are_refused_at_once(folder: Path) -> None:
    """Each of a thousand members is the same megabyte: a bomb that checksums would take long to find."""
    plain = members(("a.csv", bytes(1_000_000)), ("b.csv", b"b"))
    end = plain.rindex(b"PK\x05\x06")
    start = int.from_bytes(plain[end + 16 : end + 20], "little")
    first = plain[start : plain.index(b"PK\x01\x02", start + 4)]
    entries = b"".join(first.replace(b"a.csv", f"{i:05}".encode()) for i in range(1000))
    tail = bytearray(plain[end:])
    tail[8:12] = (1000).to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    with pytest.raises(DataError, match="overlap"):
        unpack(folder, plain[:start] + entries + bytes(tail))
    assert not list(folder.iterdir())


def test_an_announced_size_beyond_the_limit_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MIN_LIMIT", 100_000)
    with pytest.raises(DataError, match="exceeds the size limit"):
        unpack(folder, members(("a.csv", b"1"), ("zeros", bytes(3_000_000))))
    assert not list(folder.iterdir())


def test_damage_is_told_by_the_competitions_name(folder: Path) -> None:
    content = bytearray(members(("a.csv", b"0123456789" * 1000)))
    content[60] ^= 0xFF
    path = folder.parent / "archive.part"
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptArchive) as caught:
        extract(path, folder, name="titanic")
    assert caught.value.message.startswith("titanic")
