"""The candidates of a race: what was tried, what was given up, and what fits into the time left.

Knows plans, weights and seconds; must not know data, runs, files or a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.best import plan
from pipeline.best.costs import Candidate, Pace, Size
from pipeline.config.run import RunConfig
from pipeline.config.run_report import GivenUp

Weights = Mapping[str, float]


@dataclass
class Pool:
    """What may be trained, and what became of it."""

    candidates: list[Candidate]
    quick: list[Candidate]  # anything beats the baseline
    floor: Candidate  # the baseline, which always finishes
    missing: list[str]  # packages of the candidates that are left out
    budget_s: float
    pace: Pace = field(default_factory=Pace)
    tried: set[str] = field(default_factory=set)  # labels
    given_up: list[GivenUp] = field(default_factory=list)
    tuned: list[Candidate] = field(default_factory=list)
    tuned_kinds: set[str] = field(default_factory=set)  # tuning was tried, successful or not

    @classmethod
    def of(cls, size: Size, budget_s: float) -> Pool:
        """The candidates for a table of this size."""
        missing, pretrained = plan.missing_packages(), plan.pretrained_models(size.task)
        found = plan.candidates_for(size, without=missing, pretrained=pretrained)
        quick, floor = plan.stopgaps_for(size, without=missing)
        return cls(plan.quick_first(found, quick, budget_s), quick, floor, missing, budget_s)

    @property
    def singles(self) -> list[Candidate]:
        """The candidates and what was tuned, without further seeds."""
        return [*self.candidates, *self.tuned]

    def by_run_name(self) -> dict[str, Candidate]:
        """All that an earlier race of these candidates can have trained."""
        versions = [one for candidate in self.singles for one in candidate.versions]
        further = plan.more_seeds(versions, {one.kind: 1.0 for one in versions}, self.pace)
        return {one.config.run_name: one for one in (*versions, *further, *self.quick, self.floor)}

    def outline(self, spent_s: float) -> Iterator[str]:
        """What comes first and what may follow; with times where no probe decides."""
        untried = self._untried(self.candidates)
        if any(one.is_probe for one in untried):
            return plan.outline(untried)
        return plan.timetable(untried, self.pace, spent_s=spent_s, budget_s=self.budget_s)

    def in_order(self, earned: Weights, by_kind: Weights, left: float) -> list[Candidate]:
        """The untried candidates; where probes decide also further seeds. `left`: seconds."""

        def seconds_of(candidate: Candidate) -> float:
            return self.pace.estimate(self._fitting_version(candidate, left) or candidate)

        pool = self.candidates
        if any(one.is_probe for one in pool):
            pool = [*pool, *plan.more_seeds(pool, by_kind, self.pace)]
        return self._untried(plan.in_order(pool, earned, by_kind, seconds_of))

    def singles_then_seeds(self, by_kind: Weights) -> list[Candidate]:
        """The untried candidates, tuned ones after the others, and further seeds."""
        return self._untried([*self.singles, *plan.more_seeds(self.singles, by_kind, self.pace)])

    def first_fitting(self, candidates: Sequence[Candidate], left: float) -> Candidate | None:
        """The first candidate of which a version fits into the time left: that version."""
        return next(filter(None, (self._fitting_version(one, left) for one in candidates)), None)

    def _fitting_version(self, candidate: Candidate, left: float) -> Candidate | None:
        """Its largest version that fits into the time left and takes no undue part of it, as the smallest may."""
        due = (plan.PROBE_SHARE if candidate.is_probe else plan.LARGEST_SHARE) * self.budget_s
        *larger, smallest = candidate.versions
        limits = [*((one, min(left, due)) for one in larger), (smallest, left)]
        return next((one for one, limit in limits if self.pace.safe_estimate(one) <= limit), None)

    def to_tune(self, by_kind: Weights, seconds: float) -> Candidate | None:
        """The candidate of most weight that was not tuned and of which enough trials fit into `seconds`."""
        plain = [one for one in self.candidates if one not in self.quick and one.kind not in self.tuned_kinds]
        return plan.to_tune(plain, by_kind, self.pace, seconds)

    def take_tuned(self, origin: Candidate, config: RunConfig) -> None:
        """Add what tuning found as a candidate."""
        self.tuned_kinds.add(origin.kind)
        self.tuned.append(plan.tuned_candidate(origin, config))

    def take_tuned_before(self, configs: Mapping[str, RunConfig]) -> None:
        """Add what an earlier race tuned, by the kind it was tuned from; kinds that are no candidates are left out."""
        origins = {one.kind: one for one in self.candidates}
        for kind, config in configs.items():
            if kind in origins:
                self.take_tuned(origins[kind], config)

    def take_trained(self, candidate: Candidate, elapsed_s: float) -> None:
        """Record a finished run and its time."""
        self.tried.add(candidate.label)
        # what is tuned or gets further seeds is the version that was trained
        self.candidates = [candidate if one.label == candidate.label else one for one in self.candidates]
        if candidate is not self.floor:  # too cheap to predict the time of a model
            self.pace.measured(candidate, elapsed_s)

    def give_up(self, candidate: Candidate, why: str) -> None:
        """Record what could not be trained."""
        self.given_up.append(GivenUp(candidate=candidate.label, why=why))

    def offer_smaller(self, candidate: Candidate) -> None:
        """Let the next smaller version of a candidate that takes too long be tried."""
        for at, one in enumerate(self.candidates):
            if candidate.label == one.label and candidate in one.versions[:-1]:
                first, *rest = one.versions[one.versions.index(candidate) + 1 :]
                self.candidates[at] = replace(first, smaller=tuple(rest))
                self.tried.discard(one.label)

    def put_off(self, candidate: Candidate) -> None:
        """Let quicker candidates come before one that may be continued later."""
        self.tried.discard(candidate.label)
        self.candidates = [*self.quick, *(one for one in self.candidates if one not in self.quick)]

    def _untried(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return [one for one in candidates if one.label not in self.tried]
