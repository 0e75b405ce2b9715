"""Send a submission to Kaggle and fetch its score, sending each content at most once whatever fails on the way.

Knows the ledger and a Kaggle session; does not know how the file was made. An entry is written to the ledger before
anything is sent, and the description contains a tag of the content, so a submission whose response was lost is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path

from pipeline.base.errors import KaggleError
from pipeline.base.locks import hold
from pipeline.base.progress import progress_bar, say
from pipeline.config.records import NotebookVersion
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.errors import MAY_HAVE_SUCCEEDED, reworded
from pipeline.kaggle.client.responses import SubmissionStatus
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import COMPETITION_URL
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.permission import check_before_sending

SETTLE_S = 150.0  # how long to look for a submission whose response was lost
SETTLE_EVERY_S = 10.0
POLL_DELAYS_S = (2.0, 3.0, 5.0, 10.0, 15.0)
AGAIN_HINT = "`submit --again` or `kernel --submit-again` sends it again (make: AGAIN=1)."


@dataclass(frozen=True)
class SubmissionFile:
    """A file to submit, or `notebook`, whose output it is, for a code competition."""

    slug: str
    file: Path
    sha256: str  # of what Kaggle receives
    run: str
    metric: str
    cv_score: float
    notebook: NotebookVersion | None = None
    kaggle_metric: str | None = None  # Kaggle's name that the spec gives its metric

    def entry(self) -> Entry:
        """Return its ledger entry before it is sent."""
        now = datetime.fromtimestamp(Clock.now(), UTC).isoformat(timespec="seconds")
        return Entry(now, self.run, self.file.name, self.sha256, self.metric, self.cv_score)


def send_once(
    session: KaggleSession,
    ledger: Ledger,
    submission: SubmissionFile,
    *,
    may_use_last_slot: bool,
    wait_s: float,
    is_again: bool = False,
) -> Entry:
    """Send `submission` unless its content was or may have been sent, wait for the score, and return its ledger entry.

    `is_again`: send what is in doubt, or what Kaggle failed to score. Raises KaggleError; the ledger is correct in
    either case.
    """
    with hold(ledger.path.with_name("sending.lock")):
        entry = _already_sent(session, ledger, submission, is_again=is_again)
        if entry is None:
            n_today = check_before_sending(
                session,
                submission.slug,
                is_notebook=submission.notebook is not None,
                may_use_last_slot=may_use_last_slot,
                metric=submission.metric,
                kaggle_metric=submission.kaggle_metric,
            )
            entry = _send(session, ledger, submission, n_today)
    return wait_for_score(session, ledger, submission.slug, entry, wait_s=wait_s)


def wait_for_score(session: KaggleSession, ledger: Ledger, slug: str, entry: Entry, *, wait_s: float) -> Entry:
    """Poll until Kaggle has scored the submission or `wait_s` has passed; updates the ledger.

    Raises KaggleError, also if Kaggle does not know the ref by then.
    """
    if entry.status == "complete" or entry.ref is None:
        return entry
    end = Clock.now() + wait_s
    delays = chain(POLL_DELAYS_S, repeat(POLL_DELAYS_S[-1]))
    with progress_bar("score") as update:
        while True:
            status = _status_of(session, slug, entry.ref)
            if status is None and Clock.now() >= end:
                status = _listed(session, slug, entry.ref)
            if status is not None:
                entry = ledger.put(entry.updated(status))
                if status.status == "error":
                    raise _not_scored(slug, entry, status)
            elif Clock.now() >= end:
                raise _lost(session, ledger, slug, entry)
            if entry.status == "complete" or Clock.now() >= end:
                return entry
            update(0.0, f"ref {entry.ref}: Kaggle {'does not show it yet' if status is None else 'is scoring'}")
            Clock.sleep(next(delays))


def _not_scored(slug: str, entry: Entry, status: SubmissionStatus) -> KaggleError:
    reason = status.error or "it does not say why"
    what = f"accepted the submission (ref {entry.ref}) but could not score it: {reason}"
    hint = f"See {COMPETITION_URL.format(slug=slug)}/submissions. {AGAIN_HINT}"
    return KaggleError(what, kind="not scored", where=slug, hint=hint)


def _lost(session: KaggleSession, ledger: Ledger, slug: str, entry: Entry) -> KaggleError:
    """Mark the entry as lost, unless Kaggle's count says that it has it; return the error.

    It is in doubt all the same: Kaggle may show a submission, also its ref, late.
    """
    counts = _counts(session, slug, entry)
    what = f"gave the submission the ref {entry.ref} but does not show it"
    if counts is not None and counts[1] > counts[0]:
        hint = f"Its count of today's submissions went from {counts[0]} to {counts[1]}: run the same command later."
        return KaggleError(what, kind="not shown", where=slug, hint=hint)
    ledger.put(replace(entry, status="lost"))
    hint = f"It is marked as lost. Run the same command again later: it asks Kaggle for it once more. {AGAIN_HINT}"
    return KaggleError(what, kind="lost", where=slug, hint=hint)


def _already_sent(
    session: KaggleSession, ledger: Ledger, submission: SubmissionFile, *, is_again: bool
) -> Entry | None:
    """Return the entry of this content if it was ever sent; None if it is to be sent now.

    Raises KaggleError if an earlier attempt is in doubt, which no lapse of time resolves: Kaggle may record a
    submission long after the request.
    """
    if (entry := ledger.find(submission.sha256)) is not None:
        return entry
    if _with_status(ledger, submission, "sending"):
        say("submit: an earlier run was interrupted while sending this file; asking Kaggle whether it arrived")
    if (entry := _find(session, ledger, submission)) is not None:
        say(f"submit: Kaggle already has this file (ref {entry.ref}); it is not sent again")
        return entry
    in_doubt, lost, failed = (_with_status(ledger, submission, status) for status in ("sending", "lost", "error"))
    if lost and not is_again:
        raise _lost(session, ledger, submission.slug, lost[-1])
    if in_doubt and not is_again:
        raise _in_doubt(session, submission, in_doubt[-1], "an earlier run was interrupted while sending this file")
    return failed[-1] if failed and not is_again else None


def _with_status(ledger: Ledger, submission: SubmissionFile, status: str) -> list[Entry]:
    return [entry for entry in ledger.of(submission.sha256) if entry.status == status]


def _find(session: KaggleSession, ledger: Ledger, submission: SubmissionFile) -> Entry | None:
    """Return the entry that Kaggle has of this content, or None; updates the ledger.

    Looks again for SETTLE_S after the last request that is in doubt: most late submissions arrive by then.
    """
    while True:
        entries = ledger.of(submission.sha256)
        refs = {entry.ref for entry in entries}
        own = submission.entry()
        shown = [one for one in session.submissions(submission.slug) if one.ref in refs or own.is_tagged_in(one)]
        for ref in {entry.ref for entry in entries if entry.status == "lost"} - {one.ref for one in shown}:
            status = None if ref is None else _status_of(session, submission.slug, ref)
            shown += [] if status is None else [status]
        ledger.merge(shown, own=own)
        if (entry := ledger.find(submission.sha256)) is not None:
            return entry
        in_doubt = _with_status(ledger, submission, "sending")
        wait = max((_time_of(one) + SETTLE_S - Clock.now() for one in in_doubt), default=0.0)
        if wait <= 0:
            return None
        Clock.sleep(min(wait, SETTLE_EVERY_S))


def _in_doubt(session: KaggleSession, submission: SubmissionFile, entry: Entry, reason: str) -> KaggleError:
    """Return the error for an attempt that Kaggle may have accepted; its count of the day is a second witness."""
    counts = _counts(session, submission.slug, entry)
    evidence = "its list does not show it"
    if counts is not None:
        before, now = counts
        change = f"went from {before} to {now}, so it probably arrived" if now > before else f"is still {now}"
        evidence += f", and its count of the day {change}"
    what = f"{reason}; whether Kaggle accepted the file is not known yet: {evidence}"
    seen = f"See {COMPETITION_URL.format(slug=submission.slug)}/submissions"
    hint = f"Run the same command again later: it asks Kaggle first and sends nothing twice. {seen}. {AGAIN_HINT}"
    return KaggleError(what, kind="in doubt", where=submission.slug, hint=hint)


def _counts(session: KaggleSession, slug: str, entry: Entry) -> tuple[int, int] | None:
    """Return Kaggle's count of the day before the entry was sent, and now without others sent since.

    None if one is unknown or of another day.
    """
    now, sent_at = (datetime.fromtimestamp(time, UTC) for time in (Clock.now(), _time_of(entry)))
    if entry.n_today is None or now.date() != sent_at.date():
        return None
    try:
        n_today = session.limits(slug).n_today
        shown = session.submissions(slug)
    except KaggleError:
        return None
    others = [one for one in shown if one.ref != entry.ref and one.date is not None and one.date >= sent_at]
    return entry.n_today, max(entry.n_today, n_today - len(others))


def _time_of(entry: Entry) -> float:
    """Return when the entry was sent, in seconds since 1970."""
    return datetime.fromisoformat(entry.time).timestamp() if entry.time else 0.0


def _send(session: KaggleSession, ledger: Ledger, submission: SubmissionFile, n_today: int | None) -> Entry:
    """Upload the file, write the ledger entry, submit; if the outcome is unknown, ask Kaggle."""
    slug = submission.slug
    source = submission.notebook or session.upload(slug, submission.file)
    entry = ledger.put(replace(submission.entry(), n_today=n_today))
    try:
        ref = session.create_submission(slug, source, entry.description)
    except KaggleError as error:
        if error.kind not in MAY_HAVE_SUCCEEDED:
            ledger.drop(entry)
            raise
        entry = _find_after(error, session, ledger, submission, entry)
    else:
        entry = ledger.put(replace(entry, ref=ref, status="pending"))
    say(f"submit: Kaggle accepted {submission.file.name} (ref {entry.ref})")
    return entry


def _find_after(
    error: KaggleError, session: KaggleSession, ledger: Ledger, submission: SubmissionFile, entry: Entry
) -> Entry:
    """Return the entry that Kaggle has although its response was lost. Raises KaggleError."""
    say(f"submit: {error.what}; asking Kaggle whether it accepted the file")
    try:
        found = _find(session, ledger, submission)
    except KaggleError as lookup_error:
        say(f"submit: {lookup_error.what}")
        found = None
    if found is None:
        found = next((one for one in ledger.of(submission.sha256) if one.time == entry.time and one.ref), None)
    if found is None:
        raise _in_doubt(session, submission, entry, error.what) from error
    return found


def _listed(session: KaggleSession, slug: str, ref: int) -> SubmissionStatus | None:
    """Return the submission's status from the list of all."""
    return next((one for one in session.submissions(slug) if one.ref == ref), None)


def _status_of(session: KaggleSession, slug: str, ref: int) -> SubmissionStatus | None:
    """Return the submission's status, or None while Kaggle does not show it yet."""
    try:
        return session.submission(slug, ref)
    except KaggleError as error:
        if error.kind == "not found":
            return None
        what = f"{error.what}; the file itself was accepted (ref {ref})"
        raise reworded(error, what=what, hint=f"Run the same command again to fetch the score. {error.hint}") from error
