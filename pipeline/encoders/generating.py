"""Chooses generated columns on the fit rows: those that say most beyond the columns they are made of.

Knows columns and targets of the fit rows; must not know folds, files or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.base.arrays import FloatArray
from pipeline.base.seeds import derive_seed
from pipeline.encoders.candidates import Candidate, Values, candidates_of, float32, levels_of
from pipeline.encoders.generated import Arithmetic, Generated, GroupStatistic, Key, Levels, RowStatistic, Source

MOST_SAMPLED = 10_000  # fit rows that columns are chosen on
FEWEST_ROWS = 50  # fit rows; fewer cannot tell a good column from chance
N_TREES, LEAST_LEAF, SHARE_OF_COLUMNS = 40, 5, 0.33  # of the quick forest
N_BINS = 32
NOISE_DEVIATIONS = 3.0  # above what chance explains; some hundred candidates are compared
SAME = 0.99  # rank correlation above which the lesser of two columns is dropped
MOST_RANKED, MOST_BINNED = 4000, 2000  # rows that correlations and bins are computed on


def choose_generated(
    n_columns: int,
    numbers: Sequence[str],
    categories: Sequence[str],
    frame: pd.DataFrame,
    target: FloatArray,
    seed: int,
) -> Generated:
    """Learn at most `n_columns` generated columns from the fit rows `frame`.

    `target` is (rows, outputs): numbers, or class indicators. The new columns' names are not those of `frame`.
    """
    rng = np.random.default_rng(derive_seed(seed, "generated"))
    rows = np.sort(rng.permutation(len(frame))[:MOST_SAMPLED])
    y = _standardised(target[rows])
    if not y.size or len(y) < FEWEST_ROWS:
        return Generated()
    levels = list(levels_of(numbers, categories, frame))
    sample = Source(frame.iloc[rows], levels)
    raw = {name: float32(sample.number(name)) for name in numbers}
    raw |= {name: float32(sample.codes(name)) for name in categories if name in sample.n_levels}
    if not raw:
        return Generated()
    relevance, residual = _relevance(raw, y, seed)
    ranked = sorted(raw, key=lambda name: -relevance[name])
    found = _ranked(candidates_of(ranked, numbers, sample, y, rng), raw, _Scorer(residual))
    return _assembled(_kept(found, raw, n_columns, target.shape[1]), Source(frame, levels), levels)


def _standardised(target: FloatArray) -> FloatArray:
    """The outputs with mean 0 and deviation 1; constant ones and the first of two classes are left out."""
    if target.shape[1] == 2 and (target.sum(axis=1) == 1.0).all():
        target = target[:, 1:]
    spread = target.std(axis=0)
    target = target[:, spread > 0]
    made: FloatArray = (target - target.mean(axis=0)) / spread[spread > 0]
    return made


def _relevance(raw: Mapping[str, Values], y: FloatArray, seed: int) -> tuple[dict[str, float], FloatArray]:
    """Each column's importance in a quick forest; what its out-of-bag predictions leave of `y` (rows, outputs)."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(
        N_TREES,
        min_samples_leaf=LEAST_LEAF,
        max_features=SHARE_OF_COLUMNS,
        bootstrap=True,
        oob_score=True,
        random_state=derive_seed(seed, "relevance") % 2**31,
    )
    forest.fit(np.nan_to_num(np.column_stack(list(raw.values())), nan=-1e30), y if y.shape[1] > 1 else y[:, 0])
    relevance = dict(zip(raw, forest.feature_importances_.tolist(), strict=True))
    return relevance, y - forest.oob_prediction_.reshape(y.shape)


class _Scorer:
    """How much of the residuals (rows, outputs) the bins of a column explain."""

    def __init__(self, residual: FloatArray) -> None:
        self.residual = residual - residual.mean(axis=0)
        variance = self.residual.var(axis=0)
        self.variance = float(variance.sum())
        deviation = float(np.sqrt(2.0 * N_BINS * (variance**2).sum())) / self.variance  # of a sum of chi-squares
        self.noise = NOISE_DEVIATIONS * deviation / len(residual)

    def gain(self, columns: Values) -> float:
        """(columns, rows) -> share of the residuals' variance, less what chance explains; the best column's."""
        return max(self._gain(values) for values in columns)

    def _gain(self, values: Values) -> float:
        is_missing = np.isnan(values)
        some = values[:: max(1, len(values) // MOST_BINNED)]
        some = np.sort(some[~np.isnan(some)])
        edges = np.unique(some[np.linspace(0, len(some), N_BINS + 1)[1:-1].astype(np.intp)]) if len(some) else some
        bins = np.where(is_missing, len(edges) + 1, np.searchsorted(edges, values))
        n = np.bincount(bins)
        sums = np.stack([np.bincount(bins, weights=one) for one in self.residual.T])[:, n > 0]
        n = n[n > 0]
        return float(((sums**2 / n).sum() / self.variance - (len(n) - 1)) / len(values))


def _ranked(candidates: Iterable[Candidate], raw: Mapping[str, Values], scorer: _Scorer) -> list[Candidate]:
    """The candidates that explain more than their parents do and chance does, the best first."""
    own = {name: scorer.gain(values[None]) for name, values in raw.items()}
    gains = [(scorer.gain(one.values) - max(own[name] for name in one.parents), one) for one in candidates]
    return [one for gain, one in sorted(gains, key=lambda pair: -pair[0]) if gain > scorer.noise]


def _kept(ranked: Sequence[Candidate], raw: Mapping[str, Values], n_columns: int, n_outputs: int) -> list[Candidate]:
    """The first candidates that fit into `n_columns`, without near copies of better or raw columns."""
    known, kept = [_ranks(values) for values in raw.values()], list[Candidate]()
    for one in ranked:
        width = n_outputs if one.is_means else 1
        ranks = [_ranks(values) for values in one.values]
        is_copy = (np.abs(np.stack(known) @ np.stack(ranks).T).max(axis=0) > SAME).all()
        if not is_copy and width <= n_columns:
            known += ranks
            kept.append(one)
            n_columns -= width
    return kept


def _ranks(values: Values) -> FloatArray:
    """Ranks of some rows, centred and of length 1; missing cells are the highest."""
    some = values[:: max(1, len(values) // MOST_RANKED)]
    in_order = np.sort(some)
    ranks = np.searchsorted(in_order, some) + np.searchsorted(in_order, some, side="right") * 1.0
    ranks -= ranks.mean()
    length = float(np.sqrt((ranks**2).sum()))
    return ranks / length if length > 0 else ranks


def _assembled(kept: Sequence[Candidate], source: Source, levels: Sequence[Levels]) -> Generated:
    """The chosen recipes, learned from all fit rows."""
    names: dict[str, str] = {}  # label -> name
    for label in dict.fromkeys(one.recipe.label for one in kept):
        name = label
        while any(other.startswith(name) for other in (*source.frame.columns, *names.values())):
            name += "'"
        names[label] = name
    recipes = {names[one.recipe.label]: one.recipe for one in kept}
    made = Generated(
        arithmetic={name: one for name, one in recipes.items() if isinstance(one, Arithmetic)},
        groups={
            name: GroupStatistic.fit(one.statistic, one.number, one.group, source)
            for name, one in recipes.items()
            if isinstance(one, GroupStatistic)
        },
        rows={name: one for name, one in recipes.items() if isinstance(one, RowStatistic)},
        keys={name: one for name, one in recipes.items() if isinstance(one, Key)},
        counted=[names[one.recipe.label] for one in kept if one.is_count],
        averaged=[names[one.recipe.label] for one in kept if one.is_means],
    )
    return made.model_copy(update={"levels": [one for one in levels if one.name in made.columns_read]})
