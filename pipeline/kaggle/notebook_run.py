"""A bundle's run at Kaggle: pushed at most once, followed to its end, its output fetched and held against its manifest.

Knows a Kaggle session and `kernels/<competition>/state-*.json`, by which an interrupted run goes on; knows nothing of
what the script does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.base import files
from pipeline.base.errors import ArtifactError, KaggleError
from pipeline.base.locks import hold
from pipeline.base.progress import progress_bar, say
from pipeline.config.artifact import Artifact
from pipeline.config.records import Provenance, RawFile
from pipeline.kaggle.client import KaggleSession, kernels
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.faults import STALE
from pipeline.kaggle.client.kernels import KernelVersion
from pipeline.kaggle.notebook import MANIFEST_FILE, SUBMISSION_FILE, Bundle
from pipeline.kaggle.upload import DOUBTFUL, LOOK_AGAIN_S

POLL_DELAYS_S = (10.0, 15.0, 20.0, 30.0)
N_UNSEEN = 5  # how often Kaggle may not know a version yet that it has just taken
MAX_MANIFEST_BYTES = 1 << 22
N_LOG_LINES = 15  # shown of a run that failed
Status = Literal["pushing", "pushed", "failed", "fetched"]


class State(Artifact):
    """What became of a bundle. `pushing` is written before it is sent; `version` is 0 until Kaggle named it."""

    WHAT: ClassVar[str] = "the state of a notebook"
    REMEDY: ClassVar[str] = "Move it away; Kaggle is asked then whether it has the notebook."

    format: Literal[1] = 1
    bundle: str
    status: Status
    owner: str
    slug: str
    version: int = 0
    git_commit: str | None = None
    submission: str = ""  # the file the output was written to
    is_code: bool = False  # the competition takes notebooks alone

    @property
    def kernel(self) -> KernelVersion:
        """The version that was pushed."""
        return KernelVersion(self.owner, self.slug, self.version)


class OutputManifest(Artifact):
    """`manifest.json` as `kaggle/notebook/script.py` writes it at Kaggle, beside the submission."""

    WHAT: ClassVar[str] = "a notebook's manifest"

    format: Literal[1] = 1
    bundle: str
    files: dict[str, RawFile]
    provenance: Provenance
    elapsed_s: float


class StateFile:
    """What became of one bundle; every bundle has its own file."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder, self.path = folder, folder / f"state-{bundle.id[:12]}.json"

    def read(self) -> State | None:
        """The state, or None when the bundle was never pushed from here. Raises ArtifactError."""
        return State.read(self.path) if self.path.exists() else None

    def write(self, state: State) -> State:
        """Keep `state`."""
        state.write(self.path)
        return state


def push_once(session: KaggleSession, file: StateFile, bundle: Bundle, state: State, *, is_again: bool) -> State:
    """Push `bundle` unless Kaggle has it, by the state kept here or by the text of the notebook's latest version.

    `state` is what is written for a new push. A version that failed, or `is_again`, is pushed anew. Raises KaggleError.
    """
    with hold(file.folder / "kernel.lock"):
        known = file.read()
        if known is not None and known.version and known.status != "failed" and not is_again:
            say(f"kernel: this bundle was pushed already; going on with {known.kernel}")
            return known
        left_behind = known.version if known is not None else 0
        if not is_again:
            found = kernels.find_pushed(session, state.owner, state.slug, bundle.id)
            if found is not None and found.number != left_behind:
                say(f"kernel: Kaggle has this bundle already; going on with {found}")
                return file.write(state.updated(status="pushed", version=found.number))
        file.write(state)
        try:
            pushed = kernels.push(session, bundle.metadata, bundle.text)
        except KaggleError as error:
            if error.kind not in DOUBTFUL:
                file.path.unlink()
                raise
            return file.write(_after_doubt(session, bundle, state, left_behind, error))
        version = pushed.version
        state = state.updated(status="pushed", owner=version.owner, slug=version.slug, version=version.number)
        if pushed.refused_sources:
            file.write(state.updated(status="failed"))
            raise KaggleError(
                f"left out inputs of {version}: {', '.join(pushed.refused_sources)}",
                kind="push refused",
                where=str(version),
                hint="Are they spelled right, and the competition's rules accepted? Then run the same command again.",
            )
        say(f"kernel: pushed {version}: {version.url}")
        return file.write(state)


def follow(session: KaggleSession, file: StateFile, state: State, *, wait_s: float) -> None:
    """Wait until the version's run is complete, its log on the screen. Raises KaggleError."""
    started = Clock.now()
    n_asked = n_unseen = n_shown = 0
    with progress_bar(f"kernel version {state.version}") as update:
        while True:
            try:
                found = kernels.state_of(session, state.kernel)
                word = found.word
            except KaggleError as error:
                n_unseen += 1
                if error.kind not in kernels.NOT_THERE or n_unseen > N_UNSEEN:
                    raise _going_on(error) from error
                word = "queued"
            if word == "complete":
                return
            if word in ("error", "cancelled"):
                file.write(state.updated(status="failed"))
                raise _failed(session, file, state.kernel, word, found.failure)
            if Clock.now() - started >= wait_s:
                raise KaggleError(
                    f"the run is still {word} after {wait_s / 3600:.1f} hours",
                    kind="still running",
                    where=str(state.kernel),
                    hint=f"Run the same command again: it goes on following. {state.kernel.url}",
                )
            n_shown = _show_log(session, state.kernel, n_shown) if word == "running" else n_shown
            update(0.0, f"{word}, {(Clock.now() - started) / 60:.0f} min")
            Clock.sleep(POLL_DELAYS_S[min(n_asked, len(POLL_DELAYS_S) - 1)])
            n_asked += 1


def fetch_output(session: KaggleSession, file: StateFile, state: State, *, max_bytes: int) -> tuple[Provenance, bytes]:
    """Provenance and content of the version's submission, held against its manifest. Raises KaggleError."""
    for delay in LOOK_AGAIN_S:
        Clock.sleep(delay)
        try:
            output = kernels.output_of(session, state.kernel)
        except KaggleError as error:
            raise _going_on(error) from error
        _keep_log(file, state.kernel, output.log)
        absent = [name for name in (MANIFEST_FILE, SUBMISSION_FILE) if not output.files.get(name)]
        if absent:
            failure = _bad_output(state.kernel, f"there is no {' and no '.join(absent)} in the output", output.log)
            continue
        try:
            manifest = kernels.fetch(output.files[MANIFEST_FILE], state.kernel, max_bytes=MAX_MANIFEST_BYTES)
            submission = kernels.fetch(output.files[SUBMISSION_FILE], state.kernel, max_bytes=max_bytes)
        except KaggleError as error:
            if error.kind != STALE:
                raise _going_on(error) from error
            failure = error
            continue
        return _checked(state, manifest, submission), submission
    raise failure


def _checked(state: State, content: bytes, submission: bytes) -> Provenance:
    """The manifest's provenance, if it is this bundle's and names just these bytes."""
    try:
        manifest = OutputManifest.parse(content, where=MANIFEST_FILE)
    except ArtifactError as error:
        raise _bad_output(state.kernel, f"{MANIFEST_FILE} is not the script's: {error.what}", []) from error
    if manifest.bundle != state.bundle:
        raise _bad_output(state.kernel, f"the output is that of another bundle, {manifest.bundle[:12]}", [])
    told = manifest.files.get(SUBMISSION_FILE)
    if told is None or told.sha256 != hashlib.sha256(submission).hexdigest():
        raise _bad_output(state.kernel, f"{SUBMISSION_FILE} is not what {MANIFEST_FILE} says: it was changed", [])
    return manifest.provenance


def _keep_log(file: StateFile, version: KernelVersion, log: list[str]) -> None:
    """The run's log as `v<version>/log.txt`."""
    if log:
        files.write_text(file.folder / f"v{version.number}" / "log.txt", "\n".join([*log, ""]))


def _after_doubt(session: KaggleSession, bundle: Bundle, state: State, left_behind: int, error: KaggleError) -> State:
    """The version whose answer was lost, found by its text; else the error, with the intent left to settle."""
    say(f"kernel: {error.what}; asking Kaggle whether it took the notebook")
    try:
        for delay in LOOK_AGAIN_S:
            Clock.sleep(delay)
            found = kernels.find_pushed(session, state.owner, state.slug, bundle.id)
            if found is not None and found.number != left_behind:
                say(f"kernel: Kaggle took it as {found}")
                return state.updated(status="pushed", version=found.number)
    except KaggleError as second:
        say(f"kernel: {second.what}")
    raise KaggleError(
        f"{error.what}; whether Kaggle took the notebook is not certain yet",
        kind=error.kind,
        where=error.where,
        hint="Run the same command again: it asks Kaggle first and pushes nothing twice.",
    ) from error


def _show_log(session: KaggleSession, version: KernelVersion, n_shown: int) -> int:
    """Say the lines of the log that are new; a log that cannot be had is no failure. The number of lines shown."""
    try:
        lines = kernels.output_of(session, version, is_asked_once=True).log
    except KaggleError:
        return n_shown
    for line in lines[n_shown:]:
        say(f"  {line}")
    return max(n_shown, len(lines))


def _failed(session: KaggleSession, file: StateFile, version: KernelVersion, word: str, failure: str) -> KaggleError:
    """The error of a run that ended badly, with the end of its log."""
    try:
        log = kernels.output_of(session, version, is_asked_once=True).log
    except KaggleError:
        log = []
    _keep_log(file, version, log)
    what = "was cancelled" if word == "cancelled" else f"failed: {failure or 'Kaggle does not say why'}"
    return KaggleError(
        f"the run {what}{_tail(log)}",
        kind="kernel failed",
        where=str(version),
        hint=f"See {version.url}. The same command pushes a new version.",
    )


def _bad_output(version: KernelVersion, what: str, log: list[str]) -> KaggleError:
    return KaggleError(
        f"{what}; nothing was kept or sent{_tail(log)}",
        kind="bad output",
        where=str(version),
        hint=f"See {version.url}. --again pushes a new version.",
    )


def _going_on(error: KaggleError) -> KaggleError:
    return KaggleError(
        error.what,
        kind=error.kind,
        where=error.where,
        hint=f"{error.hint} The same command goes on with the version that was pushed.".strip(),
    )


def _tail(log: list[str]) -> str:
    return "".join(["; the end of its log:", *(f"\n  {line}" for line in log[-N_LOG_LINES:])]) if log else ""
