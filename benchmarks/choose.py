"""Does `choose` select the right two submissions? Asked of simulated ledgers, replayed to the end of the competition.

A ledger is simulated row by row: train and test rows, models of several families that err together, tuned variants,
blends, steps that the public score led, forks without a cv, leaks that only the cv sees, predictions of shuffled rows,
a test set on which some families do worse. All scores are computed by the pipeline's own metrics. Then the private
scores are looked at: of the better one of two, how far is it behind the best of the ledger?

    python benchmarks/choose.py --ledgers 500
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipeline.base.arrays import FloatArray
from pipeline.metrics import METRICS, Metric
from pipeline.scoring.selection import RowCounts, Scored, select

METRIC_NAMES = ("rmse", "mae", "log_loss", "roc_auc", "accuracy")
N_FOLDS, N_RESAMPLES = 5, 200
KINDS = ("model", "tuned", "blend", "climb", "fork", "leak", "shuffled")


@dataclass
class Ledger:
    """Simulated rows, and submissions as their errors on them: train rows first, then public, then private ones."""

    rng: np.random.Generator
    metric: Metric
    n_train: int
    n_public: int
    n_private: int
    kinds: list[str] = field(default_factory=list)
    errors: list[FloatArray] = field(default_factory=list)  # (rows,) of each submission's out-of-fold or test values
    cv: list[float | None] = field(default_factory=list)
    folds: list[FloatArray | None] = field(default_factory=list)
    public: list[float] = field(default_factory=list)
    private: list[float] = field(default_factory=list)
    has_file: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng, n = self.rng, self.n_train + self.n_public + self.n_private
        self.signal = rng.normal(size=n)
        self.difficulty = np.exp(rng.normal(scale=0.5, size=n))
        self.is_regression = self.metric.reads == "value"
        if self.is_regression:
            self.target = self.signal + rng.uniform(0.2, 1.0) * self.difficulty * rng.normal(size=n)
        else:
            self.steepness = rng.uniform(1.0, 4.0)
            self.target = (rng.random(n) < 1.0 / (1.0 + np.exp(-self.steepness * self.signal))).astype(float)
        self.fold_of_row = rng.permutation(self.n_train) % N_FOLDS
        self.common = rng.normal(size=n)
        self.families = rng.normal(size=(int(rng.integers(2, 6)), n))
        shift = rng.choice([0.0, 0.0, 0.02, 0.05])
        self.of_test = np.exp(rng.normal(scale=shift, size=len(self.families))) * np.exp(rng.normal(scale=2 * shift))
        self.lines = [rng.normal(size=(3, n)) for _ in self.families]
        self.level = rng.uniform(0.3, 0.8)
        self.train, self.test = slice(0, self.n_train), slice(self.n_train, n)
        self.public_rows = slice(self.n_train, self.n_train + self.n_public)
        self.private_rows = slice(self.n_train + self.n_public, n)

    def predicted(self, errors: FloatArray, rows: slice | FloatArray) -> FloatArray:
        """Values, or the probabilities of both classes."""
        value = self.signal[rows] + errors[rows]
        if self.is_regression:
            return value
        second = np.clip(1.0 / (1.0 + np.exp(-self.steepness * value)), 1e-6, 1 - 1e-6)
        return np.stack([1.0 - second, second], axis=1)

    def score(self, errors: FloatArray, rows: slice | FloatArray) -> float:
        """The metric on some rows."""
        return self.metric(self.target[rows], self.predicted(errors, rows))

    def model(self, quality: float) -> FloatArray:
        """The errors of a new model: common to all, to its family, to its line of variants, and its own."""
        rng, n = self.rng, len(self.signal)
        family = int(rng.integers(len(self.families)))
        line = self.lines[family][rng.integers(3)]
        parts = rng.dirichlet([6, 4, 2, 1])
        errors = np.sqrt(parts) @ np.stack([self.common, self.families[family], line, rng.normal(size=n)])
        errors = quality * self.level * self.difficulty * errors
        errors[self.test] *= self.of_test[family]
        by_fold = 1.02 * np.exp(rng.normal(scale=0.02, size=N_FOLDS))  # of models of four fifths of the rows
        errors[self.train] *= by_fold[self.fold_of_row]
        return errors

    def best(self, scores: list[float | None]) -> int:
        """The submission with the best of these scores."""
        losses = self.metric.losses([np.nan if score is None else score for score in scores])
        return int(np.argmin(losses))

    def submit(self, kind: str, quality: float) -> None:
        """Make a submission of a kind, and enter it with its scores."""
        rng = self.rng
        errors = self.model(quality)
        if kind == "tuned":  # the best cv of eight
            tried = [errors, *(self.model(quality) for _ in range(7))]
            scores = [self.score(one, self.train) for one in tried]
            errors = tried[self.best([*scores])]
        elif kind == "blend":
            members = rng.choice(len(self.errors), size=int(rng.integers(2, 6)))
            errors = np.average([self.errors[i] for i in members], axis=0, weights=rng.dirichlet(np.ones(len(members))))
        elif kind == "climb":
            base = self.errors[self.best([*self.public])]
            step = rng.uniform(0.1, 0.4)
            errors = (1 - step) * base + step * self.model(quality * rng.uniform(1.0, 1.5))
        elif kind == "leak":
            errors[self.train] *= rng.uniform(0.4, 0.9)
            errors[self.test] *= rng.uniform(1.0, 1.4)
        elif kind == "shuffled":
            wrong = self.n_train + np.flatnonzero(rng.random(self.n_public + self.n_private) < rng.uniform(0.03, 0.5))
            values = (self.signal + errors)[wrong]
            errors[wrong] = rng.permutation(values) - self.signal[wrong]
        has_cv = kind != "fork"
        self.kinds.append(kind)
        self.errors.append(errors)
        self.cv.append(self.score(errors, self.train) if has_cv else None)
        of_folds = [self.score(errors, np.flatnonzero(self.fold_of_row == fold)) for fold in range(N_FOLDS)]
        self.folds.append(np.array(of_folds) if has_cv else None)
        self.public.append(self.score(errors, self.public_rows))
        self.private.append(self.score(errors, self.private_rows))
        self.has_file.append(has_cv or bool(rng.random() < 0.5))

    def correlation(self) -> FloatArray:
        """Of the test predictions; NaN for files that are not here."""
        values = [self.predicted(one, self.test) for one in self.errors]
        found = np.corrcoef(np.array(values if self.is_regression else [one[:, 1] for one in values]))
        unknown = ~np.array(self.has_file)
        found[unknown], found[:, unknown] = np.nan, np.nan
        return found


def simulate(seed: int) -> Ledger:
    """Replay a competition of 6 to 40 submissions."""
    rng = np.random.default_rng(seed)
    n_train, n_test = (int(np.exp(rng.uniform(np.log(600), np.log(8000)))) for _ in range(2))
    n_public = int(n_test * rng.choice([0.1, 0.2, 0.3, 0.5]))
    ledger = Ledger(rng, METRICS[METRIC_NAMES[seed % len(METRIC_NAMES)]], n_train, n_public, n_test - n_public)
    m = int(rng.integers(6, 41))
    shares = np.array([3.0, 2.0, 3.0, rng.choice([0.0, 3.0, 12.0]), rng.choice([0.0, 1.0]), *rng.choice([0.0, 0.5], 2)])
    for number in range(m):
        kind = "model" if number < 3 else str(rng.choice(KINDS, p=shares / shares.sum()))
        ledger.submit(kind, quality=1.0 + 0.4 * np.exp(-4 * number / m) + 0.05 * abs(rng.normal()))
    return ledger


def chosen(ledger: Ledger) -> tuple[int, int]:
    """The pair that the pipeline selects."""
    losses = ledger.metric.losses
    submissions = [
        Scored(
            None if cv is None else float(losses(cv)), float(losses(public)), None if folds is None else losses(folds)
        )
        for cv, public, folds in zip(ledger.cv, ledger.public, ledger.folds, strict=True)
    ]
    pair = select(
        submissions, ledger.correlation(), RowCounts(ledger.n_train, ledger.n_public, ledger.n_private)
    ).pairs[0]
    return pair.first, pair.second


def best_two(ledger: Ledger, scores: list[float | None]) -> tuple[int, int]:
    """The two with the best of these scores."""
    first, second = np.argsort(ledger.metric.losses([np.nan if one is None else one for one in scores]), kind="stable")[
        :2
    ]
    return int(first), int(second)


def cv_and_public(ledger: Ledger) -> tuple[int, int]:
    """The best cv, and the best public score among the others."""
    first = ledger.best(ledger.cv)
    return first, next(i for i in np.argsort(ledger.metric.losses(ledger.public), kind="stable") if i != first)


STRATEGIES: dict[str, Callable[[Ledger], tuple[int, int]]] = {
    "choose": chosen,
    "two best public": lambda ledger: best_two(ledger, [*ledger.public]),
    "two best cv": lambda ledger: best_two(ledger, ledger.cv),
    "best cv, best public": cv_and_public,
    "random": lambda ledger: tuple(ledger.rng.choice(len(ledger.cv), 2, replace=False)),
}


def standard_errors(ledger: Ledger, best: int, others: list[int]) -> tuple[float, dict[int, float]]:
    """Standard error of the best private score, and those of the differences of the others from it, by bootstrap."""
    n, start = ledger.n_private, ledger.n_train + ledger.n_public
    drawn = [start + ledger.rng.integers(n, size=n) for _ in range(N_RESAMPLES)]
    of_best = np.array([ledger.score(ledger.errors[best], rows) for rows in drawn])
    of_others = {i: np.array([ledger.score(ledger.errors[i], rows) for rows in drawn]) for i in set(others) - {best}}
    return float(of_best.std()), {i: float((of_best - scores).std()) for i, scores in of_others.items()}


def main(n_ledgers: int, first_seed: int) -> None:
    """Replay the ledgers and print what each strategy reached."""
    behind: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    paired: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    seconds = []
    for seed in range(first_seed, first_seed + n_ledgers):
        ledger = simulate(seed)
        best = ledger.best([*ledger.private])
        reached = {}
        for name, strategy in STRATEGIES.items():
            started = time.perf_counter()
            pair = strategy(ledger)
            if name == "choose":
                seconds.append(time.perf_counter() - started)
            reached[name] = min(pair, key=lambda i: float(ledger.metric.losses(ledger.private[i])))
        alone, of_difference = standard_errors(ledger, best, [*reached.values()])
        for name, i in reached.items():
            regret = ledger.metric.gain(ledger.private[best], ledger.private[i])
            behind[name].append(regret / alone)
            paired[name].append(regret / of_difference[i] if regret > 0 else 0.0)
    print(f"{n_ledgers} ledgers; how far the better of two is behind the best private score, in standard errors")
    print("                       of the private score    of the difference from the best")
    print("strategy               mean    <= 1    <= 0.25   mean    <= 1    the best itself")
    for name in STRATEGIES:
        one, other = np.array(behind[name]), np.array(paired[name])
        print(
            f"{name:20} {one.mean():6.3f} {(one <= 1).mean():7.1%} {(one <= 0.25).mean():8.1%}"
            f" {other.mean():8.3f} {(other <= 1).mean():7.1%} {(other == 0).mean():8.1%}"
        )
    for name in list(STRATEGIES)[1:]:
        gain = np.array(behind[name]) - np.array(behind["choose"])
        better, worse = (gain > 1e-12).sum(), (gain < -1e-12).sum()
        print(
            f"choose against {name}: better {better}, the same {n_ledgers - better - worse}, worse {worse}; "
            f"mean gain {gain.mean():+.3f} +- {gain.std() / np.sqrt(n_ledgers):.3f} standard errors"
        )
    print(f"choose took {np.mean(seconds) * 1000:.0f} ms on average, {np.max(seconds) * 1000:.0f} ms at most")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledgers", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    main(options.ledgers, options.first_seed)
