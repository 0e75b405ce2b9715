"""Stage `kernel`: run the final training as a Kaggle notebook -> a checked submission CSV and its provenance."""

from __future__ import annotations

from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import DataError, KaggleError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import read_table
from pipeline.config.records import NotebookVersion, Provenance
from pipeline.config.run import RunConfig
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.notebook.bundle import CODE_FILE, SUBMISSION_FILE, Bundle, make_bundle
from pipeline.kaggle.notebook.run import State, fetch_output, follow, push_once, read_state, state_path
from pipeline.kaggle.submission import check_submission
from pipeline.kaggle.upload import why_offline
from pipeline.models.registry import packages_of

WAIT_S = 12 * 3600.0  # Kaggle stops a run after twelve hours
MAX_SIZE_RATIO = 30  # of a submission to the sample submission, where "0" may stand for 17 digits


def run_at_kaggle(
    store: FeatureStore,
    config: RunConfig,
    *,
    wheels: tuple[str, ...],
    has_internet: bool,
    is_push_wanted: bool,
    is_again: bool,
    wait_s: float = WAIT_S,
) -> Path | None:
    """Push the bundle, follow its run, fetch and check its output. Returns the submission's path, None without a push.

    `wheels` are datasets (owner/name) with packages that Kaggle lacks. Resumes an interrupted call: the same bundle is
    pushed once. Raises SpecError, KaggleError.
    """
    packages = packages_of(config)
    bundle = make_bundle(
        store.workspace, store.spec, config, packages=packages, wheels=wheels, has_internet=has_internet
    )
    folder = store.workspace.kernels
    script = bundle.write(folder)
    say(f"kernel: {script} ({len(bundle.text) / 1e3:.0f} kB) trains {bundle.run} on Kaggle")
    reason = why_offline(store.spec, is_sample=store.is_sample, opt_out=None if is_push_wanted else "--no-push")
    if reason is not None:
        say(f"kernel: nothing was pushed: {reason}; by hand: {_by_hand(store)}")
        return None
    state = read_state(folder, bundle.id)
    if state is not None and state.status == "fetched" and not is_again:
        path = store.workspace.root / state.submission
        if _is_unchanged(path):
            say(f"kernel: the output of {state.kernel} was already fetched")
            return path
    session = KaggleSession.connect()
    state = _pushed(session, store, bundle, is_again=is_again)
    follow(session, folder, state, wait_s=wait_s)
    max_bytes = MAX_SIZE_RATIO * len(store.sample_submission.to_csv(index=False)) + (1 << 20)
    provenance, content = fetch_output(session, folder, state, max_bytes=max_bytes)
    path = _written(store, state, provenance, content, config.run_name)
    fetched = state.updated(status="fetched", submission=str(path.relative_to(store.workspace.root)))
    fetched.write(state_path(folder, bundle.id))
    return path


def _pushed(session: KaggleSession, store: FeatureStore, bundle: Bundle, *, is_again: bool) -> State:
    """Push the bundle as a notebook of the session's user, unless Kaggle has it. Raises KaggleError."""
    slug = store.spec.kaggle_slug
    if not session.user:
        raise KaggleError(
            "does not report whose credentials these are, and a notebook needs an owner",
            kind="no user",
            hint="Set KAGGLE_USERNAME to your Kaggle username.",
        )
    competition = session.entered_competition(slug)
    if competition.is_code_only and bundle.metadata["enable_internet"]:
        raise KaggleError(
            "is a code competition, whose notebooks run without internet access",
            kind="code competition",
            where=slug,
            hint="Omit --internet; use --wheels to attach packages that Kaggle lacks.",
        )
    bundle = bundle.owned_by(session.user)
    bundle.write(store.workspace.kernels)
    state = State(
        bundle=bundle.id,
        status="pushing",
        owner=session.user,
        slug=bundle.slug,
        git_commit=files.git_commit(store.workspace.root),
        is_code=competition.is_code_only,
    )
    return push_once(session, store.workspace.kernels, bundle, state, is_again=is_again)


def _written(store: FeatureStore, state: State, provenance: Provenance, content: bytes, run: str) -> Path:
    """Check the output like any submission and write it with its provenance to `submissions/<competition>/`."""
    folder = store.workspace.kernels / f"v{state.version}"
    with files.atomic_write(folder / SUBMISSION_FILE) as file:
        file.write(content)
    try:
        frame = read_table(folder / SUBMISSION_FILE, as_text=store.spec.text_columns)
        check_submission(store.spec, store.classes, store.sample_submission, frame)
        if (provenance.run, provenance.metric) != (run, store.spec.metric):
            raise DataError(f"names the run {provenance.run!r}", where="manifest", hint=f"Expected {run!r}.")
    except DataError as error:
        raise KaggleError(
            f"the output is not a valid submission: {error}",
            kind="bad output",
            where=str(state.kernel),
            hint=f"The output is in {folder}; nothing was sent. --again pushes a new version.",
        ) from error
    if provenance.raw_files != {name: file.sha256 for name, file in store.manifest.raw_files.items()}:
        say("kernel: the competition files at Kaggle differ from those here; the notebook used Kaggle's")
    path = store.workspace.submissions / f"{run}-kernel-v{state.version}.csv"
    with files.atomic_write(path) as file:
        file.write(content)
    notebook = NotebookVersion(
        owner=state.owner,
        slug=state.slug,
        version=state.version,
        file_name=SUBMISSION_FILE,
        bundle=state.bundle,
        is_code=state.is_code,
    )
    changes = {"submission": path.name, "sha256": files.sha256_of(path), "git_commit": state.git_commit}
    provenance.updated(**changes, kernel=notebook).write(path.with_suffix(".json"))
    cv = f"cv {provenance.metric} {provenance.cv_score:.5f}"
    say(f"kernel: {path}: {len(frame)} rows, sha256 verified, {cv}")
    return path


def _is_unchanged(path: Path) -> bool:
    known = Provenance.read_or_none(path.with_suffix(".json"), otherwise="the output is fetched again")
    return known is not None and files.is_unchanged(path, known.sha256)


def _by_hand(store: FeatureStore) -> str:
    """Explain how to run the bundle in the browser."""
    return (
        f"https://www.kaggle.com/code, New Notebook, File > Import Notebook > {store.workspace.kernels / CODE_FILE}; "
        f"input {store.spec.data_slug}, accelerator GPU T4 x2, internet off, Save & Run All; "
        f"its output contains {SUBMISSION_FILE}"
    )
