"""Names that users, archives and servers give: of competitions, datasets and files. Every one is checked here.

Must not know what exists at Kaggle or on disk.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from pipeline.base.errors import SpecError
from pipeline.base.printable import is_printable

MOST_BYTES = 100  # of a competition's name, which is a part of file names
MOST_BYTES_OF_PART, MOST_BYTES_OF_PATH = 255, 1000  # of a file's name and path, on most file systems
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\..*)?", re.IGNORECASE | re.DOTALL)  # Windows
KAGGLE = re.compile(r"(?:https?:)?(?://)?(?:[\w-]+\.)?kaggle\.com(?::\d+)?(?:[/?#](.*))?", re.IGNORECASE | re.DOTALL)
NAME = re.compile(r"\w[\w.-]*")
COMPETITION_HINT = (
    "Use the last part of its address, such as titanic in https://www.kaggle.com/competitions/titanic, or the name of "
    "its folder under data/."
)
DATASET_HINT = "Use owner/name, as in https://www.kaggle.com/datasets/owner/name."


def competition_slug(text: str) -> str:
    """Return a competition's name, given the name, the address of any of its pages, or `data/<name>`.

    Raises SpecError for what is no name of a folder.
    """
    is_address, parts = _parts(text, COMPETITION_HINT)
    if parts[:1] in (["c"], ["competitions"], [] if is_address else ["data"]) and (is_address or len(parts) == 2):
        parts = parts[1:2]
    elif is_address or len(parts) > 1:
        is_dataset = parts[:1] == ["datasets"] or (len(parts) == 2 and not any(map(_problem, parts)))
        what = "is a dataset, not a competition" if is_dataset else "is not the address of a competition"
        hint = "Name the competition, and give the dataset with its files as --dataset owner/name."
        raise _refused(text, what, hint if is_dataset else COMPETITION_HINT)
    name = "".join(parts)
    if problem := _problem(name):
        raise _refused(text, f"is not the name of a competition: it {problem}", COMPETITION_HINT)
    return name


def dataset_slug(text: str) -> str:
    """Return `owner/name` of a dataset, given that or the address of any of its pages. Raises SpecError."""
    is_address, parts = _parts(text, DATASET_HINT)
    parts = parts[1:] if parts[:1] == ["datasets"] else parts
    if "versions" in parts[2:]:
        raise _refused(text, "names a version of a dataset, but the latest is always used", DATASET_HINT)
    if len(parts) < 2 or (len(parts) > 2 and not is_address) or any(_problem(part) for part in parts[:2]):
        raise _refused(text, "is not a dataset's owner and name", DATASET_HINT)
    return "/".join(parts[:2])


def name_from(text: str) -> str:
    """Return a competition's name made of any text, such as the name of a folder. Raises SpecError if none is left."""
    made = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return competition_slug(made or text)


def file_name(path: str) -> str:
    """Return the path of a file as it is. Raises ValueError for one that no file can have."""
    if not path.strip():
        raise ValueError("has an empty name")
    if not is_printable(path):
        raise ValueError("has a name with control characters or invisible ones")
    sizes = [len(part.encode()) for part in path.split("/")]
    if max(sizes) > MOST_BYTES_OF_PART or sum(sizes) + len(sizes) > MOST_BYTES_OF_PATH:
        raise ValueError(f"has a name that is too long (at most {MOST_BYTES_OF_PART} bytes)")
    return path


def place_of(name: str) -> PurePosixPath:
    """Return the relative path that the name of an archive's member means. Raises ValueError unless it is safe."""
    place = PurePosixPath(file_name(name).replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", name):
        raise ValueError("would be written outside the folder")
    if not place.parts:
        raise ValueError("has an empty name")
    if any(DEVICES.fullmatch(part) for part in place.parts):
        raise ValueError("has a name that Windows reserves for a device")
    return place


def same_name(place: PurePosixPath) -> str:
    """Return a text that is equal for paths that a file system may take for one: without case and Unicode form."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", str(place)).casefold())


def _parts(text: str, hint: str) -> tuple[bool, list[str]]:
    """Return whether `text` is an address at Kaggle, and the parts of its path. Raises SpecError for other hosts."""
    text = unicodedata.normalize("NFC", text.strip())
    if found := KAGGLE.fullmatch(text):
        path = re.split(r"[?#]", found[1] or "")[0]
    elif "://" in text or text.startswith("//"):
        raise _refused(text, "is an address, but not of kaggle.com", hint)
    else:
        path = text
    return found is not None, [part for part in path.split("/") if part]


def _problem(name: str) -> str:
    """Return what is wrong with a name, as the rest of a sentence; "" if nothing is."""
    if not name:
        return "is empty"
    if len(name.encode(errors="replace")) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    if not NAME.fullmatch(name) or name.endswith("."):
        return "must consist of letters, digits, '-', '_' and '.', and neither begin with '-' or '.' nor end with '.'"
    return "is reserved for a device by Windows" if DEVICES.fullmatch(name) else ""


def _refused(text: str, what: str, hint: str) -> SpecError:
    shown = repr(text if len(text) <= 60 else f"{text[:60]}…")
    return SpecError(f"{shown} {what}", hint=hint)
