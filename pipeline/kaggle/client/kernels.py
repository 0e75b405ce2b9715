"""Notebooks at Kaggle ("kernels"): push one, follow its run, fetch its output, always of one given version.

Uses the SDK's requests rather than the client's functions: those read the latest version instead of the given one, and
save whatever a storage sends under whatever name.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.errors import check_storage, reworded, short
from pipeline.kaggle.client.responses import positive_int
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import KERNEL_URL, SETTINGS_URL

BLOCK = 1 << 16  # bytes
MOST_VERSIONS = 10  # whose sources are read in search of a bundle
MISSING = {"not found", "forbidden"}  # Kaggle answers 403 for a notebook that does not exist
SENT_AS_NAMED = (
    *("language", "kernel_type", "is_private", "enable_gpu", "enable_internet", "machine_shape"),
    "session_timeout_seconds",
)
SOURCES = ("competition", "dataset", "kernel", "model")
Status = Literal["queued", "running", "complete", "error", "cancelled"]
PUSH_HINT = (
    f"A GPU and some inputs require a verified phone and remaining quota ({SETTINGS_URL}); "
    "at most two GPU runs can be active at a time."
)
ACCESS_HINT = (
    f"Only its owner can read a private notebook; a GPU or internet access requires a verified phone ({SETTINGS_URL}); "
    "the competition's rules must be accepted. Your notebooks: https://www.kaggle.com/work/code"
)
STATUSES: dict[str, Status] = {  # any other of Kaggle's is "running"
    "new_script": "queued",
    "queued": "queued",
    "complete": "complete",
    "error": "error",
    "cancel_acknowledged": "cancelled",
}


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
        """The notebook's page."""
        return KERNEL_URL.format(owner=self.owner, slug=self.slug)

    @property
    def fields(self) -> dict[str, Any]:
        """A request's fields for this version; without the label, Kaggle answers for the latest."""
        return {"user_name": self.owner, "kernel_slug": self.slug, "version_label": f"v{self.number}"}


@dataclass(frozen=True)
class NotebookSource:
    """The source of one version of a notebook."""

    number: int
    text: str


@dataclass(frozen=True)
class GpuQuota:
    """GPU hours of this week, those of active sessions among the used ones."""

    used_h: float
    total_h: float
    can_exceed: bool  # the account pays for more

    @property
    def left_h(self) -> float:
        """The hours left."""
        return max(0.0, self.total_h - self.used_h)


@dataclass(frozen=True)
class RunStatus:
    """The status of a version's run; `failure` is Kaggle's message about an error."""

    status: Status
    failure: str


@dataclass(frozen=True)
class KernelOutput:
    """The output of a version's run: file name -> signed URL, and the lines of its log."""

    files: dict[str, str]
    log: list[str]


def push(session: KaggleSession, metadata: dict[str, Any], text: str) -> tuple[KernelVersion, list[str]]:
    """Save `text` as a new version, which Kaggle runs at once; never retried.

    Returns the version and the inputs that Kaggle left out. Raises KaggleError.
    """

    def pushed(response: Any) -> tuple[KernelVersion, list[str]]:
        if response.error:
            what = f'rejected the notebook. Kaggle says: "{short(str(response.error))}"'
            raise KaggleError(what, kind="push refused", where=metadata["id"], hint=PUSH_HINT)
        number = positive_int(response.version_number, "version")
        owner, slug = _name_in(response.ref) or _name_in(response.url) or tuple(metadata["id"].split("/"))
        rejected = [f"{kind} {one}" for kind in SOURCES for one in getattr(response, f"invalid_{kind}_sources") or []]
        return KernelVersion(owner, slug, number), rejected

    where = next(iter(metadata["competition_sources"]), metadata["id"])  # an error about rules concerns the competition
    fields = {"slug": metadata["id"], "new_title": metadata["title"], "text": text}
    fields |= {key: metadata[key] for key in SENT_AS_NAMED if metadata.get(key) not in (None, "")}
    fields |= {f"{kind}_data_sources": metadata[f"{kind}_sources"] for kind in SOURCES}
    with _explained(where):
        return session.ask("pushing the notebook", where, "save_kernel", pushed, is_retried=False, **fields)


def source_of(session: KaggleSession, owner: str, slug: str, number: int | None = None) -> NotebookSource | None:
    """Return the source of a version, by default the newest; None if there is no such notebook. Raises KaggleError."""

    def source(response: Any) -> NotebookSource:
        found = response.metadata and response.metadata.current_version_number
        text = response.blob and response.blob.source
        return NotebookSource(number or positive_int(found, "version"), text or "")

    where = f"{owner}/{slug}"
    label = {"version_label": f"v{number}"} if number else {}
    fields: dict[str, Any] = {"user_name": owner, "kernel_slug": slug, **label}
    try:
        with _explained(where):
            return session.ask("reading the notebook", where, "get_kernel", source, **fields)
    except KaggleError as error:
        if error.kind in MISSING:
            return None
        raise


def find_pushed(
    session: KaggleSession, newest: NotebookSource | None, name: str, text: str, *, after: int
) -> int | None:
    """Return the newest version of the notebook `owner/slug` whose source contains `text`; None if there is none.

    Looks at `newest` and at most `MOST_VERSIONS` before it, down to the version that follows `after`.
    """
    owner, _, slug = name.partition("/")
    if newest is None:
        return None
    for number in range(newest.number, max(after, newest.number - MOST_VERSIONS), -1):
        source = newest if number == newest.number else source_of(session, owner, slug, number)
        if source is not None and text in source.text:
            return number
    return None


def gpu_quota(session: KaggleSession) -> GpuQuota | None:
    """Return this week's GPU hours; None if Kaggle does not report them. Raises KaggleError."""

    def quota(response: Any) -> GpuQuota | None:
        gpu = response.gpu_quota
        if gpu is None or gpu.total_time_allowed is None:
            return None
        used = [part.total_seconds() / 3600 for part in (gpu.time_used, gpu.time_reserved) if part is not None]
        return GpuQuota(sum(used), gpu.total_time_allowed.total_seconds() / 3600, bool(gpu.is_pay_to_scale_enabled))

    return session.ask("reading the GPU quota", "", "get_accelerator_quota_statistics", quota)


def status_of(session: KaggleSession, version: KernelVersion) -> RunStatus:
    """Return the status of this version's run. Raises KaggleError."""

    def status(response: Any) -> RunStatus:
        name = str(getattr(response.status, "name", response.status)).lower()
        return RunStatus(STATUSES.get(name, "running"), response.failure_message or "")

    where = str(version)
    with _explained(where):
        return session.ask("reading the run's status", where, "get_kernel_session_status", status, **version.fields)


def output_of(session: KaggleSession, version: KernelVersion, *, is_retried: bool = True) -> KernelOutput:
    """Return the output of this version's run. Raises KaggleError."""
    log: list[str] = []

    def files(page: Any) -> Iterator[tuple[str, str]]:
        log[:] = log_lines(page.log or "") or log
        return ((one.file_name, one.url) for one in page.files or [])

    action, method, options = "reading the run's output", "list_kernel_session_output", version.fields
    with _explained(str(version)):
        found = dict(session.ask_pages(action, str(version), method, files, is_retried=is_retried, **options))
    return KernelOutput(found, log)


def fetch(url: str, version: KernelVersion, *, max_bytes: int) -> bytes:
    """Return the content of an output file. Raises KaggleError, of kind EXPIRED if its signed URL has expired."""
    action = "downloading the output"

    def get() -> bytes:
        import requests

        headers = {"Accept-Encoding": "identity"}
        with contextlib.closing(requests.get(url, headers=headers, stream=True, timeout=calls.timeouts())) as response:
            check_storage(response, action=action, slug=str(version))
            content = bytearray()
            for block in calls.blocks_of(response, BLOCK):
                content += block
                if len(content) > max_bytes:
                    what = f"the output is larger than {max_bytes} bytes, more than a submission can need"
                    raise KaggleError(what, kind="bad output", where=str(version), hint=f"See {version.url}")
            announced = response.headers.get("Content-Length", "")
            if announced.isdigit() and int(announced) != len(content):
                raise KaggleError(f"sent {len(content)} of {announced} bytes", kind="dropped", where=str(version))
            return bytes(content)

    return calls.read(action, str(version), get)


def log_lines(log: str) -> list[str]:
    """Return the lines of a run's log, which is a list of {stream_name, time, data} or plain text."""
    try:
        records = json.loads(log)
        text = "".join(str(record.get("data", "")) for record in records)
    except (ValueError, AttributeError, TypeError):
        text = log
    lines = (re.sub(r"\x1b\[[0-9;]*m|[^\x20-\x7e\u00a0-\U0010ffff]", "", line).rstrip() for line in text.splitlines())
    return [line for line in lines if line]


def _name_in(url: str | None) -> tuple[str, ...]:
    """Return (owner, slug) from the end of a URL such as `/code/owner/slug`; () if it has none."""
    found = re.search(r"(?:^|/code/|^/)([\w-]+)/([\w-]+)$", url or "")
    return found.groups() if found else ()


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
    """Give an error about access a hint for notebooks; without "/" in it, `where` is a competition."""
    try:
        yield
    except KaggleError as error:
        about_access = {*MISSING, "refused"} | ({"rules", "closed", "phone"} if "/" in where else set())
        if error.kind not in about_access:
            raise
        raise reworded(error, hint=ACCESS_HINT) from error
