"""Private datasets at Kaggle: read one's files and status, make one, add a version.

Knows the SDK's requests; must not know what the files are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client.errors import short
from pipeline.kaggle.client.session import KaggleSession

MISSING = {"not found", "forbidden"}  # Kaggle answers 403 for a private dataset that does not exist
READY, FAILED = "ready", {"failed", "deleted"}
Files = dict[str, int]  # name -> bytes


@dataclass(frozen=True)
class Dataset:
    """A dataset as Kaggle has it."""

    description: str
    files: Files


def find_dataset(session: KaggleSession, name: str) -> Dataset | None:
    """Return the dataset `owner/name`, None if there is none. Raises KaggleError."""
    owner, _, slug = name.partition("/")
    try:
        description = session.ask(
            "reading the dataset",
            name,
            "get_dataset",
            lambda response: response.description or "",
            owner_slug=owner,
            dataset_slug=slug,
        )
        return Dataset(description, {file.name: file.n_bytes for file in session.data_files(name)})
    except KaggleError as error:
        if error.kind in MISSING:
            return None
        raise


def status_of(session: KaggleSession, name: str) -> str:
    """Return the status of the newest version: `ready`, one of `FAILED`, or another while Kaggle prepares it."""
    owner, _, slug = name.partition("/")

    def status(response: Any) -> str:
        return str(getattr(response.status, "name", response.status)).lower()

    action, method = "reading the dataset's status", "get_dataset_status"
    return session.ask(action, name, method, status, owner_slug=owner, dataset_slug=slug)


def upload(session: KaggleSession, path: Path) -> str:
    """Upload a file and return its token. Changes no dataset. Raises KaggleError."""
    kind = import_module("kagglesdk.blobs.types.blob_api_service").ApiBlobType.DATASET
    return session.send_file(f"uploading {path.name}", path.name, path, "start_blob_upload", type=kind, name=path.name)


def create(session: KaggleSession, name: str, title: str, description: str, tokens: Sequence[str]) -> None:
    """Make a private dataset of uploaded files; never retried. Raises KaggleError."""
    owner, _, slug = name.partition("/")
    session.ask(
        "creating the dataset",
        name,
        "create_dataset",
        _refuse_error,
        is_retried=False,
        owner_slug=owner,
        slug=slug,
        title=title,
        description=description,
        license_name="unknown",
        is_private=True,
        files=_files(tokens),
    )


def add_version(session: KaggleSession, name: str, description: str, notes: str, tokens: Sequence[str]) -> None:
    """Replace the files by uploaded ones, as a new version; never retried. Raises KaggleError."""
    owner, _, slug = name.partition("/")
    body = _types().ApiCreateDatasetVersionRequestBody()
    body.version_notes, body.description, body.files = notes, description, _files(tokens)
    action, method = "updating the dataset", "create_dataset_version"
    session.ask(action, name, method, _refuse_error, is_retried=False, owner_slug=owner, dataset_slug=slug, body=body)


def _types() -> Any:
    return import_module("kagglesdk.datasets.types.dataset_api_service")


def _files(tokens: Sequence[str]) -> list[Any]:
    files = [_types().ApiDatasetNewFile() for _ in tokens]
    for file, token in zip(files, tokens, strict=True):
        file.token = token
    return files


def _refuse_error(response: Any) -> None:
    if response.error:
        what = f'rejected the dataset. Kaggle says: "{short(str(response.error))}"'
        raise KaggleError(what, kind="dataset refused", hint="See https://www.kaggle.com/work/datasets")
