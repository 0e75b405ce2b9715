"""Stage `choose`: which two submissions of the ledger to select at Kaggle, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.base.errors import ArtifactError
from pipeline.competition.store import FeatureStore
from pipeline.metrics import score_text
from pipeline.scoring.choice import Candidate, Choice, choose


def choose_submissions(store: FeatureStore) -> Choice:
    """Return the choice. Raises ArtifactError if the ledger has fewer than two submissions with a score."""
    choice = choose(store)
    if choice is None:
        raise ArtifactError(
            "has fewer than two submissions with a score, so there is nothing to choose from",
            where=str(store.workspace.ledger),
            hint="`make submit` sends one; `make leaderboard` adds those that were sent by hand, with their scores.",
        )
    return choice


def candidate_frame(choice: Choice) -> pd.DataFrame:
    """Return the candidates as a table, best expected private score first."""
    selected = {id(choice.pair.first), id(choice.pair.second)}
    rows = choice.candidates
    return pd.DataFrame(
        {
            "select": ["*" if id(one) in selected else "" for one in rows],
            "submission": [one.name for one in rows],
            "cv": [_text(one.cv) for one in rows],
            "public": [_text(one.entry.public_score) for one in rows],
            "expected private": [_text(one.expected) for one in rows],
            "+-": [_text(one.error) for one in rows],
            "note": [_note(one) for one in rows],
        }
    )


def choice_lines(store: FeatureStore, choice: Choice) -> list[str]:
    """Return what to do, and why."""
    pair, slug = choice.pair, store.spec.kaggle_slug
    return [
        f"select {pair.first.name} and {pair.second.name}: https://www.kaggle.com/competitions/{slug}/submissions",
        *choice.why,
        *_hindsight(store, choice),
    ]


def choice_json(store: FeatureStore, choice: Choice) -> dict[str, Any]:
    """Return everything as JSON's types; numbers that are unknown are NaN or None."""
    return {
        "select": [asdict(one.entry) for one in (choice.pair.first, choice.pair.second)],
        "expected": choice.pair.expected,
        "correlation": choice.pair.correlation,
        "cv_weight": choice.cv_weight,
        "candidates": [asdict(one) for one in choice.candidates],
        "why": choice_lines(store, choice),
    }


def _hindsight(store: FeatureStore, choice: Choice) -> list[str]:
    """What the private scores say, where the competition is over."""
    private = [one.entry.private_score for one in choice.candidates]
    if None in private:
        return []
    scores = np.array([score for score in private if score is not None])
    losses = store.spec.scorer.losses
    best = choice.candidates[int(np.argmin(losses(scores)))]
    of_pair = [one.entry.private_score for one in (choice.pair.first, choice.pair.second)]
    reached = of_pair[int(np.argmin(losses(of_pair)))]
    return [
        f"the private scores are known: the better of the two has {_text(reached)}; the best of all, {best.name}, has "
        f"{_text(best.entry.private_score)}"
    ]


def _text(score: float | None) -> str:
    return "" if score is None else score_text(score)


def _note(one: Candidate) -> str:
    if one.doubt:
        return "public worse than cv" if one.contradiction > 0 else "public better than cv"
    return "" if one.has_file else "file not here"
