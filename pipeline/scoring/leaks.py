"""Searches for leaks: repeated rows, an order that predicts the target, columns too good to be true, shifted tables.

Knows typed frames, roles and the target; must not know runs or files. The trees fitted here are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pipeline.base.arrays import FloatArray, sampled
from pipeline.base.text import TEXT
from pipeline.config.types import NUMERIC, Role

N_PARTS = 5
N_ROUNDS = 60  # boosting rounds of adversarial validation
MOST_ROWS = 20_000  # rows used of each table
AUC_OF_SHIFT = 0.6  # above: the tables differ
TOO_GOOD = 0.95  # share of the target's variance, or 2 AUC - 1, that a single column explains
ORDER_TELLS = 0.05  # the same for the id or the row number, which should explain nothing
ROWS_OF_HASH, COLUMNS_OF_HASH = 1_000, 8  # rows are compared by the columns with most values there first
N_SHIFT = 10  # fewest rows of each table for adversarial validation
N_SHOWN = 5
LOWEST = -1e30  # replaces a missing number for a tree of one column: below every other
N_SHUFFLED = 20  # columns of most gain whose permutation importance is measured
RARE_BELOW = 3  # a category's values seen less often, in both tables together, share a code


@dataclass(frozen=True)
class Shift:
    """How well a model tells test rows from train rows, and the columns it uses."""

    auc: float
    columns: dict[str, float]  # column -> AUC lost when it is shuffled, largest first


@dataclass(frozen=True)
class Duplicates:
    """Rows that are equal in all features."""

    within_train: int  # train rows that equal an earlier one
    contradicting: int  # of these, rows with another target
    across: int  # test rows that equal a train row


def numbers_of(frames: list[pd.DataFrame], roles: Mapping[str, Role]) -> list[pd.DataFrame]:
    """The frames as numbers: categories as codes, values seen fewer than `RARE_BELOW` times share one, NaN is missing.

    Codes are ordered by count over all frames, ties by name: an order of appearance would separate the tables.
    """
    whole = pd.concat(frames, ignore_index=True)
    columns = {}
    for name in whole.columns:
        if roles[name] in NUMERIC:
            columns[name] = pd.to_numeric(whole[name], errors="coerce").astype(np.float64)
        else:
            texts = whole[name].astype(TEXT).where(whole[name].notna())
            counts = texts.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
            codes = pd.Series(np.minimum(np.arange(len(counts)), (counts >= RARE_BELOW).sum()), index=counts.index)
            columns[name] = texts.map(codes.astype(np.float64)).astype(np.float64)
    numbers = pd.DataFrame(columns)
    bounds = np.cumsum([0, *(len(frame) for frame in frames)])
    return [numbers.iloc[start:stop].reset_index(drop=True) for start, stop in pairwise(bounds)]


def shift_of(
    train: pd.DataFrame, test: pd.DataFrame, *, seed: int, n_parts: int = 3, n_rounds: int = N_ROUNDS
) -> Shift:
    """Adversarial validation: cross-validated AUC of a classifier of test against train rows (numbers, NaN allowed).

    Columns are searched only when the tables differ. With fewer than `N_SHIFT` rows the AUC is 0.5.
    """
    rng = np.random.default_rng(seed)
    tables = [frame.sample(min(len(frame), MOST_ROWS), random_state=seed) for frame in (train, test)]
    x = np.vstack([frame.to_numpy(dtype=np.float64) for frame in tables])
    y = np.repeat([0, 1], [len(frame) for frame in tables])
    if min(len(frame) for frame in tables) < N_SHIFT:
        return Shift(0.5, {})
    told, models = np.zeros(len(y)), []
    for fit_rows, held in StratifiedKFold(n_parts, shuffle=True, random_state=seed).split(x, y):
        model = HistGradientBoostingClassifier(max_iter=n_rounds, max_leaf_nodes=16, random_state=seed)
        fit_x = x[fit_rows]
        fit_x[:, np.isnan(fit_x).all(axis=0)] = 0.0  # an empty column has no bins
        model.fit(fit_x, y[fit_rows])
        told[held] = model.predict_proba(x[held])[:, 1]
        models.append((model, held))
    auc = _auc(y == 1, told)
    if auc < AUC_OF_SHIFT:
        return Shift(auc, {})
    lost = np.zeros(x.shape[1])
    most_telling = _most_telling(x, y, seed)
    for model, held in models:
        own = _auc(y[held] == 1, told[held])
        for column in most_telling:
            shuffled = x[held].copy()
            shuffled[:, column] = rng.permutation(shuffled[:, column])
            lost[column] += (own - _auc(y[held] == 1, model.predict_proba(shuffled)[:, 1])) / len(models)
    return Shift(auc, {str(train.columns[i]): lost[i].item() for i in np.argsort(-lost)[:N_SHOWN] if lost[i] > 0.005})


def _most_telling(x: FloatArray, y: NDArray[np.int_], seed: int) -> NDArray[np.intp]:
    """The `N_SHUFFLED` columns by which a quick forest tells the tables apart best."""
    forest = ExtraTreesClassifier(50, max_depth=8, min_samples_leaf=5, random_state=seed).fit(x, y)
    return np.argsort(-forest.feature_importances_, kind="stable")[:N_SHUFFLED]


def duplicates_of(train: pd.DataFrame, test: pd.DataFrame, target: FloatArray) -> Duplicates:
    """Count rows that are equal in all columns."""
    telling = sorted(train.columns, key=lambda name: -train[name].iloc[:ROWS_OF_HASH].nunique())[:COLUMNS_OF_HASH]
    mine, theirs = (_hashes(frame[telling]) for frame in (train, test))
    again_or_first = pd.Series(mine).duplicated(keep=False).to_numpy() | np.isin(mine, theirs)
    rows, test_rows = np.flatnonzero(again_or_first), np.flatnonzero(np.isin(theirs, mine))
    whole, whole_theirs = _hashes(train.iloc[rows]), _hashes(test.iloc[test_rows])
    first_of: NDArray[np.int64] = pd.Series(np.arange(len(whole))).groupby(whole).transform("first").to_numpy(np.int64)
    again = np.flatnonzero(first_of != np.arange(len(whole)))
    y = target.reshape(len(target), -1)[rows]
    differs = (y[again] != y[first_of[again]]).any(axis=1)
    return Duplicates(len(again), int(differs.sum()), int(np.isin(whole_theirs, whole).sum()))


def _hashes(frame: pd.DataFrame) -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)


def told_by(values: FloatArray, target: FloatArray, n_classes: int, *, seed: int, n_parts: int = N_PARTS) -> float:
    """What a single column explains: held-out R2, or 2 AUC - 1 of the best class against the rest; never below 0.

    Uses a tree of depth 6 on `n_parts` shuffled folds, or as many as there are rows.
    """
    rows = sampled(len(target), MOST_ROWS, np.random.default_rng(seed))
    x, y = np.nan_to_num(np.clip(values[rows, None], LOWEST, -LOWEST), nan=LOWEST), target[rows]  # trees: float32
    folds = KFold(min(n_parts, len(rows)), shuffle=True, random_state=seed)
    settings = {"max_depth": 6, "min_samples_leaf": max(5, len(rows) // 200), "random_state": seed}
    if n_classes == 0:
        told = cross_val_predict(DecisionTreeRegressor(**settings), x, y, cv=folds)
        variance = float(np.var(y))
        return max(0.0, 1.0 - float(np.mean((y - told) ** 2)) / variance) if variance > 0 else 0.0
    shares = np.zeros((len(y), n_classes))  # by hand: cross_val_predict warns of a class that a fold lacks
    for fit_rows, held in folds.split(x):
        classifier = DecisionTreeClassifier(**settings).fit(x[fit_rows], y[fit_rows])
        shares[np.ix_(held, classifier.classes_.astype(int))] = classifier.predict_proba(x[held])
    present = [c for c in range(n_classes) if 0 < (y == c).sum() < len(y)]
    return max([0.0, *(2.0 * _auc(y == c, shares[:, c]) - 1.0 for c in present)])


def _auc(is_positive: NDArray[np.bool_], score: FloatArray) -> float:
    """Computed from the Mann-Whitney U; needs rows of both kinds."""
    n_positive = int(is_positive.sum())
    u = float(rankdata(score)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return u / (n_positive * (len(score) - n_positive))
