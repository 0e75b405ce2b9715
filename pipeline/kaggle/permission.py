"""Whether Kaggle would take a submission, asked before anything is sent.

Knows a Kaggle session and what the spec says; must not know the ledger, or how a file is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.base.errors import KaggleError, SpecError
from pipeline.base.progress import say
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client.calls import Clock
from pipeline.kaggle.client.credentials import find_credentials
from pipeline.kaggle.client.errors import HINTS, rules_not_accepted
from pipeline.kaggle.client.responses import Competition
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.client.urls import COMPETITION_URL, SETTINGS_URL
from pipeline.metrics.kaggle_names import contradicts, metrics_of_kaggle


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


def check_before_sending(
    session: KaggleSession,
    slug: str,
    *,
    is_notebook: bool,
    may_use_last_slot: bool,
    metric: str,
    kaggle_metric: str | None,
) -> int | None:
    """Raise KaggleError for everything Kaggle would refuse, SpecError for another metric, before anything is sent.

    `kaggle_metric` is Kaggle's name for `metric` by the spec.
    Returns how many submissions Kaggle counts today, None if it does not say.
    """
    competition = session.competition(slug)
    if competition.is_code_only and not is_notebook:
        what = "is a code competition, which accepts notebooks rather than files"
        hint = f"`make kernel COMPETITION={slug}` runs the final training as a notebook on Kaggle."
        raise KaggleError(what, kind="code competition", where=slug, hint=hint)
    if not competition.has_entered:
        raise rules_not_accepted(slug)
    if competition.is_closed:
        raise KaggleError("takes no submissions", kind="closed", where=slug, hint=COMPETITION_URL.format(slug=slug))
    _check_metric(competition, slug, metric, kaggle_metric)
    if competition.deadline is not None and competition.deadline.timestamp() < Clock.now():
        say(f"submit: the deadline was {competition.deadline:%Y-%m-%d %H:%M} UTC; this is a late submission")
    n_today, n_left = _slots(session, competition, slug)
    if n_left == 0:
        raise KaggleError("no submissions left today", kind="daily limit", where=slug, hint=HINTS["daily limit"])
    if n_left == 1 and not may_use_last_slot:
        what = "this would be the last submission of the day"
        hint = "Confirm with --yes (`make submit YES=1`), or wait until midnight UTC."
        raise KaggleError(what, kind="last slot", where=slug, hint=hint)
    say("submit: Kaggle reports no daily limit" if n_left is None else f"submit: {n_left} submissions left today")
    return n_today


def _check_metric(competition: Competition, slug: str, metric: str, known_as: str | None) -> None:
    if not contradicts(metric, competition.metric) or known_as == competition.metric:
        return
    wanted = " or ".join(metrics_of_kaggle(competition.metric))
    raise SpecError(
        f"Kaggle scores by {competition.metric!r} ({wanted}), the spec by {metric!r}",
        where=slug,
        hint=f'Correct `metric` in the spec, or set kaggle_metric = "{competition.metric}" if it is right as it is.',
    )


def _slots(session: KaggleSession, competition: Competition, slug: str) -> tuple[int | None, int | None]:
    """Return the submissions made today and left, counted from the list if Kaggle does not report them.

    Both are None without a limit.
    """
    try:
        limits = session.limits(slug)
        return limits.n_today, limits.n_left
    except KaggleError as error:
        if error.kind != "not found":
            raise
    if not competition.daily_limit:
        return None, None
    today = datetime.fromtimestamp(Clock.now(), UTC).date()
    n_today = sum(one.date is not None and one.date.date() == today for one in session.submissions(slug))
    return None, max(0, competition.daily_limit - n_today)
