"""A logged-in Kaggle user: what can be read, and the requests that submit.

Wraps the official client's own requests; knows nothing of the pipeline's files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipeline.base.errors import KaggleError, nearest
from pipeline.base.redaction import remember, remember_address
from pipeline.config.records import NotebookVersion
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.credentials import Credential, find_credentials, found_credentials, remember_secrets
from pipeline.kaggle.client.errors import (
    DOCTOR_HINT,
    EXPIRED,
    HINTS,
    TRANSIENT,
    check_storage,
    no_credentials,
    reworded,
    rules_not_accepted,
)
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
MOST_LISTED = 2000  # files; competitions of images have millions
# of the SDK: a word in a method's name -> package and service, e.g. `client.kernels.kernels_api_client`
SERVICES = {
    "dataset": ("datasets", "dataset_api"),
    "kernel": ("kernels", "kernels_api"),
    "accelerator": ("kernels", "kernels_api"),
    "blob": ("blobs", "blob_api"),
}
DEFAULT_SERVICE = ("competitions", "competition_api")
KIND_OF_METHOD = {"ACCESS_TOKEN": "access token", "LEGACY_API_KEY": "API key", "OAUTH": "OAuth login"}


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
        remember_secrets()
        found = found_credentials()
        if not found:
            raise no_credentials()
        _refuse_flawed(found[0])
        api_class = _import_client()

        def log_in() -> Any:
            api = api_class()
            api.authenticate()
            return api

        api = calls.read("logging in", "", log_in)
        method = str(api.config_values.get("auth_method", ""))
        used = KIND_OF_METHOD.get(method.rpartition(".")[2])
        _refuse_flawed(next((one for one in found if one.kind == used), found[0]))
        _refuse_stale_token(method)
        return cls(api, str(api.config_values.get("username", "")), method)

    def competition(self, slug: str) -> Competition:
        """Return the competition as this user sees it."""
        with self._suggesting(slug):
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

        action, method = "listing the submissions", "list_submissions"
        return list(self.ask_pages(action, slug, method, statuses, is_whole=True, competition_name=slug))

    def leaderboard(self, slug: str, n_rows: int) -> list[LeaderboardRow]:
        """Return the first rows of the public leaderboard, best first."""

        def rows(page: Any) -> Iterable[LeaderboardRow]:
            return map(LeaderboardRow.of, page.submissions)

        pages = self.ask_pages("reading the leaderboard", slug, "get_leaderboard", rows, competition_name=slug)
        with self._suggesting(slug):
            return list(islice(pages, n_rows))

    def data_files(self, slug: str) -> list[RemoteFile]:
        """Return the files of a competition, or of a dataset if `slug` is `owner/name`.

        Of more than MOST_LISTED, which come in pages of 20, returns one more than that.
        """
        method, field = ("list_dataset_files", "dataset_files") if "/" in slug else ("list_data_files", "files")

        def files(page: Any) -> Iterable[RemoteFile]:
            return map(RemoteFile.of, getattr(page, field))

        with self._suggesting(slug):
            pages = self.ask_pages("listing the files", slug, method, files, **_source_fields(slug))
            return list(islice(pages, MOST_LISTED + 1))

    def open_archive(self, slug: str, file_name: str = "") -> Any:
        """Return the streamed response with all files of a competition or dataset, or with one; no retry.

        The caller closes it.
        """
        fields = _source_fields(slug) | ({"file_name": file_name} if file_name else {})
        method = "download_dataset" if "/" in slug else "download_data_file" if file_name else "download_data_files"
        return self.ask("downloading the files", slug, method, lambda response: response, is_retried=False, **fields)

    def upload(self, slug: str, path: Path) -> str:
        """Upload a submission's file and return its token. Uses no submission slot."""
        names = {"competition_name": slug, "file_name": path.name}
        return self.send_file("uploading the file", slug, path, "start_submission_upload", **names)

    def send_file(self, action: str, where: str, path: Path, method: str, **fields: Any) -> str:
        """Upload a file to the address that the SDK's `method` returns, and return its token.

        It changes nothing that anybody sees, so it is retried, each time with a new address.
        """
        status = path.stat()
        fields |= {"content_length": status.st_size, "last_modified_epoch_seconds": int(status.st_mtime)}

        def send() -> str:
            url, token = self.ask(action, where, method, _upload_target, is_retried=False, **fields)
            calls.write(action, where, lambda: _put(url, path, action, where))
            return token

        return calls.retried(send, {*TRANSIENT, EXPIRED})

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

        def call() -> T:
            request = getattr(types, f"Api{method.title().replace('_', '')}Request")()
            for field, value in fields.items():
                setattr(request, field, value)
            with self.api.build_kaggle_client() as client:
                service = getattr(getattr(client, package), f"{api}_client")
                return parse(getattr(service, method)(request))

        return (calls.read if is_retried else calls.write)(action, where, call)

    def ask_pages(
        self,
        action: str,
        where: str,
        method: str,
        items_of: Callable[[Any], Iterable[T]],
        *,
        is_whole: bool = False,
        **options: Any,
    ) -> Iterator[T]:
        """Yield the items of up to MAX_PAGES pages, requested as they are needed; `options` are those of `ask`.

        `is_whole`: raises KaggleError if there are more.
        """
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
            if not next_token:
                return
            if next_token == token:
                break
            token = next_token
        if is_whole:
            hint = HINTS["bad response"]
            raise KaggleError(f"sent pages without an end when {action}", kind="bad response", hint=hint)

    @contextlib.contextmanager
    def _suggesting(self, slug: str) -> Iterator[None]:
        """Name the most similar competition in an error that says that Kaggle has none called `slug`."""
        try:
            yield
        except KaggleError as error:
            similar = self._similar_slug(slug) if error.kind in ("not found", "forbidden") else None
            if similar is None:
                raise
            raise reworded(error, hint=f"Did you mean {similar!r}? {error.hint}") from error

    def _similar_slug(self, slug: str) -> str | None:
        """Return the slug most similar to this one that Kaggle's search finds, by its words, then by a word's start."""

        def slugs(page: Any) -> list[str]:
            return [str(one.ref or one.url or "").rsplit("/", 1)[-1] for one in page.competitions]

        words = slug.replace("_", "-").split("-")
        for text in (" ".join(words), max(words, key=len)[:4]):
            try:
                found = self.ask("searching", slug, "list_competitions", slugs, is_retried=False, search=text)
            except KaggleError:
                return None
            if (similar := nearest(slug, found)) is not None:
                return None if similar == slug else similar
        return None


def _source_fields(slug: str) -> dict[str, Any]:
    """Return a request's fields for a competition, or for the dataset `owner/name`."""
    owner, _, name = slug.rpartition("/")
    return {"owner_slug": owner, "dataset_slug": name} if owner else {"competition_name": name}


def _upload_target(response: Any) -> tuple[str, str]:
    """Return the signed URL to upload to, and the token of what is uploaded."""
    url, token = str(response.create_url), str(response.token)
    remember_address(url)
    remember(url, token)
    if not token or not url.lower().startswith(("https://", "http://")):
        raise ValueError("the response has no http address to upload to")
    return url, token


def _put(url: str, path: Path, action: str, slug: str) -> None:
    import requests

    with path.open("rb") as file:
        response = requests.put(url, data=file, timeout=calls.timeouts())
    check_storage(response, action=action, slug=slug)


def _ref_of(response: Any) -> int:
    return positive_int(response.ref, f"ref ({response.message!r})")


def _import_client() -> Any:
    """Return the class `KaggleApi`. Importing it logs in, so keep it offline: `connect` logs in, with timeouts."""
    try:
        with calls.guarded(is_offline=True):
            from kaggle.api.kaggle_api_extended import KaggleApi
            from kagglesdk.kaggle_creds import KaggleCredentials
    except ImportError as error:
        what, hint = f"the package `{error.name}` is not installed", "Run `make setup` or `pip install kaggle six`."
        raise KaggleError(what, kind="not installed", hint=hint) from error
    except OSError as error:
        what = f"the client cannot create its folder: {error.strerror}: {error.filename}"
        hint = "HOME, or the folder named by KAGGLE_CONFIG_DIR, must be writable."
        raise KaggleError(what, kind="not installed", hint=hint) from error
    KaggleCredentials.delete = lambda *_: None  # the client would remove the user's login when it is refused once
    return KaggleApi


def _refuse_flawed(credential: Credential) -> None:
    """Raise KaggleError if HTTP cannot send the credential."""
    if credential.problem:
        what = f"the {credential.kind} from {credential.source} {credential.problem}"
        hint = f"Copy it again from {SETTINGS_URL}, or log in again with `kaggle auth login`; {DOCTOR_HINT}"
        raise KaggleError(what, kind="bad credentials", hint=hint)


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
