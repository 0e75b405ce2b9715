"""What to train in a given time: candidates in order, their estimated times, and the measured pace of this machine.

Knows configurations, sizes and seconds; must not know data, runs or files.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pipeline.config.run import RunConfig
from pipeline.config.types import Role
from pipeline.encoders.terms import holds_sentences
from pipeline.metrics import Task
from pipeline.models.entry import Cost
from pipeline.models.registry import MODELS
from pipeline.models.run_configuration import load_run_config

REFERENCE_ROWS, REFERENCE_COLUMNS, REFERENCE_FOLDS = 1460, 79, 5  # House Prices
# share of the budget and seconds: a first candidate that takes longer waits for a quick one
FIRST_SHARE, FIRST_S = 0.25, 30.0
WIDE_BOOSTING = 0.9  # exponent of the number of columns above the reference's
ABSOLUTE_FACTOR = 3.0  # boosting of absolute errors takes more rounds, and its leaves are medians
FEWEST_TRIALS = 24  # trials that must fit for tuning to pay
TUNED_COST = 1.5  # cost of a tuned configuration relative to its origin: tuned models are larger
N_EXTRA_SEEDS = 6  # rounds of further seeds; the gain is gone long before


FLOOR = "baseline"  # always finishes
Wanted = tuple[tuple[str, int, str], ...]  # model, seeds, variant
FOR_NUMBERS: Wanted = (
    ("mlp", 4, ""), ("mlp", 2, "pbld"), ("lightgbm", 1, ""), ("xgboost", 1, ""), ("lasso", 1, ""),
    ("catboost", 1, ""), ("kernel_ridge", 1, ""), ("svm", 1, ""), ("extra_trees", 1, ""), ("elastic_net", 1, ""),
    ("random_forest", 1, ""),
)  # fmt: skip
FOR_CLASSES: Wanted = (
    ("mlp", 4, ""), ("lightgbm", 1, ""), ("random_forest", 1, ""), ("xgboost", 1, ""), ("catboost", 1, ""),
    ("mlp", 2, "pbld"), ("kernel_ridge", 1, ""), ("extra_trees", 1, ""), ("svm", 1, ""), ("ridge", 1, ""),
    ("lasso", 1, ""),
)  # fmt: skip
MANY_ROWS = 3000  # above, boosting leads by so much that forests and linear models get no weight
FOR_MANY_ROWS: Wanted = (
    ("lightgbm", 1, ""), ("catboost", 1, ""), ("xgboost", 1, ""), ("mlp", 2, "pbld"), ("kernel_ridge", 1, ""),
    ("extra_trees", 1, ""), ("mlp", 4, ""),
)  # fmt: skip
MANY_COLUMNS = 200  # above, most columns are likely noise, which trees and the lasso ignore
FOR_WIDE: Wanted = (
    ("lightgbm", 1, "all columns"), ("lasso", 1, ""), ("catboost", 1, ""), ("xgboost", 1, ""), ("kernel_ridge", 1, ""),
    ("extra_trees", 1, ""), ("mlp", 4, ""), ("svm", 1, ""),
)  # fmt: skip
FOR_TEXTS = ("text_linear", 1, "")  # first: no other model reads the words of a sentence
QUICK = "quick"  # the boosting variant for tables too large for the time given
QUICK_COLUMNS = 200  # columns that a tree of the quick variant samples


@dataclass(frozen=True)
class Size:
    """What determines the time of a fit."""

    task: Task
    n_rows: int
    n_columns: int
    n_folds: int
    n_classes: int = 0
    has_free_texts: bool = False  # sentences, not names or codes
    is_absolute: bool = False  # whether the metric is of absolute errors, which take longer to boost
    n_targets: int = 1


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be trained."""

    label: str
    kind: str  # equal for candidates that differ in their seeds only
    config: RunConfig
    reference_s: float  # estimated seconds on the machine the costs were measured on
    origin: str = ""  # of a tuned one: the kind it was tuned from


@dataclass
class Pace:
    """Measured seconds, and estimates from them."""

    by_kind: dict[str, list[float]] = field(default_factory=dict)  # seconds of each
    ratios: list[float] = field(default_factory=list)

    def measured(self, candidate: Candidate, elapsed_s: float) -> None:
        """Record the time of a candidate."""
        self.by_kind.setdefault(candidate.kind, []).append(elapsed_s)
        self.ratios.append(elapsed_s / candidate.reference_s)

    def estimate(self, candidate: Candidate) -> float:
        """Seconds: the mean of its kind, else the reference at the median pace so far."""
        if own := self.by_kind.get(candidate.kind):
            return float(np.mean(own))
        return candidate.reference_s * (float(np.median(self.ratios)) if self.ratios else 1.0)


def is_boosting_installed() -> bool:
    """Whether the packages of the extra `boosting` are installed."""
    return all(entry.package is None or importlib.util.find_spec(entry.package) for entry in MODELS.values())


def has_free_texts(frame: pd.DataFrame, roles: Mapping[str, Role]) -> bool:
    """Whether a column of texts holds sentences."""
    return any(holds_sentences(frame[name]) for name, role in roles.items() if role == "text")


def candidates_for(size: Size, *, with_boosting: bool) -> list[Candidate]:
    """The candidates in training order: cheap and diverse ones first."""
    wanted = FOR_NUMBERS if size.task == "regression" else FOR_CLASSES
    if size.n_rows > MANY_ROWS:
        wanted = FOR_MANY_ROWS
    elif size.n_columns > MANY_COLUMNS:
        wanted = FOR_WIDE
    if size.has_free_texts:
        wanted = (FOR_TEXTS, *wanted)
    if not with_boosting:
        instead = [(model, 1, "") for model in _quick_models(with_boosting=False)]
        wanted = (*instead, *(one for one in wanted if MODELS[one[0]].package is None))
    return [
        _candidate(size, model, n_seeds, variant)
        for model, n_seeds, variant in wanted
        if size.n_rows <= MODELS[model].variants[""].cost.most_rows
    ]


def stopgaps_for(size: Size, *, with_boosting: bool) -> tuple[list[Candidate], Candidate]:
    """For tables too large for the time given: quick boostings, and the baseline, which always finishes."""
    quick = [_candidate(size, model, 1, QUICK) for model in _quick_models(with_boosting=with_boosting)]
    return quick, _candidate(size, FLOOR, 1, "")


def _quick_models(*, with_boosting: bool) -> list[str]:
    """The boostings of the extra, or those without extra packages."""
    quick = {model: entry for model, entry in MODELS.items() if QUICK in entry.variants}
    return [model for model, entry in quick.items() if (entry.package is not None) == with_boosting]


def quick_first(candidates: Sequence[Candidate], quick: Sequence[Candidate], budget_s: float) -> list[Candidate]:
    """The candidates, with quick ones around them when the first would delay the first submission."""
    is_slow = candidates[0].reference_s > min(FIRST_SHARE * budget_s, FIRST_S)
    return [quick[0], *candidates, *quick[1:]] if is_slow else list(candidates)


def timetable(candidates: Sequence[Candidate], pace: Pace, *, spent_s: float, budget_s: float) -> Iterator[str]:
    """A line per candidate: estimated time, and when it should finish."""
    total = spent_s
    for one in candidates:
        seconds = pace.estimate(one)
        total += seconds
        when = "" if total <= budget_s else "   if time is left"
        seeds = f"{one.config.seeds} seed{'s' if one.config.seeds > 1 else ''}"
        yield f"{one.label:<20} {seeds:<8} about {seconds:4.0f} s, by {total:4.0f} s{when}"


def more_seeds(candidates: Sequence[Candidate], weights: dict[str, float], pace: Pace) -> list[Candidate]:
    """The candidates with further seeds, most weight per second first; `weights` are by kind.

    Deterministic models and candidates without weight are left out.
    """
    seeded = [one for one in candidates if weights.get(one.kind, 0.0) > 0 and MODELS[one.config.model].is_seeded]
    best_first = sorted(seeded, key=lambda one: -weights[one.kind] / pace.estimate(one) ** 0.5)
    return [_with_seed(one, seed) for seed in range(1, N_EXTRA_SEEDS + 1) for one in best_first]


def to_tune(candidates: Sequence[Candidate], weights: dict[str, float], pace: Pace, seconds: float) -> Candidate | None:
    """The tunable candidate of most weight of which enough trials fit into `seconds`."""
    fitting = [
        one
        for one in candidates
        if weights.get(one.kind, 0.0) > 0
        and MODELS[one.config.model].is_seeded
        and FEWEST_TRIALS * pace.estimate(one) / one.config.seeds <= seconds
    ]
    return max(fitting, key=lambda one: weights[one.kind], default=None)


def tuned_candidate(origin: Candidate, config: RunConfig) -> Candidate:
    """The configuration found for `origin`, with its number of seeds."""
    config = config.model_copy(update={"seeds": origin.config.seeds})
    label = f"{origin.label} tuned"
    return Candidate(label, label, config, TUNED_COST * origin.reference_s, origin.kind)


def _with_seed(one: Candidate, seed: int) -> Candidate:
    config = one.config.model_copy(update={"seed": one.config.seed + seed})
    return replace(one, label=f"{one.label}, seed {seed}", config=config)


def _candidate(size: Size, model: str, n_seeds: int, variant: str) -> Candidate:
    label = " ".join(part for part in (model, variant) if part)
    known = MODELS[model].variants[variant]
    overrides = known.overrides if size.task == "regression" else known.for_classes or known.overrides
    if known.column_share is not None:
        share = min(1.0, QUICK_COLUMNS / max(1, size.n_columns))
        overrides = (*overrides, f"{known.column_share}={share:.3g}")
    config = load_run_config(model=model, overrides=[f"seeds={n_seeds}", *overrides])
    is_boosting = MODELS[model].family == "boosting"
    n_fits = n_seeds * (1 if MODELS[model].is_network else size.n_targets)
    return Candidate(label, label, config, n_fits * _seconds(known.cost, size, is_boosting=is_boosting))


def _seconds(cost: Cost, size: Size, *, is_boosting: bool) -> float:
    rows = max(size.n_rows, 500) / REFERENCE_ROWS
    columns = max(size.n_columns, 10) / REFERENCE_COLUMNS
    classes = cost.classes_factor * max(1, size.n_classes - 1) ** cost.classes if size.task != "regression" else 1.0
    is_wide_boosting = is_boosting and columns > 1.0
    growth = float(rows**cost.rows * columns ** (WIDE_BOOSTING if is_wide_boosting else cost.columns))
    absolute = ABSOLUTE_FACTOR if size.is_absolute and is_boosting else 1.0
    return cost.seconds * growth * classes * absolute * size.n_folds / REFERENCE_FOLDS
