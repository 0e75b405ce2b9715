"""A submission's way to Kaggle and its score's way back: each content at most once, whatever breaks on the way.

Knows the ledger and a Kaggle session; knows nothing of how the file was made. The ledger holds an intent before
anything is sent, and the description a tag of the content: with both, a lost answer is found again instead of repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.base.errors import KaggleError
from pipeline.base.locks import hold
from pipeline.base.progress import progress_bar, say
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client import (
    COMPETITION_URL,
    RULES_URL,
    SETTINGS_URL,
    Competition,
    KaggleSession,
    SubmissionStatus,
    find_credentials,
)
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.ledger import Entry, Ledger, tag_of

SETTLE_S = 90.0  # what Kaggle does not list after it was never sent: a request lives no longer than its timeout
SETTLE_EVERY_S = 10.0
POLL_DELAYS_S = (2.0, 3.0, 5.0, 10.0, 15.0)
LOOK_AGAIN_S = (0.0, 3.0, 7.0)  # a list may be a moment behind
DOUBTFUL = {"server", "maintenance", "dropped", "timeout", "bad answer", "proxy"}  # it may have been heard


def why_no_upload(spec: CompetitionSpec) -> str | None:
    """The reason for which nothing can be sent, known without asking; None when there is none."""
    if spec.dataset is not None:
        return f"the files are those of the data set {spec.dataset}, which takes no submissions"
    if find_credentials() is None:
        return (
            f"no Kaggle credentials were found (make a token at {SETTINGS_URL} and put it into "
            "~/.kaggle/access_token or KAGGLE_API_TOKEN, then run the same command again)"
        )
    return None


@dataclass(frozen=True)
class SubmissionFile:
    """What is to be sent."""

    slug: str
    file: Path
    sha256: str
    run: str
    metric: str
    cv_score: float
    is_code: bool = False  # the output of a notebook, for a code competition

    def entry(self) -> Entry:
        """Its line in the ledger before it is sent."""
        now = datetime.fromtimestamp(Clock.now(), UTC).isoformat(timespec="seconds")
        return Entry(now, self.run, self.file.name, self.sha256, self.metric, self.cv_score)


@dataclass(frozen=True)
class Sender:
    """How a submission is sent: `prepare` uses no slot and returns a token; `create` takes token and description."""

    prepare: Callable[[], str]
    create: Callable[[str, str], int]  # uses one slot, returns the ref


def send_once(
    session: KaggleSession,
    ledger: Ledger,
    submission: SubmissionFile,
    *,
    may_use_last_slot: bool,
    wait_s: float,
    sender: Sender | None = None,
) -> Entry:
    """Send `submission` unless its content was sent before, wait for the score, and return its line of the ledger.

    `sender` replaces the upload of the file, e.g. by naming a notebook's output. Raises KaggleError; the ledger is true
    in any case.
    """
    with hold(ledger.path.with_name("sending.lock")):
        entry = _settled(session, ledger, submission)
        if entry is None:
            check_before_sending(session, submission, may_use_last_slot=may_use_last_slot)
            entry = _send(session, ledger, submission, sender or _as_file(session, submission))
    return wait_for_score(session, ledger, submission.slug, entry, wait_s=wait_s)


def check_before_sending(session: KaggleSession, submission: SubmissionFile, *, may_use_last_slot: bool) -> None:
    """Raise KaggleError for all that Kaggle would refuse, before a byte is sent."""
    competition = session.competition(submission.slug)
    _check_standing(competition, submission)
    n_left = _slots_left(session, competition, submission.slug)
    if n_left == 0:
        raise KaggleError(
            "no submission is left today",
            kind="daily limit",
            where=submission.slug,
            hint="The count starts anew at midnight UTC; the same command sends the file then.",
        )
    if n_left == 1 and not may_use_last_slot:
        raise KaggleError(
            "this would be the last submission of the day",
            kind="last slot",
            where=submission.slug,
            hint="Say so with --yes (`make submit YES=1`), or wait until midnight UTC.",
        )
    say(f"submit: {n_left} submissions are left today" if n_left is not None else "submit: Kaggle names no daily limit")


def wait_for_score(session: KaggleSession, ledger: Ledger, slug: str, entry: Entry, *, wait_s: float) -> Entry:
    """Ask until Kaggle has scored the submission or `wait_s` are over; the ledger follows. Raises KaggleError."""
    if entry.status == "complete" or entry.ref is None:
        return entry
    end = Clock.now() + wait_s
    n_asked = 0
    with progress_bar("score") as update:
        while True:
            found = _look(session, slug, entry.ref)
            if found is not None:
                entry = ledger.put(_scored(entry, found))
                if found.status == "error":
                    raise KaggleError(
                        f"took the submission (ref {entry.ref}) but could not score it: "
                        f"{found.error or 'it does not say why'}",
                        kind="not scored",
                        where=slug,
                        hint=f"See {COMPETITION_URL.format(slug=slug)}/submissions",
                    )
            if entry.status == "complete" or Clock.now() >= end:
                return entry
            update(0.0, f"ref {entry.ref}: Kaggle is scoring")
            Clock.sleep(POLL_DELAYS_S[min(n_asked, len(POLL_DELAYS_S) - 1)])
            n_asked += 1


def _settled(session: KaggleSession, ledger: Ledger, submission: SubmissionFile) -> Entry | None:
    """The line of this content if it was ever sent, by the ledger or by its tag at Kaggle; None when it was not.

    An intent without an outcome is waited for: a request that was under way when the process died may still arrive.
    """
    entry = ledger.find(submission.sha256)
    if entry is not None and entry.ref is not None:
        return entry
    if entry is not None:
        say("submit: an earlier run was cut off while sending this file; asking Kaggle what became of it")
    found = _find_by_tag(session, submission)
    while found is None and entry is not None and (rest := _age_left(entry)) > 0:
        Clock.sleep(min(rest, SETTLE_EVERY_S))
        found = _find_by_tag(session, submission)
    if found is None:
        return None
    say(f"submit: Kaggle has this file already (ref {found.ref}); it is not sent again")
    return ledger.put(_scored(entry or submission.entry(), found))


def _age_left(entry: Entry) -> float:
    """Seconds until a submission that Kaggle does not list is certain not to come."""
    return datetime.fromisoformat(entry.time).timestamp() + SETTLE_S - Clock.now()


def _find_by_tag(session: KaggleSession, submission: SubmissionFile) -> SubmissionStatus | None:
    tag = tag_of(submission.sha256)
    return next((one for one in session.submissions(submission.slug) if tag in one.description.split()), None)


def _check_standing(competition: Competition, submission: SubmissionFile) -> None:
    slug = submission.slug
    if competition.is_code_only and not submission.is_code:
        raise KaggleError(
            "is a code competition: Kaggle takes notebooks there, not files",
            kind="code competition",
            where=slug,
            hint=f"`make kernel COMPETITION={slug}` runs the final training as a notebook on Kaggle.",
        )
    if not competition.has_entered:
        raise KaggleError(
            "the rules were not accepted yet",
            kind="rules",
            where=slug,
            hint=f"Accept them once in the browser: {RULES_URL.format(slug=slug)}",
        )
    if competition.is_closed:
        raise KaggleError("takes no submissions", kind="closed", where=slug, hint=COMPETITION_URL.format(slug=slug))
    if competition.deadline is not None and competition.deadline.timestamp() < Clock.now():
        say(f"submit: the deadline was {competition.deadline:%Y-%m-%d %H:%M} UTC; this is a late submission")


def _slots_left(session: KaggleSession, competition: Competition, slug: str) -> int | None:
    """Submissions still allowed now; counted from the list where Kaggle does not tell; None without a limit."""
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


def _as_file(session: KaggleSession, submission: SubmissionFile) -> Sender:
    return Sender(
        prepare=lambda: session.upload(submission.slug, submission.file),
        create=lambda token, description: session.create_submission(submission.slug, token, description),
    )


def _send(session: KaggleSession, ledger: Ledger, submission: SubmissionFile, sender: Sender) -> Entry:
    """Upload, intent, submission; in doubt whether Kaggle heard it, Kaggle is asked."""
    token = sender.prepare()
    entry = ledger.put(submission.entry())
    try:
        ref = sender.create(token, entry.description)
    except KaggleError as error:
        if error.kind not in DOUBTFUL:
            ledger.drop(entry)
            raise
        entry = _after_doubt(session, ledger, submission, entry, error)
    else:
        entry = ledger.put(replace(entry, ref=ref, status="pending"))
    say(f"submit: Kaggle took {submission.file.name} (ref {entry.ref})")
    return entry


def _after_doubt(
    session: KaggleSession, ledger: Ledger, submission: SubmissionFile, entry: Entry, error: KaggleError
) -> Entry:
    """The submission whose answer was lost, found by its tag; else the error, with the intent left to settle."""
    say(f"submit: {error.what}; asking Kaggle whether it took the file")
    try:
        for delay in LOOK_AGAIN_S:
            Clock.sleep(delay)
            found = _find_by_tag(session, submission)
            if found is not None:
                return ledger.put(_scored(entry, found))
    except KaggleError as second:
        say(f"submit: {second.what}")
    raise KaggleError(
        f"{error.what}; whether Kaggle took the file is not certain yet",
        kind=error.kind,
        where=error.where,
        hint="Run the same command again: it asks Kaggle first and sends nothing twice.",
    ) from error


def _look(session: KaggleSession, slug: str, ref: int) -> SubmissionStatus | None:
    """The submission, or None while Kaggle does not show it yet."""
    try:
        return session.submission(slug, ref)
    except KaggleError as error:
        if error.kind == "not found":
            return None
        raise KaggleError(
            f"{error.what}; the file itself was taken (ref {ref})",
            kind=error.kind,
            where=error.where,
            hint=f"Run the same command again to fetch the score. {error.hint}".strip(),
        ) from error


def _scored(entry: Entry, found: SubmissionStatus) -> Entry:
    return replace(
        entry,
        ref=found.ref,
        status=found.status,
        public_score=found.public_score,
        private_score=found.private_score,
    )
