"""Stage `submit`: check a submission, upload it and fetch its score, or say in one line why not."""

from __future__ import annotations

from pathlib import Path

from pipeline.base import files
from pipeline.base.errors import ArtifactError
from pipeline.base.progress import say
from pipeline.competition.store import FeatureStore
from pipeline.competition.tables.reading import read_table
from pipeline.config.records import Provenance
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import COMPETITION_URL
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.permission import why_offline
from pipeline.kaggle.submission import check_submission
from pipeline.kaggle.upload import SubmissionFile, send_once

WAIT_S = 600.0  # for the score; the next call fetches a score that takes longer


def submit(
    store: FeatureStore,
    submission: Path,
    *,
    is_upload_wanted: bool,
    may_use_last_slot: bool = False,
    is_again: bool = False,
    wait_s: float = WAIT_S,
) -> None:
    """Check the file, upload it unless it was or may have been uploaded before, and show its score.

    `is_again`: upload what is in doubt, or what Kaggle failed to score. Raises DataError, KaggleError.
    """
    frame = read_table(submission, as_text=store.spec.text_columns)
    check_submission(store.spec, store.classes, store.sample_submission, frame)
    provenance = Provenance.read(submission.with_suffix(".json"))
    if not files.is_unchanged(submission, provenance.sha256):
        raise ArtifactError(
            "was changed after it was made, or belongs to another record",
            where=str(submission),
            hint="Delete it and make the submission again: `make submit`.",
        )
    slug = store.spec.kaggle_slug
    is_sample = provenance.is_sample or store.is_sample
    reason = why_offline(store.spec, is_sample=is_sample, opt_out=None if is_upload_wanted else "UPLOAD=0")
    if reason is not None:
        by_hand = "" if is_sample else f"; by hand: {COMPETITION_URL.format(slug=slug)}/submit"
        say(f"submit: nothing was uploaded: {reason}{by_hand}")
        return
    notebook = provenance.kernel if provenance.kernel is not None and provenance.kernel.is_code else None
    outgoing = SubmissionFile(
        slug=slug,
        file=submission,
        sha256=files.sha256_of(submission) if notebook is None else notebook.bundle,
        run=provenance.run,
        metric=provenance.metric,
        cv_score=provenance.cv_score,
        notebook=notebook,
        kaggle_metric=store.spec.kaggle_metric,
    )
    ledger = Ledger(store.workspace.ledger)
    entry = ledger.find(outgoing.sha256)
    if entry is None or entry.status != "complete":
        entry = send_once(
            KaggleSession.connect(),
            ledger,
            outgoing,
            may_use_last_slot=may_use_last_slot,
            wait_s=wait_s,
            is_again=is_again,
        )
    else:
        say(f"submit: this file was already sent (ref {entry.ref}); it is not sent again")
    say(f"submit: {_outcome(entry)}")


def _outcome(entry: Entry) -> str:
    if entry.status != "complete":
        return f"ref {entry.ref} is not scored yet; run the same command later to fetch the score"
    public = "no public score" if entry.public_score is None else f"public score {entry.public_score:.5f}"
    private = "" if entry.private_score is None else f", private score {entry.private_score:.5f}"
    cv = "" if entry.cv_score is None else f"  (cv {entry.metric} {entry.cv_score:.5f})"
    return f"ref {entry.ref}: {public}{private}{cv}"
