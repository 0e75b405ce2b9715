"""The faults that a request can meet, by name, and the operations whose main request they affect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.kaggle.server import Fault, page, status

RULES = "You must accept this competition's rules before you'll be able to download files."
ALLOWANCE = "Submission not allowed: Your team has used its submission allowance (5 of 5). This resets at midnight UTC."
RATE = {"error": {"code": 429, "message": "Too many requests", "status": "RESOURCE_EXHAUSTED"}}

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
}
TRANSIENT = {
    "429",
    "500",
    "503",
    "maintenance page, 503",
    "truncated body",
    "dropped",
    "lost answer",
    "stalled",
}


@dataclass(frozen=True)
class Operation:
    """A command and the endpoint of its main request."""

    command: str
    endpoint: str
    is_read: bool = True


OPERATIONS = {
    "login": Operation("data", "IntrospectToken"),
    "list": Operation("data", "ListDataFiles"),
    "download": Operation("data", "DownloadDataFiles"),
    "storage": Operation("data", "storage"),
    "preflight": Operation("submit", "GetCompetition"),
    "upload start": Operation("submit", "StartSubmissionUpload", is_read=False),
    "upload": Operation("submit", "upload", is_read=False),
    "submit": Operation("submit", "CreateSubmission", is_read=False),
    "score": Operation("submit", "GetSubmission"),
    "leaderboard": Operation("leaderboard", "GetLeaderboard"),
    "kernel push": Operation("kernel", "SaveKernel", is_read=False),
    "kernel": Operation("kernel", "GetKernelSessionStatus"),
    "kernel output": Operation("kernel", "ListKernelSessionOutput"),
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
    "wrong JSON": "unexpected response",
    "no JSON": "unexpected response",
    "dropped": "dropped",
    "lost answer": "dropped",
    "stalled": "timed out",
}
EVERY_FAULT = ("download", "submit", "score", "leaderboard", "kernel")  # tested with all faults; the others with these:
SOME_FAULTS = ("401", "403 rules", "500", "maintenance page, 200", "wrong JSON", "dropped")

CASES = [
    (name, operation) for operation in OPERATIONS for name in (FAULTS if operation in EVERY_FAULT else SOME_FAULTS)
]
STALL_TIMEOUT_S = 0.25
