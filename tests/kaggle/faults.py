"""The faults that a request can meet, by name, and the operations whose main request they affect."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import TINY
from tests.kaggle.conftest import SAME_RUN
from tests.kaggle.server import REFRESH_TOKEN, SIGNATURE, TOKEN, USER, Fault, KaggleServer, page, status

RULES = "You must accept this competition's rules before you'll be able to download files."
ALLOWANCE = "Submission not allowed: Your team has used its submission allowance (5 of 5). This resets at midnight UTC."
RATE = {"error": {"code": 429, "message": "Too many requests", "status": "RESOURCE_EXHAUSTED"}}


def without_numbers(value: Any) -> Any:
    """Return the JSON value with null in place of every number."""
    if isinstance(value, dict):
        return {key: without_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_numbers(one) for one in value]
    return None if isinstance(value, int | float) and not isinstance(value, bool) else value


FAULTS: dict[str, Callable[..., Fault]] = {
    "401": lambda **o: status(401, "Unauthorized access", **o),
    "403 rules": lambda **o: status(403, RULES, **o),
    "403 spelling": lambda **o: status(403, "Permission 'competitions.participate' was denied", **o),
    "403 phone": lambda **o: status(403, "You must verify your phone number first.", **o),
    "403 closed": lambda **o: status(403, "The competition is closed to new entrants.", **o),
    "404": lambda **o: status(404, "Not found", **o),
    "429": lambda **o: Fault(status=429, body=RATE, headers={"Retry-After": "86400"}, **o),
    "400 daily limit": lambda **o: status(400, ALLOWANCE, **o),
    "500": lambda **o: status(500, "Internal error", **o),
    "503": lambda **o: status(503, "Unavailable", **o),
    "maintenance page, 503": lambda **o: page(503, **o),
    "maintenance page, 200": lambda **o: page(200, **o),
    "truncated body": lambda **o: Fault(cut_at=1, **o),
    "wrong JSON": lambda **o: Fault(status=200, body=b'["surprise"]', is_after=True, **o),
    "no JSON": lambda **o: Fault(status=200, body=b"{", is_after=True, **o),
    "dropped": lambda **o: Fault(drops=True, **o),
    "lost answer": lambda **o: Fault(drops=True, is_after=True, **o),
    "stalled": lambda **o: Fault(stalls=True, **o),
    "drip": lambda **o: Fault(drips=True, **o),
    "other JSON": lambda **o: Fault(status=200, body={"code": 200}, is_after=True, **o),
    "empty object": lambda **o: Fault(status=200, body={}, is_after=True, **o),
    "empty body": lambda **o: Fault(status=200, body=b"", is_after=True, **o),
    "null for numbers": lambda **o: Fault(change=without_numbers, **o),
    "secrets in the answer": lambda **o: status(400, f"Invalid header b'Bearer {TOKEN}' ?signature={SIGNATURE}", **o),
}
NOT_UNDERSTOOD = {"wrong JSON", "no JSON", "other JSON", "empty object", "empty body", "null for numbers"}
TRANSIENT = {
    "429",
    "500",
    "503",
    "maintenance page, 503",
    "truncated body",
    "dropped",
    "lost answer",
    "stalled",
    "drip",
    "other JSON",
    "no JSON",
}


@dataclass(frozen=True)
class Operation:
    """A command with its options, the endpoint of its main request, and what must be so before."""

    command: str
    endpoint: str
    is_retried: bool = True
    options: tuple[str, ...] = ()
    is_code_only: bool = False  # the competition accepts notebooks only
    is_oauth: bool = False  # the user is logged in by OAuth, with an access token that has expired

    def set_up(self, server: KaggleServer) -> None:
        """Set the kind of the competition, and the credentials in the environment and below HOME."""
        server.competition["isKernelsSubmissionsOnly"] = self.is_code_only
        login = Path.home() / ".kaggle" / "credentials.json"
        login.unlink(missing_ok=True)
        os.environ["KAGGLE_API_TOKEN"] = TOKEN
        if self.is_oauth:
            del os.environ["KAGGLE_API_TOKEN"]
            login.parent.mkdir(parents=True, exist_ok=True)
            tokens = {"refresh_token": REFRESH_TOKEN, "access_token": "expired"}
            record = {**tokens, "access_token_expiration": "2020-01-01T00:00:00+00:00", "username": USER}
            login.write_text(json.dumps(record))


def _submit(endpoint: str, *, is_retried: bool = True) -> Operation:
    return Operation("submit", endpoint, is_retried, tuple(TINY))


def _kernel(endpoint: str, *, is_retried: bool = True, is_code_only: bool = False) -> Operation:
    return Operation("kernel", endpoint, is_retried, tuple(SAME_RUN), is_code_only)


DATASET = ("--dataset", "ada/toy-data")

OPERATIONS = {
    "login": Operation("data", "IntrospectToken"),
    "token refresh": Operation("data", "GenerateAccessToken", is_oauth=True),
    "list": Operation("data", "ListDataFiles"),
    "download": Operation("data", "DownloadDataFiles"),
    "storage": Operation("data", "storage"),
    "metric": Operation("data", "GetCompetition"),
    "dataset list": Operation("data", "ListDatasetFiles", options=DATASET),
    "dataset download": Operation("data", "DownloadDataset", options=DATASET),
    "submissions": _submit("ListSubmissions"),
    "limits": _submit("GetSubmissionLimits"),
    "preflight": _submit("GetCompetition"),
    "upload start": _submit("StartSubmissionUpload"),
    "upload": _submit("upload"),
    "submit": _submit("CreateSubmission", is_retried=False),
    "score": _submit("GetSubmission"),
    "leaderboard": Operation("leaderboard", "GetLeaderboard"),
    "kernel search": _kernel("GetKernel"),
    "GPU quota": _kernel("GetAcceleratorQuotaStatistics"),
    "kernel push": _kernel("SaveKernel", is_retried=False),
    "kernel": _kernel("GetKernelSessionStatus"),
    "kernel output": _kernel("ListKernelSessionOutput"),
    "code submission": _kernel("CreateCodeSubmission", is_retried=False, is_code_only=True),
}

# A part of the message, by fault.
WORDS = {
    "401": "does not accept the credentials",
    "403 rules": "https://www.kaggle.com/competitions/toy/rules",
    "403 spelling": "is misspelled",
    "403 phone": "phone",
    "403 closed": "https://www.kaggle.com/competitions/toy",
    "404": "404",
    "429": "too many requests",
    "400 daily limit": "midnight UTC",
    "500": "on Kaggle's side",
    "503": "on Kaggle's side",
    "maintenance page, 503": "maintenance",
    "maintenance page, 200": "maintenance",
    "truncated body": "dropped",
    **dict.fromkeys(NOT_UNDERSTOOD, "unexpected response"),
    "dropped": "dropped",
    "lost answer": "dropped",
    "stalled": "timed out",
    "drip": "timed out",
    "secrets in the answer": "refused the request",
}
# The tests take a sample; `benchmarks/kaggle_faults.py` takes every fault in every operation.
EVERY_FAULT = ("submit",)
SOME_FAULTS = ("401", "other JSON", "drip")

CASES = [
    (name, operation) for operation in OPERATIONS for name in (FAULTS if operation in EVERY_FAULT else SOME_FAULTS)
]
TIMEOUT_S = 0.25  # in place of a minute
