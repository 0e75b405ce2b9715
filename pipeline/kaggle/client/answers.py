"""What Kaggle answers, as the few fields the pipeline reads, checked: a wrong type is an error here, not later.

Takes the SDK's objects; knows nothing of how they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal


@dataclass(frozen=True)
class Competition:
    """A competition and the user's standing in it."""

    title: str
    deadline: datetime | None
    has_entered: bool
    is_code_only: bool
    is_closed: bool
    daily_limit: int
    metric: str
    n_teams: int
    user_rank: int | None


@dataclass(frozen=True)
class Limits:
    """Submissions made today and still allowed now."""

    n_today: int
    n_left: int
    is_limited_by_total: bool


@dataclass(frozen=True)
class SubmissionStatus:
    """One submission at Kaggle; a score is None until it is known. `status` is pending, complete or error."""

    ref: int
    status: Literal["pending", "complete", "error"]
    description: str
    date: datetime | None
    public_score: float | None
    private_score: float | None
    error: str
    team: str


@dataclass(frozen=True)
class LeaderboardRow:
    """A team's place."""

    rank: int
    team: str
    score: float | None
    date: datetime | None


@dataclass(frozen=True)
class RemoteFile:
    """A file Kaggle lists."""

    name: str
    n_bytes: int


def competition_of(answer: Any) -> Competition:
    """An `ApiCompetition`. Raises ValueError for an answer that names no competition."""
    if not (answer.id or answer.ref or answer.title):
        raise ValueError("the answer names no competition")
    rank = answer.user_rank
    return Competition(
        title=_text(answer.title),
        deadline=_time(answer.deadline),
        has_entered=_flag(answer.user_has_entered),
        is_code_only=_flag(answer.is_kernels_submissions_only),
        is_closed=_flag(answer.submissions_disabled),
        daily_limit=_count(answer.max_daily_submissions),
        metric=_text(answer.evaluation_metric),
        n_teams=_count(answer.team_count),
        user_rank=_count(rank) if rank else None,
    )


def limits_of(answer: Any) -> Limits:
    """An `ApiSubmissionLimits`."""
    return Limits(_count(answer.num_today), _count(answer.num_allowed_now), _flag(answer.limited_by_total))


def submission_of(answer: Any) -> SubmissionStatus:
    """An `ApiSubmission`; a status this version does not know counts as pending."""
    ref = _count(answer.ref)
    if not ref:
        raise ValueError("the answer holds a submission without a ref")
    status = getattr(answer.status, "name", str(answer.status)).lower()
    return SubmissionStatus(
        ref=ref,
        status="complete" if status == "complete" else "error" if status == "error" else "pending",
        description=_text(answer.description),
        date=_time(answer.date),
        public_score=_score(answer.public_score),
        private_score=_score(answer.private_score),
        error=_text(answer.error_description),
        team=_text(answer.team_name),
    )


def leaderboard_row_of(answer: Any) -> LeaderboardRow:
    """An `ApiLeaderboardSubmission`; its rank is its place in the list, which it does not know: 0."""
    return LeaderboardRow(0, _text(answer.team_name), _score(answer.score), _time(answer.submission_date))


def remote_file_of(answer: Any) -> RemoteFile:
    """An `ApiDataFile` or `ApiDatasetFile`."""
    return RemoteFile(_text(answer.name), _count(answer.total_bytes))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} where a count was expected")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool | None):
        raise ValueError(f"{value!r} where true or false was expected")
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise ValueError(f"{value!r} where text was expected")
    return value or ""


def _time(value: Any) -> datetime | None:
    """The client's times are naive and mean UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


def _score(value: Any) -> float | None:
    """Kaggle's scores are text, empty when unknown."""
    text = str(value or "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        return None
