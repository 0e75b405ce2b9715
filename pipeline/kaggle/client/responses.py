"""Kaggle's responses, reduced to the few fields the pipeline reads and checked: a wrong type fails here, not later.

Reads the SDK's objects, and the JSON they are made of; does not know why it was requested.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    create_model,
)

from pipeline.config.artifact import describe_mistake


def _utc(value: Any) -> datetime | None:
    """Convert the client's naive time, which is UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


def _number(value: Any) -> float | None:
    """Convert a score, which is text and empty while unknown. Raises ValueError for any other text."""
    number = float(str(value)) if value not in (None, "") else math.nan
    return number if math.isfinite(number) else None


def _status(value: Any) -> str:
    name = str(getattr(value, "name", value)).lower()
    return name if name in ("complete", "error") else "pending"


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]
Time = Annotated[datetime | None, BeforeValidator(_utc)]
Score = Annotated[float | None, BeforeValidator(_number)]


class Response(BaseModel):
    """An object of the SDK; an alias is the SDK's name of a field."""

    model_config = ConfigDict(frozen=True, strict=True, from_attributes=True)

    @classmethod
    def of(cls, response: Any) -> Self:
        """Read the SDK's object. Raises ValueError that names the wrong fields."""
        try:
            return cls.model_validate(response)
        except ValidationError as error:
            raise ValueError("; ".join(map(describe_mistake, error.errors()))) from error


class Competition(Response):
    """A competition and the user's standing in it."""

    title: Text
    deadline: Time
    has_entered: Flag = Field(validation_alias="user_has_entered")
    is_code_only: Flag = Field(validation_alias="is_kernels_submissions_only")
    is_closed: Flag = Field(validation_alias="submissions_disabled")
    daily_limit: NonNegativeInt = Field(validation_alias="max_daily_submissions")
    metric: Text = Field(validation_alias="evaluation_metric")
    has_medals: Flag = Field(validation_alias="awards_points")
    n_teams: NonNegativeInt = Field(validation_alias="team_count")
    user_rank: Annotated[PositiveInt | None, BeforeValidator(lambda rank: rank or None)]

    @classmethod
    def of(cls, response: Any) -> Self:
        """Read an `ApiCompetition`. Raises ValueError, also if it names no competition."""
        if not (response.id or response.ref or response.title):
            raise ValueError("the response names no competition")
        return super().of(response)


class Limits(Response):
    """Submissions made today and submissions left now."""

    n_today: NonNegativeInt = Field(validation_alias="num_today")
    n_left: NonNegativeInt = Field(validation_alias="num_allowed_now")


class SubmissionStatus(Response):
    """A submission as Kaggle reports it. A score is None until it is known; an unknown status counts as pending."""

    ref: PositiveInt
    status: Annotated[Literal["pending", "complete", "error"], BeforeValidator(_status)]
    description: Text
    date: Time
    public_score: Score
    private_score: Score
    error: Text = Field(validation_alias="error_description")
    team: Text = Field(validation_alias="team_name")
    file_name: Text
    submitted_by: Text


class LeaderboardRow(Response):
    """A team's public score."""

    team: Text = Field(validation_alias="team_name")
    score: Score
    date: Time = Field(validation_alias="submission_date")


class RemoteFile(Response):
    """A file that Kaggle lists."""

    name: Text
    n_bytes: NonNegativeInt = Field(validation_alias="total_bytes")


class _Submission(BaseModel):
    ref: PositiveInt
    status: str


class _File(BaseModel):
    name: str
    totalBytes: NonNegativeInt


_Object = dict[str, Any]
ANSWERS: dict[str, Any] = {  # endpoint -> keys that its answer must have; the SDK takes a missing one for 0 or []
    "CreateCodeSubmission": {"ref": PositiveInt},
    "CreateSubmission": {"ref": PositiveInt},
    "GenerateAccessToken": {"token": str, "expiresIn": PositiveInt},
    "GetCompetition": {"userHasEntered": bool},
    "GetDataset": {"ref": str},
    "GetDatasetStatus": {"status": str},
    "GetKernel": {"metadata": _Object, "blob": _Object},
    "GetKernelSessionStatus": {"status": str},
    "GetLeaderboard": {"submissions": list[_Object]},
    "GetSubmission": {"ref": PositiveInt, "status": str},
    "GetSubmissionLimits": {"numToday": NonNegativeInt, "numAllowedNow": NonNegativeInt},
    "IntrospectToken": {"active": bool},
    "ListCompetitions": {"competitions": list[_Object]},
    "ListDataFiles": {"files": list[_File]},
    "ListDatasetFiles": {"datasetFiles": list[_File]},
    "ListKernelSessionOutput": {"files": list[_Object]},
    "ListSubmissions": {"submissions": list[_Submission]},
    "StartBlobUpload": {"token": str, "createUrl": str},
    "StartSubmissionUpload": {"token": str, "createUrl": str},
}
ENVELOPE = {"code", "message", "status", "details"}  # of an error


def check_answer(endpoint: str, body: Any) -> None:
    """Raise ValueError that names what is wrong unless the JSON `body` is an answer of this endpoint."""
    if not isinstance(body, dict):
        raise ValueError("the response is not a JSON object")
    if "code" in body and set(body) <= ENVELOPE:
        raise ValueError(f"the response has only {', '.join(sorted(body))}")
    try:
        _answer(endpoint).model_validate(body, strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(map(describe_mistake, error.errors()))) from error
    if endpoint == "IntrospectToken" and body["active"] and not body.get("username"):
        raise ValueError("the response names no user")


@cache
def _answer(endpoint: str) -> type[BaseModel]:
    keys: dict[str, Any] = {key: (kind, ...) for key, kind in ANSWERS.get(endpoint, {}).items()}
    return create_model(endpoint, **keys)


def positive_int(value: Any, name: str) -> int:
    """Return `value`. Raises ValueError unless it is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"the response has no {name}: {value!r}")
    return value
