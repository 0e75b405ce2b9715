"""Stage `leaderboard`: Kaggle's public leaderboard, your rank, the medal lines, and the ledger with both scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.base.progress import say
from pipeline.competition.workspace import Workspace
from pipeline.config.records import Place
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.client.responses import LeaderboardRow
from pipeline.kaggle.client.session import KaggleSession
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.kaggle.medals import medal_ranks
from pipeline.scoring import fold_noise
from pipeline.scoring.submitted import report_of


@dataclass(frozen=True)
class Standing:
    """The public leaderboard, the user's rank on it, and the ledger."""

    competition: str
    n_teams: int
    awards_medals: bool
    team: str  # "" before the first submission
    rank: int | None
    n_shown: int  # rows of the table
    rows: Sequence[LeaderboardRow]  # best first, at least as far as the last medal
    entries: Sequence[Entry]
    remarks: Sequence[str]  # how cv and public scores agree

    @property
    def percentile(self) -> float | None:
        """The share of teams down to the user's rank, in percent: 1.0 is the top 1 %."""
        return None if self.rank is None or not self.n_teams else 100 * self.rank / self.n_teams

    @property
    def medals(self) -> list[dict[str, Any]]:
        """Each medal with its last rank and the score there."""
        return [
            {"medal": medal, "rank": rank, "score": self.rows[rank - 1].score if rank <= len(self.rows) else None}
            for medal, rank in medal_ranks(self.n_teams).items()
            if rank
        ]

    @property
    def shown(self) -> list[tuple[int, LeaderboardRow]]:
        """The first rows and the user's own, each with its rank."""
        ranked = list(enumerate(self.rows, start=1))
        own = [one for one in ranked[self.n_shown :] if self.team and one[1].team == self.team]
        return ranked[: self.n_shown] + own[:1]

    @property
    def lines(self) -> list[str]:
        """The medal lines, then the remarks."""
        medals = [f"{one['medal']} to rank {one['rank']} ({_number(one['score']) or '-'})" for one in self.medals]
        note = "" if self.awards_medals else "; this competition may award none"
        return ([f"medals for {self.n_teams} teams{note}: {', '.join(medals)}"] if medals else []) + [*self.remarks]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON's types."""
        names = ("competition", "n_teams", "rank", "percentile", "team", "awards_medals", "medals")
        board = [
            {"rank": rank, "team": row.team, "score": row.score, "date": row.date and row.date.isoformat()}
            for rank, row in self.shown
        ]
        ledger = [asdict(entry) for entry in self.entries]
        facts = {name: getattr(self, name) for name in names}
        return facts | {"leaderboard": board, "ledger": ledger, "remarks": list(self.remarks)}


def read_leaderboard(workspace: Workspace, spec: CompetitionSpec, *, n_rows: int) -> Standing:
    """Enter all submissions of the team in the ledger, record its place, and return the leaderboard.

    Raises KaggleError.
    """
    session = KaggleSession.connect()
    slug = spec.kaggle_slug
    competition = session.competition(slug)
    submissions = session.submissions(slug)
    ledger = Ledger(workspace.ledger)
    ledger.merge(submissions)
    team = next((one.team for one in submissions if one.team), "")
    last_medal = max(medal_ranks(competition.n_teams).values())
    last_own = competition.user_rank or (competition.n_teams if team else 0)  # an unknown rank is searched for
    rows = session.leaderboard(slug, max(n_rows, last_medal, last_own))
    rank = competition.user_rank or next((rank for rank, row in enumerate(rows, 1) if team and row.team == team), None)
    entries = ledger.entries()
    standing = Standing(
        competition=slug,
        n_teams=max(competition.n_teams, len(rows)),
        awards_medals=competition.has_medals,
        team=team,
        rank=rank,
        n_shown=n_rows,
        rows=rows,
        entries=entries,
        remarks=compare_with_cv(workspace, entries),
    )
    Place(
        rank=rank,
        n_teams=standing.n_teams,
        awards_medals=standing.awards_medals,
        asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
    ).write(workspace.place)
    if rank is None:
        say(f"leaderboard: you are not among the {standing.n_teams} teams yet")
    else:
        mine = f" ({team})" if team else ""
        say(f"leaderboard: place {rank} of {standing.n_teams}{mine}, top {standing.percentile:.1f} %")
    return standing


def compare_with_cv(workspace: Workspace, entries: Sequence[Entry]) -> list[str]:
    """Return lines on how CV and public scores agree; warnings start with `warning:`."""
    scored = [
        (entry, entry.cv_score, entry.public_score)
        for entry in entries
        if entry.public_score is not None and entry.cv_score is not None
    ]
    if not scored:
        return ["no submission in the ledger has a public score yet"]
    cv = [score for _, score, _ in scored]
    public = [score for _, _, score in scored]
    folds = [_fold_scores(workspace, entry) for entry, _, _ in scored]
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
        for (entry, cv_score, score), values in zip(scored, folds, strict=True)
        if fold_noise.is_off(cv_score, score, values)
    ]
    if off:
        lines.append(
            f"warning: the public score of {', '.join(off)} is farther from its cv than the folds are from each other: "
            "the test rows differ from the train rows, or the folds leak"
        )
    return lines


def _fold_scores(workspace: Workspace, entry: Entry) -> fold_noise.FoldScores | None:
    report = report_of(workspace, entry)
    return None if report is None else np.asarray(report.fold_scores, dtype=np.float64)


def board_frame(standing: Standing) -> pd.DataFrame:
    """Return the rows to show as a table."""
    return pd.DataFrame(
        {
            "place": [rank for rank, _ in standing.shown],
            "team": [
                f"{row.team} <- you" if standing.team and row.team == standing.team else row.team
                for _, row in standing.shown
            ],
            "public score": [_number(row.score) for _, row in standing.shown],
            "date": [f"{row.date:%Y-%m-%d}" if row.date else "" for _, row in standing.shown],
        }
    )


def ledger_frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return the ledger as a table."""
    return pd.DataFrame(
        {
            "time": [entry.time[:16].replace("T", " ") for entry in entries],
            "run": [entry.run or f"by hand: {entry.note or entry.file}" for entry in entries],
            "cv": [_number(entry.cv_score) for entry in entries],
            "public": [_number(entry.public_score) for entry in entries],
            "private": [_number(entry.private_score) for entry in entries],
            "ref": ["" if entry.ref is None else str(entry.ref) for entry in entries],
            "status": ["in doubt" if entry.status == "sending" else entry.status for entry in entries],
            "by": [entry.submitted_by for entry in entries],
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
