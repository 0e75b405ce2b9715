"""Stage `leaderboard`: Kaggle's public leaderboard, your place, and the ledger's CV and public scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.base.progress import say
from pipeline.competition.workspace import Workspace
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client.responses import LeaderboardRow, SubmissionStatus
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.upload import with_status
from pipeline.scoring import fold_noise


def read_leaderboard(
    workspace: Workspace, spec: CompetitionSpec, *, n_rows: int
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Update the ledger; return the leaderboard's top, the ledger and lines that compare scores. Raises KaggleError."""
    session = KaggleSession.connect()
    slug = spec.kaggle_slug
    competition = session.competition(slug)
    submissions = session.submissions(slug)
    rows = session.leaderboard(slug, n_rows)
    ledger = Ledger(workspace.ledger)
    _refresh(ledger, submissions)
    team = next((one.team for one in submissions if one.team), "")
    place = competition.user_rank or next((rank for rank, row in enumerate(rows, 1) if row.team == team), None)
    if place is None:
        say(f"leaderboard: you are not among the {competition.n_teams} teams yet")
    else:
        say(f"leaderboard: place {place} of {competition.n_teams}{f' ({team})' if team else ''}")
    entries = ledger.entries()
    return _top(rows, team), _table(entries), compare_with_cv(workspace, entries)


def compare_with_cv(workspace: Workspace, entries: Sequence[Entry]) -> list[str]:
    """Return lines on how CV and public scores agree; warnings start with `warning:`."""
    scored = [(entry, entry.public_score) for entry in entries if entry.public_score is not None]
    if not scored:
        return ["no submission in the ledger has a public score yet"]
    cv = [entry.cv_score for entry, _ in scored]
    public = [score for _, score in scored]
    folds = [_fold_scores(workspace, entry) for entry, _ in scored]
    correlation = fold_noise.rank_correlation(cv, public)
    lines = [
        f"rank correlation of cv and public score over {len(scored)} submissions: "
        + ("too few different scores" if correlation is None else f"{correlation:.2f}")
    ]
    lines += [
        f"warning: cv and leaderboard disagree beyond fold noise on {scored[i][0].run} and {scored[j][0].run}: "
        "check the folds for leaks, groups and time order"
        for i, j in fold_noise.contradictions(public, folds)
    ]
    off = [
        entry.run
        for (entry, score), values in zip(scored, folds, strict=True)
        if fold_noise.is_off(entry.cv_score, score, values)
    ]
    if off:
        lines.append(
            f"warning: the public score of {', '.join(off)} is farther from its cv than the folds are from each other: "
            "the test rows differ from the train rows, or the folds leak"
        )
    return lines


def _refresh(ledger: Ledger, submissions: Sequence[SubmissionStatus]) -> None:
    """Update scores and statuses in the ledger."""
    for entry in ledger.entries():
        found = next((s for s in submissions if s.ref == entry.ref or entry.tag in s.description.split()), None)
        if found is not None and with_status(entry, found) != entry:
            ledger.put(with_status(entry, found))


def _fold_scores(workspace: Workspace, entry: Entry) -> fold_noise.FoldScores | None:
    """Return the run's fold scores; None if it is no longer the run that was uploaded."""
    path = workspace.run(entry.run).report
    report = RunReport.read_or_none(path, otherwise="the run is skipped", may_be_newer=True)
    if report is None or report.cv_score != entry.cv_score:
        return None
    return np.asarray(report.fold_scores, dtype=np.float64)


def _top(rows: Sequence[LeaderboardRow], team: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "place": range(1, len(rows) + 1),
            "team": [f"{row.team} <- you" if team and row.team == team else row.team for row in rows],
            "public score": [_number(row.score) for row in rows],
            "date": [f"{row.date:%Y-%m-%d}" if row.date else "" for row in rows],
        }
    )


def _table(entries: Sequence[Entry]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": [entry.time[:16].replace("T", " ") for entry in entries],
            "run": [entry.run for entry in entries],
            "cv": [_number(entry.cv_score) for entry in entries],
            "public": [_number(entry.public_score) for entry in entries],
            "private": [_number(entry.private_score) for entry in entries],
            "ref": ["" if entry.ref is None else str(entry.ref) for entry in entries],
            "status": [entry.status for entry in entries],
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
