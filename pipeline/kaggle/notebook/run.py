"""Run a bundle at Kaggle: push it at most once, follow its run, fetch its output and verify it against its manifest.

Knows a Kaggle session and `kernels/<competition>/state-*.json`, from which an interrupted run resumes; does not know
what the script does.
"""

from __future__ import annotations

import hashlib
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
from pipeline.kaggle.client.kernels import KernelVersion
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.notebook.bundle import MANIFEST_FILE, SUBMISSION_FILE, Bundle

POLL_DELAYS_S = (10.0, 15.0, 20.0, 30.0)
N_UNSEEN = 5  # times that Kaggle may not know a version it has just accepted
MAX_MANIFEST_BYTES = 1 << 22
N_LOG_LINES = 15  # of a failed run, shown in its error
Status = Literal["pushing", "pushed", "failed", "fetched"]


class State(Artifact):
    """The state of a bundle. `pushing` is written before the push; `version` is 0 until Kaggle has assigned one."""

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


def push_once(session: KaggleSession, folder: Path, bundle: Bundle, state: State, *, is_again: bool) -> State:
    """Push `bundle` unless Kaggle has it, according to the state file or the text of the notebook's latest version.

    `state` is written to `folder` for a new push. A version that failed is pushed again, as is any if `is_again`.
    Raises KaggleError.
    """
    path = state_path(folder, bundle.id)
    with hold(folder / "kernel.lock"):
        known = read_state(folder, bundle.id)
        if known is not None and known.version and known.status != "failed" and not is_again:
            say(f"kernel: this bundle was already pushed; continuing with {known.kernel}")
            return known
        old_version = known.version if known is not None else 0

        def find() -> KernelVersion | None:
            found = kernels.find_pushed(session, state.owner, state.slug, bundle.id)
            return found if found is not None and found.number != old_version else None

        if not is_again and (version := find()) is not None:
            say(f"kernel: Kaggle already has this bundle; continuing with {version}")
            state = state.updated(status="pushed", version=version.number)
            state.write(path)
            return state
        state.write(path)
        try:
            version, rejected = kernels.push(session, bundle.metadata, bundle.text)
        except KaggleError as error:
            if error.kind not in MAY_HAVE_SUCCEEDED:
                path.unlink()
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
