"""A logged-in Kaggle user: what can be read, and the requests that submit.

Wraps the official client's own requests; knows nothing of the pipeline's files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.config.records import NotebookVersion
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.credentials import find_credentials
from pipeline.kaggle.client.errors import check_storage, no_credentials, rules_not_accepted
from pipeline.kaggle.client.responses import (
    Competition,
    LeaderboardRow,
    Limits,
    RemoteFile,
    SubmissionStatus,
    positive_int,
)
from pipeline.kaggle.client.urls import SETTINGS_URL

T = TypeVar("T")
PAGE_SIZE, MAX_PAGES = 100, 200
# of the SDK: a word in a method's name -> package and service, e.g. `client.kernels.kernels_api_client`
SERVICES = {
    "dataset": ("datasets", "dataset_api"),
    "kernel": ("kernels", "kernels_api"),
    "accelerator": ("kernels", "kernels_api"),
    "blob": ("blobs", "blob_api"),
}
DEFAULT_SERVICE = ("competitions", "competition_api")


def client_version() -> str:
    """Return the version of the installed `kaggle` package, or "not installed"."""
    try:
        return metadata.version("kaggle")
    except metadata.PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class KaggleSession:
    """A logged-in user. Every method raises KaggleError and no other error."""

    api: Any
    user: str
    method: str

    @classmethod
    def connect(cls) -> KaggleSession:
        """Log in with the credentials that the official client finds."""
        if find_credentials() is None:
            raise no_credentials()
        api_class = _import_client()

        def log_in() -> Any:
            api = api_class()
            api.authenticate()
            return api

        api = calls.read("logging in", "", log_in)
        method = str(api.config_values.get("auth_method", ""))
        _refuse_stale_token(method)
        return cls(api, str(api.config_values.get("username", "")), method)

    def competition(self, slug: str) -> Competition:
        """Return the competition as this user sees it."""
        return self.ask("reading the competition", slug, "get_competition", Competition.of, competition_name=slug)

    def entered_competition(self, slug: str) -> Competition:
        """Return the competition, or raise KaggleError if the user has not accepted its rules."""
        competition = self.competition(slug)
        if not competition.has_entered:
            raise rules_not_accepted(slug)
        return competition

    def limits(self, slug: str) -> Limits:
        """Return how many submissions are left."""
        return self.ask(
            "reading the submission limits", slug, "get_submission_limits", Limits.of, competition_name=slug
        )

    def submission(self, slug: str, ref: int) -> SubmissionStatus:
        """Return one submission by its ref."""
        return self.ask(f"reading submission {ref}", slug, "get_submission", SubmissionStatus.of, ref=ref)

    def submissions(self, slug: str) -> list[SubmissionStatus]:
        """Return all submissions of the user's team, newest first."""

        def statuses(page: Any) -> Iterable[SubmissionStatus]:
            return map(SubmissionStatus.of, page.submissions)

        action = "listing the submissions"
        return list(self.ask_pages(action, slug, "list_submissions", statuses, competition_name=slug))

    def leaderboard(self, slug: str, n_rows: int) -> list[LeaderboardRow]:
        """Return the first rows of the public leaderboard, best first."""

        def rows(page: Any) -> Iterable[LeaderboardRow]:
            return map(LeaderboardRow.of, page.submissions)

        pages = self.ask_pages("reading the leaderboard", slug, "get_leaderboard", rows, competition_name=slug)
        return list(islice(pages, n_rows))

    def data_files(self, slug: str) -> list[RemoteFile]:
        """Return the files of a competition, or of a dataset if `slug` is `owner/name`."""
        method, field = ("list_dataset_files", "dataset_files") if "/" in slug else ("list_data_files", "files")

        def files(page: Any) -> Iterable[RemoteFile]:
            return map(RemoteFile.of, getattr(page, field))

        return list(self.ask_pages("listing the files", slug, method, files, **_source_fields(slug)))

    def open_archive(self, slug: str) -> Any:
        """Return the streamed response with all files of a competition or dataset; no retry. The caller closes it."""
        method = "download_dataset" if "/" in slug else "download_data_files"
        fields = _source_fields(slug)
        return self.ask("downloading the files", slug, method, lambda response: response, is_retried=False, **fields)

    def upload(self, slug: str, path: Path) -> str:
        """Upload a file to Kaggle's storage and return its token. Uses no submission slot; never retried."""
        action, status = "uploading the file", path.stat()
        fields: dict[str, Any] = {"competition_name": slug, "file_name": path.name, "content_length": status.st_size}
        fields["last_modified_epoch_seconds"] = int(status.st_mtime)
        url, token = self.ask(action, slug, "start_submission_upload", _upload_target, is_retried=False, **fields)

        def put() -> None:
            import requests

            with path.open("rb") as file:
                response = requests.put(url, data=file, timeout=calls.timeouts())
            check_storage(response, action=action, slug=slug)

        calls.write(action, slug, put)
        return token

    def create_submission(self, slug: str, source: str | NotebookVersion, description: str) -> int:
        """Submit the uploaded file with the token `source`, or a notebook's output. Returns the ref.

        Uses a submission slot; never retried.
        """
        fields: dict[str, Any] = {"competition_name": slug, "submission_description": description}
        if isinstance(source, NotebookVersion):
            method = "create_code_submission"
            fields |= {"kernel_owner": source.owner, "kernel_slug": source.slug, "kernel_version": source.version}
            fields["file_name"] = source.file_name
        else:
            method, fields["blob_file_tokens"] = "create_submission", source
        return self.ask("submitting", slug, method, _ref_of, is_retried=False, **fields)

    def ask(
        self, action: str, where: str, method: str, parse: Callable[[Any], T], *, is_retried: bool = True, **fields: Any
    ) -> T:
        """Call the SDK's `method` with a request of `fields` and parse the response; reads only may be retried."""
        package, api = next((names for word, names in SERVICES.items() if word in method), DEFAULT_SERVICE)
        types = import_module(f"kagglesdk.{package}.types.{api}_service")
        request = getattr(types, f"Api{method.title().replace('_', '')}Request")()
        for field, value in fields.items():
            setattr(request, field, value)

        def call() -> T:
            with self.api.build_kaggle_client() as client:
                service = getattr(getattr(client, package), f"{api}_client")
                return parse(getattr(service, method)(request))

        return (calls.read if is_retried else calls.write)(action, where, call)

    def ask_pages(
        self, action: str, where: str, method: str, items_of: Callable[[Any], Iterable[T]], **options: Any
    ) -> Iterator[T]:
        """Yield the items of all pages, requested as they are needed; `options` are those of `ask`."""
        token = None
        for _ in range(MAX_PAGES):
            items, next_token = self.ask(
                action,
                where,
                method,
                lambda page: (list(items_of(page)), page.next_page_token),
                page_size=PAGE_SIZE,
                page_token=token,
                **options,
            )
            yield from items
            if not next_token or next_token == token:
                return
            token = next_token


def _source_fields(slug: str) -> dict[str, Any]:
    """Return a request's fields for a competition, or for the dataset `owner/name`."""
    owner, _, name = slug.rpartition("/")
    return {"owner_slug": owner, "dataset_slug": name} if owner else {"competition_name": name}


def _upload_target(response: Any) -> tuple[str, str]:
    """Return the signed URL to upload to, and the token of what is uploaded."""
    if not (isinstance(response.create_url, str) and response.create_url and response.token):
        raise ValueError("the response has no URL to upload to")
    return response.create_url, str(response.token)


def _ref_of(response: Any) -> int:
    return positive_int(response.ref, f"ref ({response.message!r})")


def _import_client() -> Any:
    """Return the class `KaggleApi`. Importing it logs in, so keep it offline: `connect` logs in, with timeouts."""
    try:
        with calls.guarded(is_offline=True):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        what, hint = f"the package `{error.name}` is not installed", "Run `make setup` or `pip install kaggle six`."
        raise KaggleError(what, kind="not installed", hint=hint) from error
    except OSError as error:
        what = f"the client cannot create its folder: {error.strerror}: {error.filename}"
        hint = "HOME, or the folder named by KAGGLE_CONFIG_DIR, must be writable."
        raise KaggleError(what, kind="not installed", hint=hint) from error
    return KaggleApi


def _refuse_stale_token(method: str) -> None:
    """Raise KaggleError if the client logged in with the API key but would still send a rejected access token."""
    from kagglesdk.kaggle_env import get_access_token_from_env

    with calls.guarded():
        token, _ = get_access_token_from_env()
    if token and method.endswith("LEGACY_API_KEY"):
        source = find_credentials()
        remedy = "unset KAGGLE_API_TOKEN" if os.environ.get("KAGGLE_API_TOKEN") else f"remove {source}"
        what = f"rejects the access token from {source}, which the client sends even though the API key may be valid"
        raise KaggleError(what, kind="unauthorized", hint=f"Renew the token ({SETTINGS_URL}), or {remedy}.")
