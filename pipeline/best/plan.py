"""What to train in a given time: candidates in order, their estimated times, and the measured pace of this machine.

Knows configurations, sizes and seconds; must not know data, runs or files.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pipeline.base import weights
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.base.text import holds_sentences
from pipeline.best.portfolio import Cost, Variant, portfolio
from pipeline.config.run import RunConfig
from pipeline.config.types import Role
from pipeline.metrics import Task
from pipeline.models.registry import MODELS
from pipeline.models.run_configuration import load_run_config

REFERENCE_ROWS, REFERENCE_COLUMNS, REFERENCE_FOLDS, REFERENCE_CORES = 1460, 79, 5, 2  # House Prices
# share of the budget and seconds: a first candidate that takes longer waits for a quick one
FIRST_SHARE, FIRST_S = 0.25, 30.0
WIDE_BOOSTING = 0.9  # exponent of the number of columns above the reference's
ABSOLUTE_FACTOR = 3.0  # boosting of absolute errors takes more rounds, and its leaves are medians
FEWEST_TRIALS = 24  # trials that must fit for tuning to pay
TUNED_COST = 1.5  # cost of a tuned configuration relative to its origin: tuned models are larger
N_EXTRA_SEEDS = 6  # rounds of further seeds; the gain is gone long before
MARGIN, ROUGH_MARGIN = 1.1, 1.4  # safety factors on times of what was timed before, and of what was not
LARGEST_SHARE, PROBE_SHARE = 0.2, 0.08  # of the budget for one candidate or probe, if it has smaller versions
OF_PREDICTION = 0.1  # share of the time of a fit on all rows that their prediction takes, after a fit on a sample
MINUTE_OF_CELLS = 10e6  # another minute for so many cells of the train table
# what a candidate promises: for a start, and as shares of the ensemble weight of its model, its family, its other seeds
UNKNOWN, OF_FAILED, OF_MODEL, OF_FAMILY, OF_SEEDS = 0.02, 0.004, 0.5, 0.25, 0.3
OF_NEXT = 0.5  # factor for each variant of the same model that has weight and is no probe
WEIGHT_TO_FOLLOW = 0.1  # of a probe in the ensemble, for what is only tried after its success

FLOOR = "baseline"  # always finishes
QUICK = ("lightgbm quick", "xgboost quick")  # for tables too large for the time given


@dataclass(frozen=True)
class Size:
    """What determines the time of a fit."""

    task: Task
    n_rows: int
    n_columns: int
    n_folds: int
    n_classes: int = 0
    n_characters: int = 0  # in the columns of sentences; not of names or codes
    is_absolute: bool = False  # whether the metric is of absolute errors, which take longer to boost
    n_targets: int = 1
    n_cores: int = REFERENCE_CORES  # those of a cluster

    def sampled(self, max_fit_rows: int | None) -> Size:
        """The size whose folds have at most so many rows to fit on."""
        if max_fit_rows is None:
            return self
        return replace(self, n_rows=min(self.n_rows, max_fit_rows * self.n_folds // max(1, self.n_folds - 1)))


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be trained."""

    label: str
    kind: str  # equal for candidates that differ in their seeds only
    config: RunConfig
    reference_s: float  # estimated seconds on the machine the costs were measured on
    origin: str = ""  # of a tuned one: the kind it was tuned from
    is_probe: bool = False
    follows: str | None = None  # only tried when the candidate with this label has much weight in the ensemble
    smaller: tuple[Candidate, ...] = ()  # cheaper versions of it, largest first

    @property
    def versions(self) -> tuple[Candidate, ...]:
        """Itself, then the smaller ones."""
        return self, *self.smaller


@dataclass
class Pace:
    """Measured seconds, and estimates from them."""

    by_config: dict[str, list[float]] = field(default_factory=dict)  # kind and settings but seeds -> seconds
    ratios: dict[str, list[float]] = field(default_factory=dict)  # model -> seconds over reference seconds
    ratios_of_kind: dict[str, list[float]] = field(default_factory=dict)  # kind -> the same, of all versions

    def measured(self, candidate: Candidate, elapsed_s: float) -> None:
        """Record the time of a candidate."""
        self.by_config.setdefault(_but_seed(candidate), []).append(elapsed_s)
        ratio = elapsed_s / candidate.reference_s
        self.ratios.setdefault(candidate.config.model, []).append(ratio)
        self.ratios_of_kind.setdefault(candidate.kind, []).append(ratio)

    def safe_estimate(self, candidate: Candidate) -> float:
        """Seconds that it will hardly exceed: the estimate is rough until an equal one was timed."""
        return (MARGIN if _but_seed(candidate) in self.by_config else ROUGH_MARGIN) * self.estimate(candidate)

    def estimate(self, candidate: Candidate) -> float:
        """Seconds: the mean of equal ones, else the reference at the pace of its kind, its model, or all."""
        if own := self.by_config.get(_but_seed(candidate)):
            return float(np.mean(own))
        every = [one for each in self.ratios.values() for one in each]
        ratios = self.ratios_of_kind.get(candidate.kind) or self.ratios.get(candidate.config.model) or every
        return candidate.reference_s * (float(np.median(ratios)) if ratios else 1.0)


def _but_seed(candidate: Candidate) -> str:
    return candidate.config.model_copy(update={"seed": 0}).run_name


def short_minutes(n_rows: int, n_columns: int) -> float:
    """Minutes of the short race: one, and up to four more for tables of tens of millions of cells."""
    return 1.0 + min(4.0, n_rows * n_columns / MINUTE_OF_CELLS)


def missing_packages() -> list[str]:
    """The packages of optional models that are not installed."""
    packages = {entry.package for entry in MODELS.values() if entry.package is not None and not entry.is_pretrained}
    return sorted(name for name in packages if importlib.util.find_spec(name) is None)


def pretrained_models(task: Task) -> list[str]:
    """The pretrained models that are installed and have weights in a folder of PIPELINE_WEIGHTS."""
    found = []
    for name, entry in MODELS.items():
        if entry.is_pretrained and entry.package and importlib.util.find_spec(entry.package) is not None:
            try:
                path = weights.checkpoint_of(name, "", is_regression=task == "regression")
            except SpecError as error:  # several files fit
                say(f"{name} is left out: {error.what}")
                continue
            found += [] if path is None else [name]
    return found


def characters_of_sentences(frame: pd.DataFrame, roles: Mapping[str, Role]) -> int:
    """How many characters the columns of sentences have together; 0 without such columns."""
    sentences = [name for name, role in roles.items() if role == "text" and holds_sentences(frame[name])]
    return sum(int(frame[name].str.len().sum()) for name in sentences)


def candidates_for(size: Size, *, without: Sequence[str] = (), pretrained: Sequence[str] = ()) -> list[Candidate]:
    """The candidates in training order; those whose packages are in `without` are left out.

    Of the pretrained models, those that are named take part.
    """
    names = portfolio().order_for(
        size.task,
        size.n_rows,
        size.n_columns,
        has_sentences=size.n_characters > 0,
        is_absolute=size.is_absolute,
    )
    models = {name: portfolio().variants[name].model for name in names}
    return [
        candidate_of(name, size)
        for name, model in models.items()
        if MODELS[model].package not in without and (model in pretrained or not MODELS[model].is_pretrained)
    ]


def stopgaps_for(size: Size, *, without: Sequence[str] = ()) -> tuple[list[Candidate], Candidate]:
    """For tables too large for the time given: quick boostings, and the baseline, which always finishes."""
    quick = [candidate_of(name, size) for name in QUICK]
    return [one for one in quick if MODELS[one.config.model].package not in without], candidate_of(FLOOR, size)


def quick_first(candidates: Sequence[Candidate], quick: Sequence[Candidate], budget_s: float) -> list[Candidate]:
    """The candidates, with quick ones around them when the first would delay the first submission."""
    is_slow = not candidates[0].is_probe and candidates[0].reference_s > min(FIRST_SHARE * budget_s, FIRST_S)
    labels = {one.label for one in candidates}
    lacking = [one for one in quick if one.label not in labels and one.reference_s < candidates[0].reference_s]
    return [*lacking[:1], *candidates, *lacking[1:]] if is_slow else list(candidates)


def in_order(
    candidates: Sequence[Candidate],
    earned: Mapping[str, float],
    by_kind: Mapping[str, float],
    seconds_of: Callable[[Candidate], float],
) -> list[Candidate]:
    """Probes, and what stands before one, as they stand; what comes after by what its model promises for a second.

    `earned` is the ensemble weight of every model that was tried, `by_kind` of every kind of candidate. Further seeds
    are candidates, too. Each variant of a model with weight, probes apart, makes the next one promise less: it is much
    like those.
    """
    candidates = [
        one
        for one in candidates
        if one.follows is None or _leading_weight(one.follows, candidates, by_kind) >= WEIGHT_TO_FOLLOW
    ]
    n_first = _n_first(candidates)
    of_family: dict[str, float] = {}
    for model, weight in earned.items():
        of_family[_family(model)] = of_family.get(_family(model), 0.0) + weight
    whole = [one for one in candidates if one.label == one.kind and not one.is_probe]
    known = Counter(one.config.model for one in whole if by_kind.get(one.kind))

    def promise(one: Candidate) -> float:
        model = one.config.model
        worth = UNKNOWN if earned.get(model, 1.0) else OF_FAILED  # it was tried and has no weight
        worth += OF_MODEL * earned.get(model, 0.0) + OF_FAMILY * of_family.get(_family(model), 0.0)
        worth *= OF_NEXT ** known[model]
        if one.label != one.kind:  # what an average gains by one more of n
            n = one.config.seed
            worth = OF_SEEDS * by_kind.get(one.kind, 0.0) * 2.0 / (n * (n + 1))
        return float(worth / seconds_of(one) ** 0.5)

    return [*candidates[:n_first], *sorted(candidates[n_first:], key=promise, reverse=True)]


def _leading_weight(leader: str, candidates: Sequence[Candidate], by_kind: Mapping[str, float]) -> float:
    """The weight of a probe and of those that follow it, which take it over."""
    kinds = {leader, *(one.kind for one in candidates if one.follows == leader)}
    return sum(by_kind.get(kind, 0.0) for kind in kinds)


def _n_first(candidates: Sequence[Candidate]) -> int:
    """How many stand up to the last probe; all of them without probes."""
    return max((number for number, one in enumerate(candidates, 1) if one.is_probe), default=len(candidates))


def _family(model: str) -> str:
    entry = MODELS[model]
    return "networks" if entry.is_network else entry.family or model


def outline(candidates: Sequence[Candidate]) -> Iterator[str]:
    """What comes first and what may follow, where probes decide."""
    labels, n_first = [one.label for one in candidates], _n_first(candidates)
    yield f"first: {', '.join(labels[:n_first])}"
    yield f"then, by what their models earn: {', '.join(labels[n_first:])}"


def timetable(candidates: Sequence[Candidate], pace: Pace, *, spent_s: float, budget_s: float) -> Iterator[str]:
    """A line per candidate: estimated time, and when it should finish."""
    total = spent_s
    for one in candidates:
        seconds = pace.estimate(one)
        total += seconds
        when = "" if total <= budget_s else "   if time is left"
        seeds = f"{one.config.seeds} seed{'s' if one.config.seeds > 1 else ''}"
        yield f"{one.label:<20} {seeds:<8} about {seconds:4.0f} s, by {total:4.0f} s{when}"


def more_seeds(candidates: Sequence[Candidate], weights: Mapping[str, float], pace: Pace) -> list[Candidate]:
    """The candidates with further seeds, most weight per second first; `weights` are by kind.

    Deterministic models and candidates without weight are left out.
    """
    seeded = [one for one in candidates if weights.get(one.kind, 0.0) > 0 and MODELS[one.config.model].is_seeded]
    best_first = sorted(seeded, key=lambda one: -weights[one.kind] / pace.estimate(one) ** 0.5)
    return [_with_seed(one, seed) for seed in range(1, N_EXTRA_SEEDS + 1) for one in best_first]


def to_tune(
    candidates: Sequence[Candidate], weights: Mapping[str, float], pace: Pace, seconds: float
) -> Candidate | None:
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
    return replace(one, label=f"{one.label}, seed {seed}", config=config, smaller=(), is_probe=False)


def candidate_of(name: str, size: Size) -> Candidate:
    """The portfolio's variant `name` on a table of this size, with its smaller versions."""
    variant = portfolio().variants[name]
    overrides = [f"seeds={variant.seeds}", *_settings(variant, size)]
    of_texts = _seconds_of_texts(variant, size)

    def version(more: Sequence[str], share: float) -> Candidate:
        config = load_run_config(model=variant.model, overrides=[*overrides, *more])
        of_fits = _seconds_of_fits(variant, size.sampled(config.max_fit_rows))
        if is_sampled(config):
            of_fits += OF_PREDICTION * _seconds_of_fits(variant, size)
        seconds = share * of_fits + of_texts
        return Candidate(name, name, config, seconds, is_probe=variant.is_probe, follows=variant.follows)

    def is_sampled(config: RunConfig) -> bool:
        return size.sampled(config.max_fit_rows) != size

    smaller = [version(one.set, one.cost) for one in variant.smaller]
    has_effect = [one.config.max_fit_rows is None or is_sampled(one.config) for one in smaller]
    return replace(version((), 1.0), smaller=tuple(itertools.compress(smaller, has_effect)))


def _settings(variant: Variant, size: Size) -> list[str]:
    is_regression = size.task == "regression" or variant.set_for_classes is None
    settings = variant.set if is_regression else variant.set_for_classes or []
    if variant.columns_per_split is None:
        return settings
    key = "column_share" if MODELS[variant.model].family == "boosting" else "max_features"
    given = [float(one.removeprefix(f"{key}=")) for one in settings if one.startswith(f"{key}=")]
    share = min(*given, 1.0, variant.columns_per_split / max(1, size.n_columns))
    return [*settings, f"{key}={share:.3g}"]


def _seconds_of_texts(variant: Variant, size: Size) -> float:
    return variant.cost.characters * size.n_characters / 1e6 * size.n_folds / REFERENCE_FOLDS


def _seconds_of_fits(variant: Variant, size: Size) -> float:
    entry, cost = MODELS[variant.model], variant.cost
    is_boosting = entry.family == "boosting"
    n_fits = variant.seeds * (1 if entry.is_network else size.n_targets)
    # packs of networks are cut for the cores of this machine, whatever the cluster has
    n_used = REFERENCE_CORES if entry.is_network else min(size.n_cores, n_fits * size.n_folds)
    return n_fits * _growth(cost, size, is_boosting=is_boosting) * REFERENCE_CORES / n_used


def _growth(cost: Cost, size: Size, *, is_boosting: bool) -> float:
    rows = max(size.n_rows, 500) / REFERENCE_ROWS
    columns = max(size.n_columns, 10) / REFERENCE_COLUMNS
    classes = cost.classes_factor * max(1, size.n_classes - 1) ** cost.classes if size.task != "regression" else 1.0
    is_wide_boosting = is_boosting and columns > 1.0
    growth = float(rows**cost.rows * columns ** (WIDE_BOOSTING if is_wide_boosting else cost.columns))
    absolute = ABSOLUTE_FACTOR if size.is_absolute and is_boosting else 1.0
    return cost.seconds * growth * classes * absolute * size.n_folds / REFERENCE_FOLDS
