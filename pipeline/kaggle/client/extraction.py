"""Extract an archive and the archives in it, without ever leaving the folder or filling the disk.

Handles zip files and trusts nothing in them.
"""

from __future__ import annotations

import errno
import io
import itertools
import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pipeline.base.errors import DataError
from pipeline.base.names import place_of, same_name

BLOCK = 1 << 20  # bytes
MIN_LIMIT = 4 << 30  # extracted bytes that any archive may have
MAX_RATIO = 200  # extracted bytes that a large archive may have, as a multiple of its size
MAX_DEPTH = 3  # archives in archives
MOST_MEMBERS = 200_000
MOST_BYTES_OF_CONTENTS = 32 << 20  # of the list of members, which is read into memory at once
HEADER = 30  # bytes of a member's header, without its name
NO_FILES = (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError)
NOT_EXTRACTED = "The archive was not extracted."
RESERVE = 256 << 20  # bytes of disk space to leave free


class Budget:
    """The number of bytes that may still be written."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def take(self, n_bytes: int, where: str) -> None:
        """Spend `n_bytes`. Raises DataError if fewer are left."""
        self.left -= n_bytes
        if self.left < 0:
            raise TooLarge(where)


class TooLarge(DataError):
    """An archive that exceeds the limit, or the disk."""

    def __init__(self, where: str) -> None:
        hint = "Free some space; if the size is right, extract it by hand into the competition's raw/ folder."
        super().__init__("exceeds the size limit when extracted (or the free disk space)", where=where, hint=hint)


class CorruptArchive(DataError):
    """The bytes are not those that were packed: a download may repair it."""


class _BoundedFile(io.FileIO):
    """A file whose list of members is not read if it is too large for memory."""

    name_in_messages = ""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file: `zipfile` reads the list of members in one call, and nothing else in large pieces."""
        if size is not None and size > MOST_BYTES_OF_CONTENTS:
            what = f"the archive's list of contents has {size / 1e6:.0f} MB"
            raise DataError(f"{what}; at most {MOST_MEMBERS} files are extracted", where=self.name_in_messages)
        return super().read(size) or b""


def extract(archive: Path, folder: Path, *, name: str = "") -> None:
    """Extract `archive`, called `name` in messages, into `folder`.

    Names, links, passwords, overlaps and announced sizes are checked before a byte is unpacked; checksums while it is.
    Raises DataError, and CorruptArchive for damage.
    """
    limit = max(MIN_LIMIT, MAX_RATIO * archive.stat().st_size)
    free = shutil.disk_usage(folder).free - RESERVE
    _extract(archive, folder, Budget(max(0, min(limit, free))), depth=0, name=name or archive.name)


def _extract(archive: Path, folder: Path, budget: Budget, depth: int, name: str) -> None:
    try:
        with _BoundedFile(archive) as file:
            file.name_in_messages = name
            opened = zipfile.ZipFile(file)
            infos = [info for info in opened.infolist() if not info.orig_filename.endswith(("/", "\\"))]
            members = _checked(infos, budget, name)
            for info, place in members:
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_member(opened, info, target, budget, f"{name}: {info.filename}")
    except NotImplementedError as error:
        raise DataError(f"the archive cannot be extracted: {error}", where=name, hint=NOT_EXTRACTED) from error
    except DAMAGE as error:
        is_of_disk = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)  # bz2's errors have none
        if is_of_disk or isinstance(error, DataError):
            raise
        raise CorruptArchive(f"the archive cannot be extracted: {error}", where=name) from error
    for _, place in members:
        inner = folder / place
        if place.suffix.lower() == ".zip" and zipfile.is_zipfile(inner):
            if depth + 1 >= MAX_DEPTH:
                raise DataError(f"archives are nested deeper than {MAX_DEPTH}", where=f"{name}: {place}")
            _extract_nested(inner, budget, depth + 1, f"{name}: {place}")


Members = list[tuple[zipfile.ZipInfo, PurePosixPath]]


def _checked(infos: list[zipfile.ZipInfo], budget: Budget, name: str) -> Members:
    """The members with their places, if all that the list of contents says is safe."""
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"the archive has {len(infos)} files; at most {MOST_MEMBERS} are extracted", where=name)
    members = [(info, _place(info, name)) for info in infos]
    _refuse_clashes(members, name)
    in_order = sorted(infos, key=lambda info: info.header_offset)
    for one, following in itertools.pairwise(in_order):
        if one.header_offset + HEADER + one.compress_size > following.header_offset:
            raise DataError(
                "overlaps the next file of the archive", where=f"{name}: {one.filename}", hint=NOT_EXTRACTED
            )
    announced = sum(info.file_size for info in infos)
    if announced > budget.left:
        raise TooLarge(f"{name}, {announced / 1e9:.1f} GB")
    return members


def _refuse_clashes(members: Members, name: str) -> None:
    """Refuse paths that a file system may take for one, and a file where another member needs a folder."""
    files: dict[str, PurePosixPath] = {}
    for _, place in members:
        if same_name(place) in files:
            raise DataError("occurs twice", where=f"{name}: {place}", hint=NOT_EXTRACTED)
        files[same_name(place)] = place
    for _, place in members:
        for parent in place.parents:
            if same_name(parent) in files:
                raise DataError("is both a file and a folder", where=f"{name}: {parent}", hint=NOT_EXTRACTED)


def _extract_nested(inner: Path, budget: Budget, depth: int, name: str) -> None:
    """Replace a nested archive by its files, or by a folder of its name if one of the files already exists."""
    with tempfile.TemporaryDirectory(prefix=".nested.", dir=inner.parent) as temporary:
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        _extract(inner, fresh, budget, depth, name)
        budget.left += inner.stat().st_size
        inner.unlink()
        if any((inner.parent / path.name).exists() for path in fresh.iterdir()):
            fresh.replace(inner)
            return
        for path in fresh.iterdir():
            path.replace(inner.parent / path.name)


def _place(info: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """Return a member's path relative to the folder."""
    where = f"{name}: {info.orig_filename!r}"
    try:
        place = place_of(info.orig_filename)
    except ValueError as error:
        raise DataError(str(error), where=where, hint=NOT_EXTRACTED) from error
    if stat.S_IFMT(info.external_attr >> 16) in NO_FILES:
        raise DataError("is a link or a device, not a file", where=where, hint=NOT_EXTRACTED)
    if info.flag_bits & 1:
        raise DataError("is encrypted", where=where, hint=NOT_EXTRACTED)
    return place


def _write_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: Budget, where: str) -> None:
    """Write one member, counting the bytes extracted rather than the size announced."""
    with opened.open(info) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            budget.take(len(block), where)
            file.write(block)
