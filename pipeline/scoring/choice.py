"""Which two submissions of the ledger to select at Kaggle, and why in sentences.

Hands the numbers of the ledger, of the runs' reports and of the files that were sent to `selection`. Makes no request
to Kaggle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.competition.store import FeatureStore
from pipeline.config.run_report import RunReport
from pipeline.config.spec import CompetitionSpec
from pipeline.kaggle.ledger import Entry, Ledger
from pipeline.metrics import score_text
from pipeline.scoring.selection import RowCounts, Scored, Selection, select
from pipeline.scoring.submitted import correlations, prediction_of, report_of

USUAL_PUBLIC_SHARE = 0.3  # of the test rows, where the spec does not say
DOUBTED = 0.5  # probability of a fault from which it is said


@dataclass(frozen=True)
class Candidate:
    """A submission as `choose` sees it."""

    entry: Entry
    cv: float | None  # the nested estimate of an ensemble, otherwise the ledger's
    has_file: bool  # what was sent is here
    expected: float  # private score
    error: float  # standard error of its difference from the mean of all candidates
    contradiction: float  # how much worse the public score is than the cv says, in standard errors; NaN if unknown
    fault: float  # probability that this is more than noise

    @property
    def name(self) -> str:
        """The run, or what is known of a submission that was not made here."""
        return self.entry.run or f"by hand: {self.entry.note or self.entry.file}"

    @property
    def doubt(self) -> str:
        """Why its scores do not count as those of the others do; "" if they do."""
        if self.fault <= DOUBTED:
            return ""
        away = f"its public score is {abs(self.contradiction):.1f} standard errors"
        if self.contradiction > 0:
            return f"{away} worse than its cv says (a leak, or a fault in its test predictions): its cv hardly counts"
        return f"{away} better than its cv says (luck, or chosen by it): both count less"


@dataclass(frozen=True)
class ChosenPair:
    """Two candidates, the better one first, and the expected better one of their private scores."""

    first: Candidate
    second: Candidate
    expected: float
    correlation: float  # of their predictions


@dataclass(frozen=True)
class Choice:
    """Candidates and pairs of them, each best first, and why the first pair is."""

    candidates: list[Candidate]
    pairs: list[ChosenPair]
    cv_weight: float  # of a cv against the public score of the same submission, which has the rest
    why: list[str]

    @property
    def pair(self) -> ChosenPair:
        """The two to select."""
        return self.pairs[0]


def choose(store: FeatureStore) -> Choice | None:
    """Rank the ledger's submissions and all pairs; None for fewer than two different ones with a score."""
    scorer, sign = store.spec.scorer, -1.0 if store.spec.scorer.greater_is_better else 1.0
    entries = _different(Ledger(store.workspace.ledger).entries())
    if len(entries) < 2:
        return None
    reports = [report_of(store.workspace, entry) for entry in entries]
    cvs = [_cv(entry, report) for entry, report in zip(entries, reports, strict=True)]
    folds = [None if report is None else scorer.losses(report.fold_scores) for report in reports]
    predictions = [prediction_of(store, entry) for entry in entries]
    rows = _row_counts(store)
    scored = [
        Scored(_times(sign, cv), _times(sign, entry.public_score), of_folds)
        for entry, cv, of_folds in zip(entries, cvs, folds, strict=True)
    ]
    found = select(scored, correlations(predictions), rows)
    candidates = [
        Candidate(entry, cv, prediction is not None, sign * float(expected), float(error), float(away), float(fault))
        for entry, cv, prediction, expected, error, away, fault in zip(
            entries, cvs, predictions, found.expected, found.error, found.contradiction, found.fault, strict=True
        )
    ]
    pairs = []
    for pair in found.pairs:
        i, j = sorted((pair.first, pair.second), key=lambda number: float(found.expected[number]))
        pairs.append(ChosenPair(candidates[i], candidates[j], sign * pair.expected, float(found.correlation[i, j])))
    ranked = sorted(candidates, key=lambda one: sign * one.expected)
    return Choice(ranked, pairs, found.cv_weight, _why(store, ranked, pairs, found, rows))


def _different(entries: Sequence[Entry]) -> list[Entry]:
    """The submissions that Kaggle has, with a score; of the same content the newest one."""
    found: dict[object, Entry] = {}
    for entry in entries:
        if entry.is_sent and (entry.public_score is not None or entry.cv_score is not None):
            found[entry.tag if entry.sha256 else entry.ref] = entry
    return list(found.values())


def _cv(entry: Entry, report: RunReport | None) -> float | None:
    if report is not None and report.ensemble is not None:
        return report.ensemble.nested_score
    return entry.cv_score


def _times(sign: float, score: float | None) -> float | None:
    return None if score is None or not np.isfinite(score) else sign * score


def _row_counts(store: FeatureStore) -> RowCounts:
    manifest, n_test = store.manifest, len(store.sample_submission)
    share = USUAL_PUBLIC_SHARE if store.spec.public_share is None else store.spec.public_share
    n_public = min(max(1, round(share * n_test)), max(n_test - 1, 1))
    return RowCounts(manifest.n_train_rows - manifest.n_never_validated, n_public, max(n_test - n_public, 1))


def _why(
    store: FeatureStore, ranked: Sequence[Candidate], pairs: Sequence[ChosenPair], found: Selection, rows: RowCounts
) -> list[str]:
    """The reasons for the first pair, in sentences."""
    spec, best = store.spec, pairs[0]
    of_public = f"{rows.public:,} rows, {rows.public / (rows.public + rows.private):.0%} of the test rows"
    if spec.public_share is None:
        of_public += " (assumed: the competition's leaderboard page tells the share; set public_share in the spec)"
    lines = [
        f"{best.first.name}: {_places(spec, ranked, best.first)}",
        f"{best.second.name}: {_places(spec, ranked, best.second)}; {_second(ranked, pairs)}",
        f"a cv of {rows.cv:,} rows counts {found.cv_weight:.0%}, a public score of {of_public}, "
        f"counts {1 - found.cv_weight:.0%}",
    ]
    lines += [f"{one.name}: {one.doubt}" for one in ranked if one.doubt]
    for what, by_cv in (("best public scores", False), ("best cvs", True)):
        pair = _best_two(spec, ranked, pairs, by_cv=by_cv)
        if pair is not None and pair is not best:
            lines.append(
                f"the two with the {what}, {pair.first.name} and {pair.second.name}, have an expected private score of "
                f"{score_text(pair.expected)} instead of {score_text(best.expected)}"
            )
    if found.noise_from == "scores":
        lines.append(
            "no two of the submitted runs are here with the scores of their folds: noise is that of the scores"
        )
    if missing := [one.name for one in ranked if not one.has_file]:
        lines.append(
            f"the files of {', '.join(missing)} are not here as they were sent: usual correlations are assumed"
        )
    return lines


def _places(spec: CompetitionSpec, ranked: Sequence[Candidate], one: Candidate) -> str:
    """Where a candidate stands by each score."""
    parts = [f"expected private score {score_text(one.expected)}, {_place(ranked.index(one) + 1)} of {len(ranked)}"]
    for name, score in (("cv", one.cv), ("public", one.entry.public_score)):
        others = [other.cv if name == "cv" else other.entry.public_score for other in ranked]
        if score is None:
            parts.append(f"no {name} score" if name == "public" else "no cv")
        else:
            place = 1 + sum(other is not None and spec.scorer.is_better(other, score) for other in others)
            parts.append(f"{name} {score_text(score)} ({_place(place)})")
    return "; ".join([parts[0], ", ".join(parts[1:])])


def _place(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"


def _second(ranked: Sequence[Candidate], pairs: Sequence[ChosenPair]) -> str:
    """Why the second of the best pair goes with the first."""
    best = pairs[0]
    likeness = f"its predictions correlate {best.correlation:.4f} with the first's"
    rival = next((one for one in ranked if one is not best.first), None)
    if rival is best.second or rival is None:
        return likeness
    other = next(pair for pair in pairs if {id(pair.first), id(pair.second)} == {id(best.first), id(rival)})
    return (
        f"{likeness}, those of {rival.name} {other.correlation:.4f}: the better of the two is expected at "
        f"{score_text(best.expected)}, with {rival.name} at {score_text(other.expected)}"
    )


def _best_two(
    spec: CompetitionSpec, ranked: Sequence[Candidate], pairs: Sequence[ChosenPair], *, by_cv: bool
) -> ChosenPair | None:
    """The pair of the two best by one score; None if fewer have it."""
    scores = [one.cv if by_cv else one.entry.public_score for one in ranked]
    known = [number for number, score in enumerate(scores) if score is not None]
    if len(known) < 2:
        return None
    losses = spec.scorer.losses([scores[number] for number in known])
    wanted = {id(ranked[known[place]]) for place in np.argsort(losses, kind="stable")[:2]}
    return next(pair for pair in pairs if {id(pair.first), id(pair.second)} == wanted)
