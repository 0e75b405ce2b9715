"""Stage `kernel`: run the final training as a Kaggle notebook -> a checked submission CSV and its provenance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import DataError, KaggleError, SpecError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.public_holidays import PACKAGE as HOLIDAYS
from pipeline.competition.tables.reading import read_table
from pipeline.competition.workspace import Workspace
from pipeline.config.records import NotebookVersion, Provenance
from pipeline.config.run import RunConfig
from pipeline.config.run_report import EnsemblePlan
from pipeline.kaggle.client.kernels import gpu_quota
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import SETTINGS_URL
from pipeline.kaggle.notebook.bundle import (
    CODE_FILE,
    DEFAULT_OPTIONS,
    GPU,
    SUBMISSION_FILE,
    Bundle,
    Options,
    make_bundle,
    requirements_of,
)
from pipeline.kaggle.notebook.pretrained import HINT, is_download_wanted, weights_read
from pipeline.kaggle.notebook.run import State, fetch_output, follow, push_once, read_state, running, state_path
from pipeline.kaggle.notebook.wheels import AUTO, lacking, provide
from pipeline.kaggle.permission import check_before_sending, why_offline
from pipeline.kaggle.submission import check_submission
from pipeline.models.registry import gains_from_gpus, packages_of

MOST_GPUS = 2  # of Kaggle's machines, "GPU T4 x2"
WAIT_S = 12 * 3600.0  # Kaggle stops a run after twelve hours
MAX_SIZE_RATIO = 30  # of a submission to the sample submission, where "0" may stand for 17 digits


@dataclass(frozen=True)
class KernelOptions:
    """What the user wants of a run at Kaggle; `how` are the notebook's own options."""

    how: Options = DEFAULT_OPTIONS
    is_push_wanted: bool = True
    is_again: bool = False  # push a new version of a bundle that Kaggle has
    is_upload_wanted: bool = True  # the output will be submitted
    may_use_last_slot: bool = False
    wait_s: float = WAIT_S


def run_at_kaggle(store: FeatureStore, trained: RunConfig | EnsemblePlan, options: KernelOptions) -> Path | None:
    """Push the bundle, follow its run, fetch and check its output. Returns the submission's path, None without a push.

    Resumes an interrupted call: the same bundle is pushed once. Raises SpecError, KaggleError.
    """
    opt_out = None if options.is_push_wanted else "--no-push"
    reason = why_offline(store.spec, is_sample=store.is_sample, opt_out=opt_out)
    session = None
    how = options.how
    if AUTO in how.wheels:
        session = KaggleSession.connect() if reason is None else None
        how = replace(how, wheels=_wheels(session, store, trained, how.wheels))
    bundle = _bundle(store, trained, how, is_pushed=reason is None)
    folder = store.workspace.kernels
    script = bundle.write(folder)
    say(f"kernel: {script} ({len(bundle.text) / 1e3:.0f} kB) trains {bundle.run} on Kaggle")
    if reason is not None:
        say(f"kernel: nothing was pushed: {reason}; by hand: {_by_hand(store, how)}")
        return None
    state = read_state(folder, bundle.id)
    if state is not None and state.status == "fetched" and not options.is_again:
        path = store.workspace.root / state.submission
        if _is_unchanged(path):
            say(f"kernel: the output of {state.kernel} was already fetched")
            return path
    session = session or KaggleSession.connect()
    state = _pushed(session, store, bundle, options)
    follow(session, folder, state, wait_s=options.wait_s)
    max_bytes = MAX_SIZE_RATIO * len(store.sample_submission.to_csv(index=False)) + (1 << 20)
    provenance, content = fetch_output(session, folder, state, max_bytes=max_bytes)
    path = _written(store, state, provenance, content, bundle.run)
    fetched = state.updated(status="fetched", submission=str(path.relative_to(store.workspace.root)))
    fetched.write(state_path(folder, bundle.id))
    return path


def cancel_run(workspace: Workspace) -> str:
    """Return what to say about the active runs of this competition: that there is none.

    Raises KaggleError if there is one, which names the page to cancel it on: Kaggle's API cancels sessions by a number
    that it tells nobody.
    """
    active = running(KaggleSession.connect(), workspace.kernels)
    if not active:
        return "no run that was pushed from here is active"
    pages = ", ".join(f"{version} ({version.url})" for version in active)
    what = (
        f"cannot be cancelled by a program: Kaggle's API does not tell the number of a run's session. Active: {pages}"
    )
    hint = "Open the page and choose Cancel Run; the next `kernel` call notices it and pushes a new version."
    raise KaggleError(what, kind="cancel by hand", hint=hint)


def _bundle(store: FeatureStore, trained: RunConfig | EnsemblePlan, how: Options, *, is_pushed: bool) -> Bundle:
    config = trained.config if isinstance(trained, EnsemblePlan) else trained
    if is_pushed:
        _check_weights(store, config, how)
    is_shared = isinstance(trained, EnsemblePlan) and len(trained.members) > 1
    return make_bundle(
        store.workspace,
        store.spec,
        trained,
        packages=_packages(store, config),
        n_processes=MOST_GPUS if is_shared or gains_from_gpus(config) else 1,
        options=how,
    )


def _check_weights(store: FeatureStore, config: RunConfig, how: Options) -> None:
    """Raise SpecError if the run reads weights that the notebook will not have."""
    read = weights_read(store.workspace, store.spec, config)
    if read and not how.weights:
        what = f"the run reads weights that the notebook will not have: {', '.join(read)}"
        raise SpecError(what, where="--weights", hint=HINT)
    if is_download_wanted(config) and not how.has_internet:
        what = "the run fetches weights, and the notebook has no internet access"
        raise SpecError(what, where="--internet", hint=HINT)


def _packages(store: FeatureStore, config: RunConfig) -> list[str]:
    """Packages that the models of a run or the competition's features need and others do not."""
    of_features = [HOLIDAYS] if store.spec.time is not None and store.spec.time.has_holidays else []
    of_texts = [] if store.spec.encoder.text_embeddings is None else ["sentence-transformers"]
    return sorted({*packages_of(config), *of_features, *of_texts})


def _wheels(
    session: KaggleSession | None, store: FeatureStore, trained: RunConfig | EnsemblePlan, given: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the datasets to attach: those given, and in place of `auto` the one that is made here."""
    own = tuple(name for name in given if name != AUTO)
    config = trained.config if isinstance(trained, EnsemblePlan) else trained
    logs = (path.read_text(encoding="utf-8") for path in sorted(store.workspace.kernels.glob("v*/log.txt")))
    wanted = lacking(requirements_of(_packages(store, config)), logs)
    if session is None:
        say(f"kernel: without a push, no dataset of wheels is made (wanted: {', '.join(wanted) or 'none'})")
        return own
    _require_user(session)
    made = provide(session, store.workspace.competition, wanted, store.workspace.kernels / "wheels")
    return own if made is None else (*own, made)


def _require_user(session: KaggleSession) -> None:
    if not session.user:
        raise KaggleError(
            "does not report whose credentials these are, and a notebook needs an owner",
            kind="no user",
            hint="Set KAGGLE_USERNAME to your Kaggle username.",
        )


def _pushed(session: KaggleSession, store: FeatureStore, bundle: Bundle, options: KernelOptions) -> State:
    """Push the bundle as a notebook of the session's user, unless Kaggle has it. Raises KaggleError."""
    slug = store.spec.kaggle_slug
    _require_user(session)
    competition = session.entered_competition(slug)
    if competition.is_code_only and bundle.metadata["enable_internet"]:
        raise KaggleError(
            "is a code competition, whose notebooks run without internet access",
            kind="code competition",
            where=slug,
            hint="Omit --internet; use --wheels to attach packages that Kaggle lacks.",
        )

    def check() -> None:
        if options.is_upload_wanted:
            last = options.may_use_last_slot
            check_before_sending(
                session,
                slug,
                is_notebook=competition.is_code_only,
                may_use_last_slot=last,
                metric=store.spec.metric,
                kaggle_metric=store.spec.kaggle_metric,
            )
        if bundle.metadata["enable_gpu"]:
            _check_quota(session, options.how.timeout_h)

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
    return push_once(session, store.workspace.kernels, bundle, state, is_again=options.is_again, check=check)


def _check_quota(session: KaggleSession, timeout_h: float | None) -> None:
    """Say how many GPU hours are left this week. Raises KaggleError if none are."""
    try:
        quota = gpu_quota(session)
    except KaggleError as error:  # the push itself would be refused
        say(f"kernel: the GPU hours left are not known: {error.what}")
        return
    if quota is None:
        say("kernel: Kaggle does not report the GPU hours left")
        return
    say(f"kernel: {quota.left_h:.1f} of {quota.total_h:.1f} GPU hours are left this week")
    if quota.left_h <= 0 and not quota.can_exceed:
        hint = f"Wait for the next week ({SETTINGS_URL} shows when), or use --accelerator none."
        raise KaggleError("no GPU hours left this week", kind="GPU quota", hint=hint)
    if timeout_h is not None and timeout_h > quota.left_h and not quota.can_exceed:
        say(f"kernel: that is less than the {timeout_h:g} hours that the run may take")


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


def _by_hand(store: FeatureStore, how: Options) -> str:
    """Explain how to run the bundle in the browser."""
    inputs = ", ".join([store.spec.data_slug, *how.wheels, *how.weights])
    accelerator = "GPU T4 x2" if how.accelerator == GPU else how.accelerator
    return (
        f"https://www.kaggle.com/code, New Notebook, File > Import Notebook > {store.workspace.kernels / CODE_FILE}; "
        f"input {inputs}, accelerator {accelerator}, internet off, Save & Run All; "
        f"its output contains {SUBMISSION_FILE}"
    )
