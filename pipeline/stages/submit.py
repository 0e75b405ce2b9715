"""Stage `submit`: the last check of a submission, its upload, its score; or one clear line on why it stays here."""

from __future__ import annotations

from pathlib import Path

from pipeline.base import files
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables import read_table
from pipeline.config.records import NotebookVersion, Provenance
from pipeline.kaggle.client import COMPETITION_URL, KaggleSession, OutputName
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.submission import check_submission
from pipeline.kaggle.upload import Sender, SubmissionFile, send_once, why_no_upload

WAIT_S = 600.0  # for the score; what is still pending then is asked for on the next run


def submit(
    store: FeatureStore,
    submission: Path,
    *,
    is_upload_wanted: bool,
    may_use_last_slot: bool = False,
    wait_s: float = WAIT_S,
) -> None:
    """Check the file once more, send it unless it was sent, and say its score. Raises DataError, KaggleError."""
    frame = read_table(submission, na_is_category=store.spec.label_columns)
    check_submission(store.spec, store.classes, store.sample_submission, frame)
    provenance = Provenance.read(submission.with_suffix(".json"))
    reason = _why_not(store, is_sample=provenance.is_sample, is_upload_wanted=is_upload_wanted)
    if reason is not None:
        say(f"submit: nothing was uploaded: {reason}")
        return
    notebook = provenance.kernel if provenance.kernel is not None and provenance.kernel.is_code else None
    outgoing = SubmissionFile(
        slug=store.spec.kaggle_slug,
        file=submission,
        sha256=files.sha256_of(submission) if notebook is None else notebook.bundle,  # what Kaggle gets
        run=provenance.run,
        metric=provenance.metric,
        cv_score=provenance.cv_score,
        is_code=notebook is not None,
    )
    ledger = Ledger(store.workspace.ledger)
    entry = ledger.find(outgoing.sha256)
    if entry is None or entry.status != "complete":
        session = KaggleSession.connect()
        sender = None if notebook is None else _as_notebook(session, outgoing.slug, notebook)
        entry = send_once(session, ledger, outgoing, may_use_last_slot=may_use_last_slot, wait_s=wait_s, sender=sender)
    else:
        say(f"submit: this file was sent already (ref {entry.ref}); it is not sent again")
    say(f"submit: {_outcome(entry)}")


def _as_notebook(session: KaggleSession, slug: str, notebook: NotebookVersion) -> Sender:
    """Kaggle runs the notebook's version again, on the hidden test rows."""
    output = OutputName(notebook.owner, notebook.slug, notebook.version, notebook.file_name)
    return Sender(
        prepare=lambda: "",
        create=lambda _, description: session.create_code_submission(slug, output, description),
    )


def _why_not(store: FeatureStore, *, is_sample: bool, is_upload_wanted: bool) -> str | None:
    """The reason for which the network is not touched, or None."""
    by_hand = f"by hand: {COMPETITION_URL.format(slug=store.spec.kaggle_slug)}/submit"
    if is_sample or store.is_sample:
        return "this is SAMPLE DATA, which Kaggle never gets"
    if not is_upload_wanted:
        return f"UPLOAD=0; {by_hand}"
    reason = why_no_upload(store.spec)
    return reason and f"{reason}; {by_hand}"


def _outcome(entry: Entry) -> str:
    if entry.status != "complete":
        return f"ref {entry.ref} is not scored yet; the same command fetches the score later"
    public = "no public score" if entry.public_score is None else f"public score {entry.public_score:.5f}"
    private = "" if entry.private_score is None else f", private score {entry.private_score:.5f}"
    return f"ref {entry.ref}: {public}{private}  (cv {entry.metric} {entry.cv_score:.5f})"
