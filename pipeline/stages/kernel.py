"""Stage `kernel`: the final training as a notebook at Kaggle -> a checked submission CSV and its provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import DataError, KaggleError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables import read_table
from pipeline.competition.workspace import Workspace
from pipeline.config.records import NotebookVersion, Provenance
from pipeline.config.run import RunConfig
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client import RULES_URL, KaggleSession
from pipeline.kaggle.notebook import CODE_FILE, SUBMISSION_FILE, Bundle, make_bundle
from pipeline.kaggle.notebook_run import State, StateFile, fetch_output, follow, push_once
from pipeline.kaggle.submission import check_submission
from pipeline.kaggle.upload import why_no_upload
from pipeline.models.registry import packages_of

WAIT_S = 12 * 3600.0  # Kaggle ends a run after twelve hours
BYTES_AS_SAMPLE = 30  # a submission may have so many times the sample submission's bytes: "0" against 17 digits


@dataclass(frozen=True)
class Attached:
    """What the notebook has beside the competition: data sets of wheels, and the internet."""

    wheels: tuple[str, ...] = ()
    has_internet: bool = False


def build(workspace: Workspace, spec: CompetitionSpec, config: RunConfig, attached: Attached) -> Bundle:
    """Write the bundle into `kernels/<competition>/`. Raises SpecError."""
    bundle = make_bundle(
        workspace,
        spec,
        config,
        packages=packages_of(config),
        wheels=attached.wheels,
        has_internet=attached.has_internet,
    )
    path = bundle.write(workspace.kernels)
    say(f"kernel: {path} ({len(bundle.text) / 1e3:.0f} kB) trains {bundle.run} on Kaggle")
    return bundle


def run_at_kaggle(
    store: FeatureStore,
    config: RunConfig,
    attached: Attached,
    *,
    is_push_wanted: bool,
    is_again: bool = False,
    wait_s: float = WAIT_S,
) -> Path | None:
    """Push the bundle, follow its run, fetch and check its output: the submission's path, or None if it stays here.

    Goes on where an earlier call was cut off: the same bundle is pushed once. Raises SpecError, KaggleError.
    """
    bundle = build(store.workspace, store.spec, config, attached)
    reason = _why_not(store, is_push_wanted=is_push_wanted)
    if reason is not None:
        say(f"kernel: nothing was pushed: {reason}")
        return None
    file = StateFile(store.workspace.kernels, bundle)
    state = file.read()
    if state is not None and state.status == "fetched" and not is_again:
        path = store.workspace.root / state.submission
        if path.exists() and _is_as_fetched(path):
            say(f"kernel: {state.kernel} was fetched already")
            return path
    session = KaggleSession.connect()
    state = _pushed(session, store, bundle, attached, file, is_again=is_again)
    follow(session, file, state, wait_s=wait_s)
    max_bytes = BYTES_AS_SAMPLE * len(store.sample_submission.to_csv(index=False)) + (1 << 20)
    provenance, content = fetch_output(session, file, state, max_bytes=max_bytes)
    path = _written(store, state, provenance, content, config.run_name)
    file.write(state.updated(status="fetched", submission=str(path.relative_to(store.workspace.root))))
    return path


def _pushed(
    session: KaggleSession,
    store: FeatureStore,
    bundle: Bundle,
    attached: Attached,
    file: StateFile,
    *,
    is_again: bool,
) -> State:
    slug = store.spec.kaggle_slug
    if not session.user:
        raise KaggleError(
            "does not say whose these credentials are, and a notebook needs an owner",
            kind="no user",
            hint="Set KAGGLE_USERNAME to your name at Kaggle.",
        )
    competition = session.competition(slug)
    if not competition.has_entered:
        raise KaggleError(
            "the rules were not accepted yet",
            kind="rules",
            where=slug,
            hint=f"Accept them once in the browser: {RULES_URL.format(slug=slug)}",
        )
    if competition.is_code_only and attached.has_internet:
        raise KaggleError(
            "is a code competition: its notebooks run without the internet",
            kind="code competition",
            where=slug,
            hint="Leave out --internet; packages that Kaggle lacks are attached by --wheels.",
        )
    bundle = bundle.owned_by(session.user)
    bundle.write(file.folder)
    state = State(
        bundle=bundle.id,
        status="pushing",
        owner=session.user,
        slug=bundle.slug,
        git_commit=files.git_commit(store.workspace.root),
        is_code=competition.is_code_only,
    )
    return push_once(session, file, bundle, state, is_again=is_again)


def _written(store: FeatureStore, state: State, provenance: Provenance, content: bytes, run: str) -> Path:
    """Check the output as any submission and put it, with its provenance, into `submissions/<competition>/`."""
    folder = store.workspace.kernels / f"v{state.version}"
    with files.atomic_write(folder / SUBMISSION_FILE) as file:
        file.write(content)
    try:
        frame = read_table(folder / SUBMISSION_FILE, na_is_category=store.spec.label_columns)
        check_submission(store.spec, store.classes, store.sample_submission, frame)
        if (provenance.run, provenance.metric) != (run, store.spec.metric):
            raise DataError(f"it is of the run {provenance.run!r}", where="manifest", hint=f"Wanted: {run}.")
    except DataError as error:
        raise KaggleError(
            f"the output is no submission: {error}",
            kind="bad output",
            where=str(state.kernel),
            hint=f"It is kept in {folder}; nothing was sent. --again pushes a new version.",
        ) from error
    if provenance.raw_files != {name: file.sha256 for name, file in store.manifest.raw_files.items()}:
        say("kernel: the files at Kaggle are not byte for byte those here; the notebook used its own")
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
    provenance.updated(**changes, is_sample=False, kernel=notebook).write(path.with_suffix(".json"))
    cv = f"cv {provenance.metric} {provenance.cv_score:.5f}"
    say(f"kernel: {path}: {len(frame)} rows, sha256 as the notebook wrote it, {cv}")
    return path


def _is_as_fetched(path: Path) -> bool:
    known = Provenance.read_or_none(path.with_suffix(".json"), otherwise="the output is fetched again")
    return known is not None and known.sha256 == files.sha256_of(path)


def _why_not(store: FeatureStore, *, is_push_wanted: bool) -> str | None:
    """The reason for which the network is not touched, and what can be done by hand; None when there is none."""
    by_hand = (
        f"by hand: https://www.kaggle.com/code, New Notebook, File > Import Notebook > "
        f"{store.workspace.kernels / CODE_FILE}; input {store.spec.data_slug}, accelerator GPU T4 x2, internet off, "
        f"Save & Run All; its output holds {SUBMISSION_FILE}"
    )
    if store.is_sample:
        return f"this is SAMPLE DATA: what the notebook makes could not be checked here; {by_hand}"
    if not is_push_wanted:
        return f"--no-push; {by_hand}"
    reason = why_no_upload(store.spec)
    return reason and f"{reason}; {by_hand}"
