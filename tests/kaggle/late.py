"""Submissions that Kaggle records or shows late: one case is several runs of the same upload, without waiting."""

from __future__ import annotations

import collections
import hashlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pipeline.base.errors import KaggleError
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.ledger import Ledger
from pipeline.kaggle.upload import SubmissionFile, send_once
from tests.kaggle.server import Fault, KaggleServer

DELAYS_S = (0.0, 5.0, 60.0, 120.0, 1000.0)
RESPONSES: dict[str, Fault | None] = {
    "answered": None,
    "lost answer": Fault(drops=True, is_after=True),
    "500 after": Fault(status=500, body={"code": 500, "message": "Internal error"}, is_after=True),
    "page after": Fault(status=200, body=b"<html></html>", content_type="text/html", is_after=True),
    "503, not accepted": Fault(status=503, body={"code": 503, "message": "Unavailable"}),
    "killed before": None,
    "killed after": None,
}
GAPS_S = ((1.0, 1.0, 1.0), (100.0, 100.0, 2000.0), (0.0, 3600.0, 90_000.0))  # before the second, third, fourth run


class Killed(BaseException):
    """Raised where the process is killed; no cleanup handles it."""


@dataclass(frozen=True)
class LateCase:
    """How Kaggle answers the first run, how late it records and then shows the submission, and when runs follow."""

    response: str
    record_delay_s: float
    show_delay_s: float
    gaps_s: tuple[float, ...]

    def run(self, server: KaggleServer, folder: Path, number: int) -> collections.Counter[str]:
        """Upload a file, upload it again after each gap, and count what went wrong.

        Sets the delays and the faults of `server`, whose clock is the client's.
        """
        path = folder / f"late-{number}.csv"
        path.write_text(f"id,price\n1,{number}\n")
        content = path.read_bytes()
        submission = SubmissionFile("toy", path, hashlib.sha256(content).hexdigest(), f"late-{number}", "rmsle", 0.1)
        server.record_delay_s, server.show_delay_s = self.record_delay_s, self.show_delay_s
        session, ledger = KaggleSession.connect(), Ledger(folder / "ledger.csv")
        from pipeline.kaggle.client.calls import Clock

        for gap_s in (None, *self.gaps_s):
            Clock.sleep(gap_s or 0.0)
            server.faults.clear()
            if gap_s is None and (fault := RESPONSES[self.response]) is not None:
                server.fault("CreateSubmission", fault)
            death = self.response if gap_s is None and self.response.startswith("killed") else ""
            try:
                send_once(_Dying(session, death), ledger, submission, may_use_last_slot=True, wait_s=60.0)  # type: ignore[arg-type]
            except (KaggleError, Killed):
                continue
        Clock.sleep(5000.0)
        server.arrive()
        ledger.merge(session.submissions("toy"))
        refs = {one["ref"] for one in server.submissions if one["content"] == content}
        known = {entry.ref for entry in ledger.of(submission.sha256)}
        return collections.Counter(
            {"sent twice": max(0, len(refs) - 1), "missing": len(refs - known), "invented": len(known - refs - {None})}
        )


class _Dying:
    """A session whose process dies before or after it asks Kaggle to submit."""

    def __init__(self, session: KaggleSession, death: str) -> None:
        self.session, self.death = session, death

    def __getattr__(self, name: str) -> object:
        return getattr(self.session, name)

    def create_submission(self, *arguments: str) -> int:
        ref = 0 if self.death == "killed before" else self.session.create_submission(*arguments)
        if self.death:
            raise Killed
        return ref


LATE_CASES = [
    LateCase(response, record_s, show_s, gaps_s)
    for response, record_s, show_s, gaps_s in product(RESPONSES, DELAYS_S, DELAYS_S, GAPS_S)
]
