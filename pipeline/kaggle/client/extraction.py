"""Unpack an archive, nested ones included, without ever leaving the folder or filling the disk.

Knows zip files; trusts nothing in them.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pipeline.base.errors import DataError

BLOCK = 1 << 20  # bytes
LEAST_BOUND, MOST_RATIO = 4 << 30, 200  # bytes unpacked that any archive may have; above that, times its own size
MAX_DEPTH = 3  # archives in archives
RESERVE = 256 << 20  # bytes of the disk that stay free


class Budget:
    """Bytes that may still be written."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def take(self, n_bytes: int, where: str) -> None:
        """Use up some. Raises DataError when there are not as many."""
        self.left -= n_bytes
        if self.left < 0:
            raise DataError(
                "holds more than it may when unpacked (or than the disk has room for)",
                where=where,
                hint="Free some space; if the size is right, unpack it by hand into the competition's raw/ folder.",
            )


def extract(archive: Path, folder: Path) -> None:
    """Unpack `archive` into `folder`. Raises DataError for names that leave it, links, passwords and bombs."""
    bound = max(LEAST_BOUND, MOST_RATIO * archive.stat().st_size)
    room = shutil.disk_usage(folder).free - RESERVE
    _extract(archive, folder, Budget(max(0, min(bound, room))), depth=0)


def _extract(archive: Path, folder: Path, budget: Budget, depth: int) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [(info, _place(info, archive)) for info in opened.infolist() if not info.is_dir()]
            _refuse_clashes(archive, [place for _, place in members])
            for info, place in members:
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                _unpack(opened, info, target, budget, f"{archive.name}: {info.filename}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"cannot be unpacked: {error}", where=archive.name) from error
    for _, place in members:
        inner = folder / place
        if place.suffix.lower() == ".zip" and zipfile.is_zipfile(inner):
            if depth + 1 >= MAX_DEPTH:
                raise DataError(f"archives are nested deeper than {MAX_DEPTH}", where=str(place))
            _unpack_nested(inner, budget, depth + 1)


def _unpack_nested(inner: Path, budget: Budget, depth: int) -> None:
    """Put a nested archive's files in its place; into a folder of its name when one of them is there already."""
    with tempfile.TemporaryDirectory(prefix=".nested.", dir=inner.parent) as temporary:
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        _extract(inner, fresh, budget, depth)
        inner.unlink()
        is_taken = any((inner.parent / path.name).exists() for path in fresh.iterdir())
        if is_taken:
            fresh.replace(inner)
            return
        for path in fresh.iterdir():
            path.replace(inner.parent / path.name)


def _place(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    """Where a member goes, relative to the folder."""
    name = info.filename.replace("\\", "/")
    place = PurePosixPath(name)
    where = f"{archive.name}: {info.filename!r}"
    is_outside = place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", name) or "\0" in name
    if is_outside or not place.parts:
        raise DataError("would be written outside the folder", where=where, hint="Nothing was unpacked of it.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError("is a link, which is not followed", where=where, hint="Nothing was unpacked of it.")
    if info.flag_bits & 1:
        raise DataError("needs a password", where=where)
    return place


def _refuse_clashes(archive: Path, places: list[PurePosixPath]) -> None:
    """One name, one file, also where the file system ignores case."""
    seen: set[str] = set()
    for place in places:
        if str(place).lower() in seen:
            raise DataError("is there twice", where=f"{archive.name}: {place}")
        seen.add(str(place).lower())


def _unpack(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: Budget, where: str) -> None:
    """Write one member; the bytes that come are counted, not those announced."""
    with opened.open(info) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            budget.take(len(block), where)
            file.write(block)
