"""A candidate on a table of some size: its configuration, its smaller versions, the seconds it should take.

Knows the portfolio's costs and the measured pace of this machine; must not know data, runs, or in which order
candidates come.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.best.portfolio import Cost, Variant, portfolio
from pipeline.config.run import RunConfig
from pipeline.metrics import Task
from pipeline.models.registry import MODELS
from pipeline.models.run_configuration import load_run_config

REFERENCE_ROWS, REFERENCE_COLUMNS, REFERENCE_FOLDS, REFERENCE_CORES = 1460, 79, 5, 2  # House Prices
WIDE_BOOSTING = 0.9  # exponent of the number of columns above the reference's
ABSOLUTE_FACTOR = 3.0  # boosting of absolute errors takes more rounds, and its leaves are medians
MARGIN, ROUGH_MARGIN = 1.1, 1.4  # safety factors on times of what was timed before, and of what was not
OF_PREDICTION = 0.1  # share of the time of a fit on all rows that their prediction takes, after a fit on a sample


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
