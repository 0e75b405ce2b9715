"""A logged-in user of Kaggle: what can be read there, and the three steps of a submission.

Wraps the official client's own requests; knows nothing of the pipeline's files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.addresses import SETTINGS_URL
from pipeline.kaggle.client.answers import (
    Competition,
    LeaderboardRow,
    Limits,
    RemoteFile,
    SubmissionStatus,
    competition_of,
    leaderboard_row_of,
    limits_of,
    remote_file_of,
    submission_of,
)
from pipeline.kaggle.client.credentials import find_credentials
from pipeline.kaggle.client.faults import STALE, STALE_STATUS, explain_status, is_html, no_credentials

T = TypeVar("T")
PAGE_SIZE, MAX_PAGES = 100, 200


def client_version() -> str:
    """Version of the installed `kaggle` package, or "not installed"."""
    try:
        return metadata.version("kaggle")
    except metadata.PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class OutputName:
    """A file in the output of one version of a notebook."""

    owner: str
    slug: str
    version: int
    file_name: str


@dataclass(frozen=True)
class KaggleSession:
    """A logged-in user. Every method raises KaggleError, and no other error."""

    api: Any
    user: str
    method: str

    @classmethod
    def connect(cls) -> KaggleSession:
        """Log in with the credentials the official client finds."""
        if find_credentials() is None:
            raise no_credentials()
        api_class = _import_client()

        def log_in() -> Any:
            api = api_class()
            api.authenticate()
            return api

        api = calls.read("the login", "", log_in)
        method = str(api.config_values.get("auth_method", ""))
        _refuse_poisoned(method)
        return cls(api, str(api.config_values.get("username", "")), method)

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """The SDK's client, with this user's credentials; to be used inside `calls.read` or `calls.write`."""
        with self.api.build_kaggle_client() as client:
            yield client

    def competition(self, slug: str) -> Competition:
        """The competition as this user sees it."""
        request = _request("ApiGetCompetitionRequest", competition_name=slug)
        return self._read("the competition", slug, "get_competition", request, competition_of)

    def limits(self, slug: str) -> Limits:
        """Submissions left."""
        request = _request("ApiGetSubmissionLimitsRequest", competition_name=slug)
        return self._read("the submission limits", slug, "get_submission_limits", request, limits_of)

    def submission(self, slug: str, ref: int) -> SubmissionStatus:
        """One submission by its ref."""
        request = _request("ApiGetSubmissionRequest", ref=ref)
        return self._read(f"the submission {ref}", slug, "get_submission", request, submission_of)

    def submissions(self, slug: str) -> list[SubmissionStatus]:
        """All submissions of the user's team, newest first."""

        def page(token: str) -> tuple[list[SubmissionStatus], str]:
            request = _request("ApiListSubmissionsRequest", competition_name=slug, page_size=PAGE_SIZE)
            request.page_token = token or None
            return self._read(
                "the list of submissions",
                slug,
                "list_submissions",
                request,
                lambda answer: ([submission_of(item) for item in answer.submissions], answer.next_page_token or ""),
            )

        return all_pages(page)

    def leaderboard(self, slug: str, n_rows: int) -> list[LeaderboardRow]:
        """The first rows of the public leaderboard, best first."""

        def page(token: str) -> tuple[list[LeaderboardRow], str]:
            request = _request("ApiGetLeaderboardRequest", competition_name=slug, page_size=min(n_rows, PAGE_SIZE))
            request.page_token = token or None
            return self._read(
                "the leaderboard",
                slug,
                "get_leaderboard",
                request,
                lambda answer: (
                    [leaderboard_row_of(item) for item in answer.submissions],
                    answer.next_page_token or "",
                ),
            )

        rows = all_pages(page, enough=n_rows)[:n_rows]
        return [replace(row, rank=rank) for rank, row in enumerate(rows, start=1)]

    def data_files(self, slug: str) -> list[RemoteFile]:
        """The files of a competition, or of a data set when `slug` is `owner/name`."""
        owner, _, name = slug.rpartition("/")

        def page(token: str) -> tuple[list[RemoteFile], str]:
            if owner:
                request = _request("ApiListDatasetFilesRequest", owner_slug=owner, dataset_slug=name)
            else:
                request = _request("ApiListDataFilesRequest", competition_name=slug)
            request.page_size, request.page_token = PAGE_SIZE, token or None
            return self._read(
                "the list of files",
                slug,
                "list_dataset_files" if owner else "list_data_files",
                request,
                lambda answer: (
                    [remote_file_of(item) for item in (answer.dataset_files if owner else answer.files)],
                    answer.next_page_token or "",
                ),
            )

        return all_pages(page)

    def open_archive(self, slug: str) -> Any:
        """The streamed answer with all files of a competition or data set, asked for once; the caller closes it."""
        owner, _, name = slug.rpartition("/")
        if owner:
            request = _request("ApiDownloadDatasetRequest", owner_slug=owner, dataset_slug=name)
        else:
            request = _request("ApiDownloadDataFilesRequest", competition_name=slug)
        method = "download_dataset" if owner else "download_data_files"
        return self._ask(calls.write, "the download", slug, method, request, lambda answer: answer)

    def upload(self, slug: str, path: Path) -> str:
        """Put a file into Kaggle's storage and return its token. Uses no submission slot; not tried again."""
        n_bytes = path.stat().st_size
        request = _request(
            "ApiStartSubmissionUploadRequest",
            competition_name=slug,
            file_name=path.name,
            content_length=n_bytes,
            last_modified_epoch_seconds=int(path.stat().st_mtime),
        )
        doing = "the upload"

        def put() -> str:
            import requests

            with self.client() as client:
                place = client.competitions.competition_api_client.start_submission_upload(request)
            if not (isinstance(place.create_url, str) and place.create_url and place.token):
                raise ValueError("the answer names no place to upload to")
            with path.open("rb") as file:
                answer = requests.put(place.create_url, data=file, timeout=calls.timeouts())
            if answer.status_code in STALE_STATUS:
                raise KaggleError(
                    f"the storage refused the upload ({answer.status_code}); nothing was submitted",
                    kind=STALE,
                    where=slug,
                    hint="Run the same command again; it asks for a new place.",
                )
            if answer.status_code >= 400:
                raise explain_status(answer, doing=doing, slug=slug)
            if is_html(answer):
                raise ValueError("a web page in place of the storage")
            return str(place.token)

        return calls.write(doing, slug, put)

    def create_submission(self, slug: str, token: str, description: str) -> int:
        """Submit an uploaded file: the one call that uses a slot. Returns the ref; never tried again."""
        request = _request(
            "ApiCreateSubmissionRequest",
            competition_name=slug,
            blob_file_tokens=token,
            submission_description=description,
        )

        return self._ask(calls.write, "the submission", slug, "create_submission", request, _ref_in)

    def create_code_submission(self, slug: str, kernel: OutputName, description: str) -> int:
        """Submit a notebook's output to a code competition: uses a slot, too. Returns the ref; never tried again."""
        request = _request(
            "ApiCreateCodeSubmissionRequest",
            competition_name=slug,
            kernel_owner=kernel.owner,
            kernel_slug=kernel.slug,
            kernel_version=kernel.version,
            file_name=kernel.file_name,
            submission_description=description,
        )
        return self._ask(calls.write, "the submission", slug, "create_code_submission", request, _ref_in)

    def _read(self, doing: str, slug: str, method: str, request: Any, convert: Callable[[Any], T]) -> T:
        return self._ask(calls.read, doing, slug, method, request, convert)

    def _ask(
        self,
        how: Callable[[str, str, Callable[[], T]], T],
        doing: str,
        slug: str,
        method: str,
        request: Any,
        convert: Callable[[Any], T],
    ) -> T:
        """One request of the competition or data set service, its answer converted where errors are understood."""

        def ask() -> T:
            with self.client() as client:
                service = (
                    client.datasets.dataset_api_client
                    if "dataset" in method
                    else client.competitions.competition_api_client
                )
                return convert(getattr(service, method)(request))

        return how(doing, slug, ask)


def _request(name: str, **fields: Any) -> Any:
    """A request object of the SDK."""
    from kagglesdk.competitions.types import competition_api_service
    from kagglesdk.datasets.types import dataset_api_service

    module = dataset_api_service if "Dataset" in name else competition_api_service
    request = getattr(module, name)()
    for field, value in fields.items():
        setattr(request, field, value)
    return request


def _ref_in(answer: Any) -> int:
    """The ref of a submission's answer. Raises ValueError when there is none."""
    if isinstance(answer.ref, bool) or not isinstance(answer.ref, int) or answer.ref <= 0:
        raise ValueError(f"no ref in the answer: {answer.message!r}")
    return answer.ref


def all_pages(page: Callable[[str], tuple[list[T], str]], *, enough: int | None = None) -> list[T]:
    """The items of all pages, until there is no next one or there are `enough`."""
    items: list[T] = []
    token = ""
    for _ in range(MAX_PAGES):
        found, next_token = page(token)
        items += found
        if not next_token or next_token == token or (enough is not None and len(items) >= enough):
            break
        token = next_token
    return items


def _import_client() -> Any:
    """The class `KaggleApi`. Its import logs in on its own: without a network, so that it happens once and in time."""
    try:
        with calls.guarded(is_offline=True):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise KaggleError(
            f"the package `{error.name}` is not installed",
            kind="not installed",
            hint="`make setup`, or `pip install kaggle six`.",
        ) from error
    except OSError as error:
        raise KaggleError(
            f"the client cannot make its folder: {error.strerror}: {error.filename}",
            kind="not installed",
            hint="HOME, or the folder named by KAGGLE_CONFIG_DIR, must be writable.",
        ) from error
    return KaggleApi


def _refuse_poisoned(method: str) -> None:
    """A refused access token is still sent in place of the API key that was accepted: every call would fail."""
    from kagglesdk.kaggle_env import get_access_token_from_env

    with calls.guarded():
        token, _ = get_access_token_from_env()
    if token and method.endswith("LEGACY_API_KEY"):
        source = find_credentials()
        remedy = "unset KAGGLE_API_TOKEN" if os.environ.get("KAGGLE_API_TOKEN") else f"remove {source}"
        raise KaggleError(
            f"refuses the access token from {source}, and that token hides the API key, which may be good",
            kind="unauthorized",
            hint=f"Renew the token ({SETTINGS_URL}), or {remedy}.",
        )
