"""Kaggle's responses, reduced to the few fields the pipeline reads and checked: a wrong type fails here, not later.

Reads the SDK's objects; does not know which request they answer.
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

    @classmethod
    def of(cls, response: Any) -> Competition:
        """Read an `ApiCompetition`. Raises ValueError if it names no competition."""
        if not (response.id or response.ref or response.title):
            raise ValueError("the response names no competition")
        return cls(
            title=_text(response.title),
            deadline=_time(response.deadline),
            has_entered=_flag(response.user_has_entered),
            is_code_only=_flag(response.is_kernels_submissions_only),
            is_closed=_flag(response.submissions_disabled),
            daily_limit=_count(response.max_daily_submissions),
            metric=_text(response.evaluation_metric),
            n_teams=_count(response.team_count),
            user_rank=_count(response.user_rank) if response.user_rank else None,
        )


@dataclass(frozen=True)
class Limits:
    """Submissions made today and submissions left now."""

    n_today: int
    n_left: int

    @classmethod
    def of(cls, response: Any) -> Limits:
        """Read an `ApiSubmissionLimits`."""
        return cls(_count(response.num_today), _count(response.num_allowed_now))


@dataclass(frozen=True)
class SubmissionStatus:
    """A submission as Kaggle reports it. A score is None until it is known."""

    ref: int
    status: Literal["pending", "complete", "error"]
    description: str
    date: datetime | None
    public_score: float | None
    private_score: float | None
    error: str
    team: str

    @classmethod
    def of(cls, response: Any) -> SubmissionStatus:
        """Read an `ApiSubmission`; an unknown status counts as pending."""
        status = getattr(response.status, "name", str(response.status)).lower()
        return cls(
            ref=positive_int(response.ref, "ref"),
            status="complete" if status == "complete" else "error" if status == "error" else "pending",
            description=_text(response.description),
            date=_time(response.date),
            public_score=_score(response.public_score),
            private_score=_score(response.private_score),
            error=_text(response.error_description),
            team=_text(response.team_name),
        )


@dataclass(frozen=True)
class LeaderboardRow:
    """A team's public score."""

    team: str
    score: float | None
    date: datetime | None

    @classmethod
    def of(cls, response: Any) -> LeaderboardRow:
        """Read an `ApiLeaderboardSubmission`."""
        return cls(_text(response.team_name), _score(response.score), _time(response.submission_date))


@dataclass(frozen=True)
class RemoteFile:
    """A file that Kaggle lists."""

    name: str
    n_bytes: int

    @classmethod
    def of(cls, response: Any) -> RemoteFile:
        """Read an `ApiDataFile` or `ApiDatasetFile`."""
        return cls(_text(response.name), _count(response.total_bytes))


def positive_int(value: Any, name: str) -> int:
    """Return `value`. Raises ValueError unless it is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"the response has no {name}: {value!r}")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a count, got {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool | None):
        raise ValueError(f"expected true or false, got {value!r}")
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str | None):
        raise ValueError(f"expected text, got {value!r}")
    return value or ""


def _time(value: Any) -> datetime | None:
    """Convert the client's naive time, which is UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


def _score(value: Any) -> float | None:
    """Convert a score, which is text and empty while unknown."""
    text = str(value or "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        return None
