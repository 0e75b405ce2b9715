"""Notebooks at Kaggle ("kernels"): pushed, looked at and read out, one given version at a time.

Uses the SDK's requests, not the client's own functions: those read the latest version in place of the one asked for,
and save whatever a storage answers under whatever name.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.addresses import KERNEL_URL, SETTINGS_URL
from pipeline.kaggle.client.faults import STALE, STALE_STATUS, explain_status, is_html
from pipeline.kaggle.client.session import PAGE_SIZE, KaggleSession, all_pages

T = TypeVar("T")
BLOCK = 1 << 16  # bytes
NOT_THERE = {"not found", "forbidden"}  # Kaggle says 403 of a notebook that does not exist
SENT_AS_NAMED = ("language", "kernel_type", "is_private", "enable_gpu", "enable_internet", "machine_shape")
SOURCES = ("competition", "dataset", "kernel", "model")


@dataclass(frozen=True)
class KernelVersion:
    """One version of a notebook: its code and its run."""

    owner: str
    slug: str
    number: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.slug} version {self.number}"

    @property
    def url(self) -> str:
        """Its notebook's page."""
        return KERNEL_URL.format(owner=self.owner, slug=self.slug)


@dataclass(frozen=True)
class Pushed:
    """A version that Kaggle took, and the inputs it left out."""

    version: KernelVersion
    refused_sources: list[str]


@dataclass(frozen=True)
class KernelState:
    """How far a version's run is; `failure` is Kaggle's word on an error."""

    word: Literal["queued", "running", "complete", "error", "cancelled"]
    failure: str


@dataclass(frozen=True)
class KernelOutput:
    """What a version's run left: file name -> signed address, and the lines of its log."""

    files: dict[str, str]
    log: list[str]


def push(session: KaggleSession, metadata: dict[str, Any], text: str) -> Pushed:
    """Save `text` as a new version, which Kaggle runs at once; never tried again. Raises KaggleError."""
    request = _request(
        "ApiSaveKernelRequest",
        slug=metadata["id"],
        new_title=metadata["title"],
        text=text,
        **{key: metadata[key] for key in SENT_AS_NAMED},
        **{f"{kind}_data_sources": metadata[f"{kind}_sources"] for kind in SOURCES},
    )

    def pushed(answer: Any) -> Pushed:
        if answer.error:
            raise KaggleError(
                f'did not take the notebook. Kaggle says: "{" ".join(str(answer.error).split())[:300]}"',
                kind="push refused",
                where=metadata["id"],
                hint="A GPU and some inputs need a verified phone and quota that is left "
                f"({SETTINGS_URL}); no more than two GPU runs go on at a time.",
            )
        number = answer.version_number
        if isinstance(number, bool) or not isinstance(number, int) or number <= 0:
            raise ValueError("the answer names no version")
        owner, slug = _name_in(answer.ref) or _name_in(answer.url) or tuple(metadata["id"].split("/"))
        refused = [
            f"{kind} {source}" for kind in SOURCES for source in (getattr(answer, f"invalid_{kind}_sources") or [])
        ]
        return Pushed(KernelVersion(owner, slug, number), refused)

    where = next(iter(metadata["competition_sources"]), metadata["id"])  # rules are a competition's
    return _ask(session, calls.write, "the push of the notebook", where, "save_kernel", request, pushed)


def find_pushed(session: KaggleSession, owner: str, slug: str, mark: str) -> KernelVersion | None:
    """The notebook's latest version if its text holds `mark`; None when it does not, or there is no such notebook."""
    request = _request("ApiGetKernelRequest", user_name=owner, kernel_slug=slug)

    def found(answer: Any) -> KernelVersion | None:
        source, number = answer.blob and answer.blob.source, answer.metadata and answer.metadata.current_version_number
        return KernelVersion(owner, slug, number) if source and number and mark in source else None

    try:
        return _ask(session, calls.read, "the notebook", f"{owner}/{slug}", "get_kernel", request, found)
    except KaggleError as error:
        if error.kind in NOT_THERE:
            return None
        raise


def state_of(session: KaggleSession, version: KernelVersion) -> KernelState:
    """How far the run of this very version is. Raises KaggleError."""
    request = _request("ApiGetKernelSessionStatusRequest", **_fields(version))

    def state(answer: Any) -> KernelState:
        word = str(getattr(answer.status, "name", answer.status)).lower()
        failure = answer.failure_message or ""
        if word in ("complete", "error"):
            return KernelState("complete" if word == "complete" else "error", failure)
        if word == "cancel_acknowledged":
            return KernelState("cancelled", failure)
        return KernelState("queued" if word in ("queued", "new_script") else "running", failure)

    return _ask(session, calls.read, "the run's status", str(version), "get_kernel_session_status", request, state)


def output_of(session: KaggleSession, version: KernelVersion, *, is_asked_once: bool = False) -> KernelOutput:
    """The output of this very version; `is_asked_once`: no second try after a passing failure. Raises KaggleError."""
    how = calls.write if is_asked_once else calls.read
    log: list[str] = []

    def page(token: str) -> tuple[list[tuple[str, str]], str]:
        request = _request("ApiListKernelSessionOutputRequest", **_fields(version), page_size=PAGE_SIZE)
        request.page_token = token or None

        def read_off(answer: Any) -> tuple[list[tuple[str, str]], str]:
            log[:] = log_lines(answer.log or "") or log
            return [(one.file_name, one.url) for one in answer.files or []], answer.next_page_token or ""

        return _ask(session, how, "the run's output", str(version), "list_kernel_session_output", request, read_off)

    return KernelOutput(dict(all_pages(page)), log)


def fetch(url: str, version: KernelVersion, *, max_bytes: int) -> bytes:
    """The bytes behind an output's address. Raises KaggleError; of kind STALE when the address is worn out."""
    doing = "the download of the output"

    def get() -> bytes:
        import requests

        headers = {"Accept-Encoding": "identity"}
        with contextlib.closing(requests.get(url, headers=headers, stream=True, timeout=calls.timeouts())) as response:
            if response.status_code in STALE_STATUS:
                raise KaggleError(
                    f"the storage refused {doing} ({response.status_code})",
                    kind=STALE,
                    where=str(version),
                    hint="Run the same command again; it asks for a new address.",
                )
            if response.status_code >= 400:
                raise explain_status(response, doing=doing, slug=str(version))
            if is_html(response):
                raise ValueError("a web page in place of the output")
            content = bytearray()
            for block in response.iter_content(BLOCK):
                content += block
                if len(content) > max_bytes:
                    raise KaggleError(
                        f"the output has more than {max_bytes} bytes, which it cannot need",
                        kind="bad output",
                        where=str(version),
                        hint=f"Look at {version.url}",
                    )
            announced = response.headers.get("Content-Length", "")
            if announced.isdigit() and int(announced) != len(content):
                raise KaggleError(f"sent {len(content)} of {announced} bytes", kind="dropped", where=str(version))
            return bytes(content)

    return calls.read(doing, str(version), get)


def log_lines(log: str) -> list[str]:
    """Lines of a run's log: Kaggle writes a list of {stream_name, time, data}, or plain text."""
    try:
        records = json.loads(log)
        text = "".join(str(record.get("data", "")) for record in records)
    except (ValueError, AttributeError, TypeError):
        text = log
    lines = (re.sub(r"\x1b\[[0-9;]*m|[^\x20-\x7e\u00a0-\U0010ffff]", "", line).rstrip() for line in text.splitlines())
    return [line for line in lines if line]


def _fields(version: KernelVersion) -> dict[str, Any]:
    """A request's fields for just this version: without the label, Kaggle answers for the latest."""
    return {"user_name": version.owner, "kernel_slug": version.slug, "version_label": f"v{version.number}"}


def _name_in(address: str | None) -> tuple[str, ...]:
    """(owner, slug) at the end of an address such as `/code/owner/slug`; () when there are none."""
    found = re.search(r"(?:^|/code/|^/)([\w-]+)/([\w-]+)$", address or "")
    return found.groups() if found else ()


def _request(name: str, **fields: Any) -> Any:
    from kagglesdk.kernels.types import kernels_api_service

    request = getattr(kernels_api_service, name)()
    for field, value in fields.items():
        setattr(request, field, value)
    return request


def _ask(
    session: KaggleSession,
    how: Callable[[str, str, Callable[[], T]], T],
    doing: str,
    where: str,
    method: str,
    request: Any,
    convert: Callable[[Any], T],
) -> T:
    """One request of the kernels service; what is not there or not allowed is explained for notebooks."""

    def ask() -> T:
        with session.client() as client:
            return convert(getattr(client.kernels.kernels_api_client, method)(request))

    try:
        return how(doing, where, ask)
    except KaggleError as error:
        of_notebooks = {*NOT_THERE, "refused"} | ({"rules", "closed", "phone"} if "/" in where else set())
        if error.kind not in of_notebooks:
            raise
        raise KaggleError(
            error.what,
            kind=error.kind,
            where=error.where,
            hint="A private notebook is open to its owner alone; a GPU or internet needs a verified phone "
            f"({SETTINGS_URL}); the competition's rules must be accepted. Your notebooks: https://www.kaggle.com/work/code",
        ) from error
