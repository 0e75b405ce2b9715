"""What to train in a given time: the candidates of a table, and in which order they come.

Knows candidates, the weights they earn and seconds; must not know data, runs or files.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from pipeline.base import weights
from pipeline.base.errors import SpecError
from pipeline.base.progress import say
from pipeline.base.text import holds_sentences
from pipeline.best.costs import Candidate, Pace, Size, candidate_of
from pipeline.best.portfolio import portfolio
from pipeline.config.run import RunConfig
from pipeline.config.types import Role
from pipeline.metrics import Task
from pipeline.models.registry import MODELS

# share of the budget and seconds: a first candidate that takes longer waits for a quick one
FIRST_SHARE, FIRST_S = 0.25, 30.0
FEWEST_TRIALS = 24  # trials that must fit for tuning to pay
TUNED_COST = 1.5  # cost of a tuned configuration relative to its origin: tuned models are larger
N_EXTRA_SEEDS = 6  # rounds of further seeds; the gain is gone long before
LARGEST_SHARE, PROBE_SHARE = 0.2, 0.08  # of the budget for one candidate or probe, if it has smaller versions
MINUTE_OF_CELLS = 10e6  # another minute for so many cells of the train table
# what a candidate promises: for a start, and as shares of what its model, its family, or its other seeds earn
UNKNOWN, OF_FAILED, OF_MODEL, OF_FAMILY, OF_SEEDS = 0.02, 0.004, 0.5, 0.25, 0.3
OF_NEXT = 0.5  # factor for each variant of the same model that has weight and is no probe
WEIGHT_TO_FOLLOW = 0.1  # of a probe in the ensemble, for what is only tried after its success

FLOOR = "baseline"  # always finishes
QUICK = ("lightgbm quick", "xgboost quick")  # for tables too large for the time given


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

    `earned` is what every model that was tried adds to the ensemble, as a share; `by_kind` the ensemble weight of every
    kind of candidate. What follows a probe promises by the weight of that, too. Further seeds are candidates, too. Each
    variant of a model with weight, probes apart, makes the next one promise less: it is much like those.
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
        if one.follows is not None:
            worth += OF_MODEL * _leading_weight(one.follows, candidates, by_kind)
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
