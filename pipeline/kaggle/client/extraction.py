"""Extract an archive and the archives in it, without ever leaving the folder or filling the disk.

Handles zip files and trusts nothing in them.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from pipeline.base.errors import DataError

BLOCK = 1 << 20  # bytes
MIN_LIMIT = 4 << 30  # extracted bytes that any archive may have
MAX_RATIO = 200  # extracted bytes that a large archive may have, as a multiple of its size
MAX_DEPTH = 3  # archives in archives
RESERVE = 256 << 20  # bytes of disk space to leave free


class Budget:
    """The number of bytes that may still be written."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def take(self, n_bytes: int, where: str) -> None:
        """Spend `n_bytes`. Raises DataError if fewer are left."""
        self.left -= n_bytes
        if self.left < 0:
            hint = "Free some space; if the size is right, extract it by hand into the competition's raw/ folder."
            raise DataError("exceeds the size limit when extracted (or the free disk space)", where=where, hint=hint)


def extract(archive: Path, folder: Path) -> None:
    """Extract `archive` into `folder`. Raises DataError for names outside it, links, passwords and zip bombs."""
    limit = max(MIN_LIMIT, MAX_RATIO * archive.stat().st_size)
    free = shutil.disk_usage(folder).free - RESERVE
    _extract(archive, folder, Budget(max(0, min(limit, free))), depth=0)


def _extract(archive: Path, folder: Path, budget: Budget, depth: int) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [(info, _place(info, archive)) for info in opened.infolist() if not info.is_dir()]
            counts = Counter(str(place).lower() for _, place in members)  # some file systems ignore case
            if twice := [name for name, count in counts.items() if count > 1]:
                raise DataError("occurs twice", where=f"{archive.name}: {twice[0]}")
            for info, place in members:
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_member(opened, info, target, budget, f"{archive.name}: {info.filename}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"cannot be extracted: {error}", where=archive.name) from error
    for _, place in members:
        inner = folder / place
        if place.suffix.lower() == ".zip" and zipfile.is_zipfile(inner):
            if depth + 1 >= MAX_DEPTH:
                raise DataError(f"archives are nested deeper than {MAX_DEPTH}", where=str(place))
            _extract_nested(inner, budget, depth + 1)


def _extract_nested(inner: Path, budget: Budget, depth: int) -> None:
    """Replace a nested archive by its files, or by a folder of its name if one of the files already exists."""
    with tempfile.TemporaryDirectory(prefix=".nested.", dir=inner.parent) as temporary:
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        _extract(inner, fresh, budget, depth)
        inner.unlink()
        if any((inner.parent / path.name).exists() for path in fresh.iterdir()):
            fresh.replace(inner)
            return
        for path in fresh.iterdir():
            path.replace(inner.parent / path.name)


def _place(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    """Return a member's path relative to the folder."""
    name = info.filename.replace("\\", "/")
    place = PurePosixPath(name)
    where = f"{archive.name}: {info.filename!r}"
    is_outside = place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", name) or "\0" in name
    if is_outside or not place.parts:
        raise DataError("would be written outside the folder", where=where, hint="The archive was not extracted.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError("is a link, which is not supported", where=where, hint="The archive was not extracted.")
    if info.flag_bits & 1:
        raise DataError("is encrypted", where=where)
    return place


def _write_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: Budget, where: str) -> None:
    """Write one member, counting the bytes extracted rather than the size announced."""
    with opened.open(info) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            budget.take(len(block), where)
            file.write(block)
