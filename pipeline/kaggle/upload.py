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
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client import calls
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.credentials import find_credentials
from pipeline.kaggle.client.errors import HINTS, MAY_HAVE_SUCCEEDED, reworded, rules_not_accepted
from pipeline.kaggle.client.responses import Competition, SubmissionStatus
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import COMPETITION_URL, SETTINGS_URL
from pipeline.kaggle.ledger import Entry, Ledger

SETTLE_S = 90.0  # a request lives no longer than its timeout: what Kaggle does not list after this was never sent
SETTLE_EVERY_S = 10.0
POLL_DELAYS_S = (2.0, 3.0, 5.0, 10.0, 15.0)


def why_offline(spec: CompetitionSpec, *, is_sample: bool, opt_out: str | None) -> str | None:
    """Return why Kaggle must not be contacted, None if it may; `opt_out` is the user's option against it."""
    if is_sample:
        return "this is SAMPLE DATA, which is never sent to Kaggle"
    if opt_out is not None:
        return opt_out
    if spec.dataset is not None:
        return f"the files come from the dataset {spec.dataset}, which takes no submissions"
    if find_credentials() is None:
        remedy = f"create a token at {SETTINGS_URL} and put it into ~/.kaggle/access_token or KAGGLE_API_TOKEN"
        return f"no Kaggle credentials found ({remedy}, then run the same command again)"
    return None


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

    def entry(self) -> Entry:
        """Return its ledger entry before it is sent."""
        now = datetime.fromtimestamp(Clock.now(), UTC).isoformat(timespec="seconds")
        return Entry(now, self.run, self.file.name, self.sha256, self.metric, self.cv_score)


def send_once(
    session: KaggleSession, ledger: Ledger, submission: SubmissionFile, *, may_use_last_slot: bool, wait_s: float
) -> Entry:
    """Send `submission` unless its content was sent before, wait for the score, and return its ledger entry.

    Raises KaggleError; the ledger is correct in either case.
    """
    with hold(ledger.path.with_name("sending.lock")):
        entry = _already_sent(session, ledger, submission)
        if entry is None:
            is_notebook = submission.notebook is not None
            check_before_sending(session, submission.slug, is_notebook=is_notebook, may_use_last_slot=may_use_last_slot)
            entry = _send(session, ledger, submission)
    return wait_for_score(session, ledger, submission.slug, entry, wait_s=wait_s)


def check_before_sending(session: KaggleSession, slug: str, *, is_notebook: bool, may_use_last_slot: bool) -> None:
    """Raise KaggleError for everything Kaggle would refuse, before anything is sent."""
    competition = session.competition(slug)
    if competition.is_code_only and not is_notebook:
        what = "is a code competition, which accepts notebooks rather than files"
        hint = f"`make kernel COMPETITION={slug}` runs the final training as a notebook on Kaggle."
        raise KaggleError(what, kind="code competition", where=slug, hint=hint)
    if not competition.has_entered:
        raise rules_not_accepted(slug)
    if competition.is_closed:
        raise KaggleError("takes no submissions", kind="closed", where=slug, hint=COMPETITION_URL.format(slug=slug))
    if competition.deadline is not None and competition.deadline.timestamp() < Clock.now():
        say(f"submit: the deadline was {competition.deadline:%Y-%m-%d %H:%M} UTC; this is a late submission")
    n_left = _slots_left(session, competition, slug)
    if n_left == 0:
        raise KaggleError("no submissions left today", kind="daily limit", where=slug, hint=HINTS["daily limit"])
    if n_left == 1 and not may_use_last_slot:
        what = "this would be the last submission of the day"
        hint = "Confirm with --yes (`make submit YES=1`), or wait until midnight UTC."
        raise KaggleError(what, kind="last slot", where=slug, hint=hint)
    say("submit: Kaggle reports no daily limit" if n_left is None else f"submit: {n_left} submissions left today")


def wait_for_score(session: KaggleSession, ledger: Ledger, slug: str, entry: Entry, *, wait_s: float) -> Entry:
    """Poll until Kaggle has scored the submission or `wait_s` has passed; updates the ledger. Raises KaggleError."""
    if entry.status == "complete" or entry.ref is None:
        return entry
    end = Clock.now() + wait_s
    delays = chain(POLL_DELAYS_S, repeat(POLL_DELAYS_S[-1]))
    with progress_bar("score") as update:
        while True:
            status = _status_of(session, slug, entry.ref)
            if status is not None:
                entry = ledger.put(with_status(entry, status))
                if status.status == "error":
                    reason = status.error or "it does not say why"
                    what = f"accepted the submission (ref {entry.ref}) but could not score it: {reason}"
                    hint = f"See {COMPETITION_URL.format(slug=slug)}/submissions"
                    raise KaggleError(what, kind="not scored", where=slug, hint=hint)
            if entry.status == "complete" or Clock.now() >= end:
                return entry
            update(0.0, f"ref {entry.ref}: Kaggle is scoring")
            Clock.sleep(next(delays))


def with_status(entry: Entry, status: SubmissionStatus) -> Entry:
    """Return the entry with Kaggle's current status and scores."""
    return replace(entry, **status.model_dump(include={"ref", "status", "public_score", "private_score"}))


def _already_sent(session: KaggleSession, ledger: Ledger, submission: SubmissionFile) -> Entry | None:
    """Return the entry of this content if it was ever sent, found in the ledger or by its tag at Kaggle.

    Waits for one that is still `sending`: a request that was under way when the process died may still arrive.
    """
    entry = ledger.find(submission.sha256)
    if entry is not None and entry.ref is not None:
        return entry
    if entry is not None:
        say("submit: an earlier run was interrupted while sending this file; asking Kaggle whether it arrived")
    found = _find_by_tag(session, submission)
    while found is None and entry is not None and (seconds_left := _seconds_to_settle(entry)) > 0:
        Clock.sleep(min(seconds_left, SETTLE_EVERY_S))
        found = _find_by_tag(session, submission)
    if found is None:
        return None
    say(f"submit: Kaggle already has this file (ref {found.ref}); it is not sent again")
    return ledger.put(with_status(entry or submission.entry(), found))


def _seconds_to_settle(entry: Entry) -> float:
    """Return the seconds until a submission that Kaggle does not list can no longer arrive."""
    return datetime.fromisoformat(entry.time).timestamp() + SETTLE_S - Clock.now()


def _find_by_tag(session: KaggleSession, submission: SubmissionFile) -> SubmissionStatus | None:
    tag = submission.entry().tag
    return next((one for one in session.submissions(submission.slug) if tag in one.description.split()), None)


def _slots_left(session: KaggleSession, competition: Competition, slug: str) -> int | None:
    """Return the submissions left, counted from the list if Kaggle does not report them; None without a limit."""
    try:
        return session.limits(slug).n_left
    except KaggleError as error:
        if error.kind != "not found":
            raise
    if not competition.daily_limit:
        return None
    today = datetime.fromtimestamp(Clock.now(), UTC).date()
    n_today = sum(one.date is not None and one.date.date() == today for one in session.submissions(slug))
    return max(0, competition.daily_limit - n_today)


def _send(session: KaggleSession, ledger: Ledger, submission: SubmissionFile) -> Entry:
    """Upload the file, write the ledger entry, submit; if the outcome is unknown, ask Kaggle."""
    slug = submission.slug
    source = submission.notebook or session.upload(slug, submission.file)
    entry = ledger.put(submission.entry())
    try:
        ref = session.create_submission(slug, source, entry.description)
        entry = replace(entry, ref=ref, status="pending")
    except KaggleError as error:
        if error.kind not in MAY_HAVE_SUCCEEDED:
            ledger.drop(entry)
            raise
        entry = with_status(entry, calls.recover(error, "submit", "file", lambda: _find_by_tag(session, submission)))
    entry = ledger.put(entry)
    say(f"submit: Kaggle accepted {submission.file.name} (ref {entry.ref})")
    return entry


def _status_of(session: KaggleSession, slug: str, ref: int) -> SubmissionStatus | None:
    """Return the submission's status, or None while Kaggle does not show it yet."""
    try:
        return session.submission(slug, ref)
    except KaggleError as error:
        if error.kind == "not found":
            return None
        what = f"{error.what}; the file itself was accepted (ref {ref})"
        raise reworded(error, what=what, hint=f"Run the same command again to fetch the score. {error.hint}") from error
