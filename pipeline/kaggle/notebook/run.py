"""Run a bundle at Kaggle: push it at most once, follow its run, fetch its output and verify it against its manifest.

Knows a Kaggle session and `kernels/<competition>/state-*.json`, from which an interrupted run resumes; does not know
what the script does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.base import files
from pipeline.base.errors import ArtifactError, KaggleError
from pipeline.base.locks import hold
from pipeline.base.progress import progress_bar, say
from pipeline.config.artifact import Artifact
from pipeline.config.file_record import FileRecord
from pipeline.config.records import Provenance
from pipeline.kaggle.client import calls, kernels
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.errors import EXPIRED, MAY_HAVE_SUCCEEDED, reworded
from pipeline.kaggle.client.kernels import KernelVersion, NotebookSource
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.notebook.bundle import MANIFEST_FILE, SUBMISSION_FILE, Bundle

POLL_DELAYS_S = (10.0, 15.0, 20.0, 30.0)
N_UNSEEN = 5  # times that Kaggle may not know a version it has just accepted
MAX_MANIFEST_BYTES = 1 << 22
BUNDLE_MARK = re.compile(r"""^FACTS = '\{"id": "[0-9a-f]{64}\"""", re.MULTILINE)  # in the source of every bundle
N_LOG_LINES = 15  # of a failed run, shown in its error
Status = Literal["pushing", "pushed", "failed", "fetched"]


class State(Artifact):
    """The state of a bundle. `pushing` is written before the push; until then `version` is the newest one before."""

    WHAT: ClassVar[str] = "the state of a notebook"
    REMEDY: ClassVar[str] = "Move it away; the next run then asks Kaggle whether it has the notebook."

    format: Literal[1] = 1
    bundle: str
    status: Status
    owner: str
    slug: str
    version: int = 0
    git_commit: str | None = None
    submission: str = ""  # the file the output was written to
    is_code: bool = False  # the competition accepts notebooks only

    @property
    def kernel(self) -> KernelVersion:
        """The version that was pushed."""
        return KernelVersion(self.owner, self.slug, self.version)


class OutputManifest(Artifact):
    """`manifest.json`, which `kaggle/notebook/script.py` writes at Kaggle beside the submission."""

    WHAT: ClassVar[str] = "a notebook's manifest"

    format: Literal[1] = 1
    bundle: str
    files: dict[str, FileRecord]
    provenance: Provenance
    elapsed_s: float


def state_path(folder: Path, bundle_id: str) -> Path:
    """Return the file with the state of a bundle."""
    return folder / f"state-{bundle_id[:12]}.json"


def read_state(folder: Path, bundle_id: str) -> State | None:
    """Return the state of a bundle, None if it was never pushed from here. Raises ArtifactError."""
    path = state_path(folder, bundle_id)
    return State.read(path) if path.exists() else None


def push_once(
    session: KaggleSession, folder: Path, bundle: Bundle, state: State, *, is_again: bool, check: Callable[[], None]
) -> State:
    """Push `bundle` unless Kaggle has it, according to the state file or the text of the notebook's versions.

    `state` is written to `folder` for a new push, before which `check` is called. A version that failed is pushed
    again, as is any if `is_again`. A push that may have succeeded is not repeated without `is_again`, and a notebook of
    the same name that this project did not write gets no new version. Raises KaggleError.
    """
    path = state_path(folder, bundle.id)
    with hold(folder / "kernel.lock"):
        known = read_state(folder, bundle.id)
        is_in_doubt = known is not None and known.status == "pushing"
        if known is not None and known.status in ("pushed", "fetched") and not is_again:
            say(f"kernel: this bundle was already pushed; continuing with {known.kernel}")
            return known
        newest = kernels.source_of(session, state.owner, state.slug)
        if is_in_doubt or not is_again:
            after = known.version if known is not None else 0
            number = kernels.find_pushed(session, newest, bundle.name, bundle.id, after=after)
            if number is not None:
                state = state.updated(status="pushed", version=number)
                state.write(path)
                say(f"kernel: Kaggle already has this bundle; continuing with {state.kernel}")
                return state
        if is_in_doubt and not is_again:
            raise _in_doubt(state)
        if newest is not None and not _is_ours(newest, folder, state):
            raise _name_taken(state)
        check()
        state = state.updated(version=0 if newest is None else newest.number)
        return _push(session, path, bundle, state, known)


def _push(session: KaggleSession, path: Path, bundle: Bundle, state: State, known: State | None) -> State:
    """Push and record the bundle; `known` is its state so far, and `state.version` the newest version before."""

    def find() -> KernelVersion | None:
        newest = kernels.source_of(session, state.owner, state.slug)
        number = kernels.find_pushed(session, newest, bundle.name, bundle.id, after=state.version)
        return None if number is None else KernelVersion(state.owner, state.slug, number)

    state.write(path)
    try:
        version, rejected = kernels.push(session, bundle.metadata, bundle.text)
    except KaggleError as error:
        if error.kind not in MAY_HAVE_SUCCEEDED:
            path.unlink() if known is None else known.write(path)
            raise
        version, rejected = calls.recover(error, "kernel", "notebook", find), []
    status: Status = "failed" if rejected else "pushed"
    state = state.updated(status=status, owner=version.owner, slug=version.slug, version=version.number)
    state.write(path)
    if rejected:
        what = f"left out inputs of {version}: {', '.join(rejected)}"
        hint = "Check their spelling and accept the competition's rules, then run the same command again."
        raise KaggleError(what, kind="push refused", where=str(version), hint=hint)
    say(f"kernel: pushed {version}: {version.url}")
    return state


def _is_ours(newest: NotebookSource, folder: Path, state: State) -> bool:
    """Whether this project wrote the notebook: a bundle's hash is in its source, or a push of it is on record here."""
    if BUNDLE_MARK.search(newest.text):
        return True
    states = (State.read_or_none(path, otherwise="it is not used") for path in folder.glob("state-*.json"))
    pushed = [one for one in states if one is not None and one.status in ("pushed", "fetched", "failed")]
    return any((one.owner, one.slug) == (state.owner, state.slug) for one in pushed)


def _name_taken(state: State) -> KaggleError:
    what = "you have a notebook of this name that this project did not write; it gets no new version"
    hint = f"Choose another name: --title 'my {state.slug.replace('-', ' ')}'. The notebook: {state.kernel.url}"
    return KaggleError(what, kind="name taken", where=f"{state.owner}/{state.slug}", hint=hint)


def _in_doubt(state: State) -> KaggleError:
    what = "an earlier call was interrupted while it pushed this bundle, and Kaggle does not show it (yet)"
    hint = f"Look at {state.kernel.url} and run the same command again later. --again pushes it if it is not there."
    return KaggleError(what, kind="in doubt", where=f"{state.owner}/{state.slug}", hint=hint)


def running(session: KaggleSession, folder: Path) -> list[KernelVersion]:
    """Return the versions pushed from here whose run has not ended. Raises KaggleError."""
    states = (State.read_or_none(path, otherwise="it is not used") for path in sorted(folder.glob("state-*.json")))
    versions = [state.kernel for state in states if state is not None and state.status == "pushed"]
    return [one for one in versions if kernels.status_of(session, one).status in ("queued", "running")]


def follow(session: KaggleSession, folder: Path, state: State, *, wait_s: float) -> None:
    """Wait until the version's run is complete, printing its log. Raises KaggleError."""
    started = Clock.now()
    delays = chain(POLL_DELAYS_S, repeat(POLL_DELAYS_S[-1]))
    n_unseen = n_shown = 0
    with progress_bar(f"kernel version {state.version}") as update:
        while True:
            try:
                run = kernels.status_of(session, state.kernel)
            except KaggleError as error:
                n_unseen += 1
                if error.kind not in kernels.MISSING or n_unseen > N_UNSEEN:
                    raise _resumable(error) from error
                run = kernels.RunStatus("queued", "")
            if run.status == "complete":
                return
            if run.status in ("error", "cancelled"):
                state.updated(status="failed").write(state_path(folder, state.bundle))
                raise _failed(session, folder, state.kernel, run)
            if Clock.now() - started >= wait_s:
                what = f"the run is still {run.status} after {wait_s / 3600:.1f} hours"
                hint = f"Run the same command again to keep following it. {state.kernel.url}"
                raise KaggleError(what, kind="still running", where=str(state.kernel), hint=hint)
            if run.status == "running":
                lines = _log_of(session, state.kernel)
                for line in lines[n_shown:]:
                    say(f"  {line}")
                n_shown = max(n_shown, len(lines))
            update(0.0, f"{run.status}, {(Clock.now() - started) / 60:.0f} min")
            Clock.sleep(next(delays))


def fetch_output(session: KaggleSession, folder: Path, state: State, *, max_bytes: int) -> tuple[Provenance, bytes]:
    """Return the version's provenance and submission, verified against its manifest. Raises KaggleError."""
    for delay in calls.LOOKUP_DELAYS_S:
        Clock.sleep(delay)
        try:
            output = kernels.output_of(session, state.kernel)
            _keep_log(folder, state.kernel, output.log)
            missing = [name for name in (MANIFEST_FILE, SUBMISSION_FILE) if not output.files.get(name)]
            if missing:
                failure = _bad_output(state.kernel, f"the output has no {' and no '.join(missing)}", output.log)
                continue
            manifest = kernels.fetch(output.files[MANIFEST_FILE], state.kernel, max_bytes=MAX_MANIFEST_BYTES)
            submission = kernels.fetch(output.files[SUBMISSION_FILE], state.kernel, max_bytes=max_bytes)
        except KaggleError as error:
            if error.kind != EXPIRED:
                raise _resumable(error) from error
            failure = error
            continue
        return _verified(state, manifest, submission), submission
    raise failure


def _verified(state: State, content: bytes, submission: bytes) -> Provenance:
    """Return the manifest's provenance, provided it belongs to this bundle and to exactly these bytes."""
    try:
        manifest = OutputManifest.parse(content, where=MANIFEST_FILE)
    except ArtifactError as error:
        raise _bad_output(state.kernel, f"the script did not write this {MANIFEST_FILE}: {error.what}", []) from error
    if manifest.bundle != state.bundle:
        raise _bad_output(state.kernel, f"the output is from another bundle, {manifest.bundle[:12]}", [])
    recorded = manifest.files.get(SUBMISSION_FILE)
    if recorded is None or recorded.sha256 != hashlib.sha256(submission).hexdigest():
        raise _bad_output(state.kernel, f"{SUBMISSION_FILE} does not match {MANIFEST_FILE}: it was changed", [])
    return manifest.provenance


def _keep_log(folder: Path, version: KernelVersion, log: list[str]) -> None:
    """Write the run's log to `v<version>/log.txt`."""
    if log:
        files.write_text(folder / f"v{version.number}" / "log.txt", "\n".join([*log, ""]))


def _log_of(session: KaggleSession, version: KernelVersion) -> list[str]:
    """Return the run's log so far; [] if it cannot be read, which is not an error."""
    try:
        return kernels.output_of(session, version, is_retried=False).log
    except KaggleError:
        return []


def _failed(session: KaggleSession, folder: Path, version: KernelVersion, run: kernels.RunStatus) -> KaggleError:
    """Return the error for a failed run, with the end of its log."""
    log = _log_of(session, version)
    _keep_log(folder, version, log)
    what = "was cancelled" if run.status == "cancelled" else f"failed: {run.failure or 'Kaggle does not say why'}"
    hint = f"See {version.url}. The same command pushes a new version."
    return KaggleError(f"the run {what}{_tail(log)}", kind="kernel failed", where=str(version), hint=hint)


def _bad_output(version: KernelVersion, what: str, log: list[str]) -> KaggleError:
    what = f"{what}; nothing was kept or sent{_tail(log)}"
    hint = f"See {version.url}. --again pushes a new version."
    return KaggleError(what, kind="bad output", where=str(version), hint=hint)


def _resumable(error: KaggleError) -> KaggleError:
    return reworded(error, hint=f"{error.hint} The same command continues with the version that was pushed.")


def _tail(log: list[str]) -> str:
    return "".join(["; the end of its log:", *(f"\n  {line}" for line in log[-N_LOG_LINES:])]) if log else ""
