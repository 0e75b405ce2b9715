"""The race: train one candidate after the other, against the clock, and combine what finishes.

Knows plans, runs and a clock; the stages that train, tune and finish are passed in.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.base.errors import ClusterError, PipelineError, TrainingError
from pipeline.base.interruption import ENDED_EARLY, Stopped, on_interrupt
from pipeline.base.progress import say
from pipeline.best import plan
from pipeline.best.costs import REFERENCE_CORES, Candidate, Size
from pipeline.best.ensemble_run import FinishedRun, finished_run
from pipeline.best.pool import Pool
from pipeline.best.standing import Standing
from pipeline.best.time_limit import TimeLimit
from pipeline.competition.run_files import fault_in
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import RunConfig
from pipeline.config.run_report import RunReport
from pipeline.models.run_configuration import resolved
from pipeline.scoring.ensembling import SMALLEST_WEIGHT

RESERVE_S = 1.5  # kept for the last ensemble and its file, or twice the time of the previous one;
RESERVE_SHARE = 0.02  # and this share of the budget for program start and exit
MOST_OVER = 3.0  # a fit is given up after this many times its estimate, and at least half a minute
LEAST_LIMIT_S = 30.0
MOST_OF_BUDGET = 0.3  # share of the budget, after which one that takes longer than estimated is given up
TRAINED_BY = 0.8  # share of that limit after which what can ends; predictions have the rest
FIRST_BY_S, FIRST_BY_SHARE = 50.0, 0.38  # deadline of the first submission, at most this share of the budget
TUNING_SHARE = 0.5  # of the time left when every candidate has been tried
LAST_TUNING_SHARE = 0.8  # of the time left when further seeds have been tried, too
SHARE_BEFORE_REFIT = 0.45  # of the budget, where the members are refitted on all rows at the end


class Stages(Protocol):
    """The stages a candidate goes through."""

    def train(
        self, config: RunConfig, stop: threading.Event, on_share: Callable[[float], None], seconds: float
    ) -> RunFolder:
        """Cross-validate it; `on_share` receives the share of the fits that is done.

        What can ends after so many seconds with what it has learned.
        """
        ...

    def tune(self, config: RunConfig, seconds: float, stop: threading.Event) -> RunConfig | None:
        """Tune it for `seconds`; None when too few trials finish."""
        ...

    def finish(self, config: RunConfig, run: RunFolder, is_interim: bool) -> Path:
        """Write the submission of a run; `is_interim` when a better one may follow."""
        ...


@dataclass(frozen=True)
class Best:
    """The result of a race: the submission of the best ensemble so far."""

    submission: Path
    run: RunFolder
    is_interrupted: bool


def race(
    store: FeatureStore,
    stages: Stages,
    *,
    minutes: float | None,
    smallest_weight: float = SMALLEST_WEIGHT,
    clock: Callable[[], float] = time.monotonic,
    started: float | None = None,
    given: Sequence[FinishedRun] = (),
    n_cores: int | None = None,
) -> Best:
    """Train candidates until `minutes` are spent, including earlier calls; keep an ensemble and its file up to date.

    Without `minutes` it is the short race of preset fast: about a minute, and no tuning. Runs that are `given` compete
    for weights like those that are trained. `n_cores` are those of a cluster, which trains the candidates faster.

    Every candidate is a run of its own; finished runs are not trained again. After each, the ensemble is chosen again
    and its submission written. When all candidates were tried, part of the remaining time tunes the one of most weight
    that can be tuned in it; further seeds follow. Ctrl-C ends with the best so far. Raises TrainingError when no
    candidate could be trained, Stopped when interrupted before the first.
    """
    is_short = minutes is None
    minutes = plan.short_minutes(*store.train.shape) if minutes is None else minutes
    started = clock() if started is None else started
    cores = REFERENCE_CORES if n_cores is None else n_cores
    work = _Race(store, stages, minutes, is_short, smallest_weight, clock, started, cores)
    work.standing.members.extend(given)
    work.take_finished()
    if work.left() > 0 or not work.standing.members:
        work.show_plan()
    with on_interrupt(work.interrupt):
        while not work.is_interrupted and (candidate := work.next_candidate()) is not None:
            if work.try_candidate(candidate):
                work.combine()
    if not work.standing.members:
        if work.is_interrupted:
            raise Stopped
        given_up = work.pool.given_up
        first = given_up[0].why if given_up else "there was no candidate"
        raise TrainingError(
            "no model could be trained", where=f"preset {work.title}", hint=f"The first failure: {first}"
        )
    return work.conclude()


@dataclass
class _Race:
    """The state of one call: candidates, the ensemble so far, and the time left."""

    store: FeatureStore
    stages: Stages
    minutes: float
    is_short: bool
    smallest_weight: float
    clock: Callable[[], float]
    started: float
    n_cores: int
    is_interrupted: bool = False
    is_first_due: bool = False  # the first candidate took too long: the baseline comes before it
    spent_before_s: float = 0.0
    combining_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        spec = self.store.spec
        self.budget_s = 60.0 * self.minutes * (SHARE_BEFORE_REFIT if spec.folds.rules.is_chained else 1.0)
        rows, columns = self.store.train.shape
        n_classes, is_absolute = len(self.store.classes), self.store.metric.loss == "mae"
        n_characters = plan.characters_of_sentences(self.store.train, self.store.manifest.roles)
        self.size = Size(
            *(spec.task, rows, columns, len(self.store.splits), n_classes, n_characters, is_absolute, len(spec.target)),
            n_cores=self.n_cores,
        )
        self.pool = Pool.of(self.size, self.budget_s)
        self.standing = Standing(self.store, self.title, self.stages.finish, self.smallest_weight)
        run = self.standing.run
        known = RunReport.read_or_none(run.report, otherwise="the ensemble is made again")
        self.known = None if known is None else known.ensemble
        self.is_intact = known is not None and not fault_in(run, known)
        if self.known is not None:
            self.pool.take_tuned_before({kind: resolved(config) for kind, config in self.known.tuned.items()})

    @property
    def title(self) -> str:
        """What messages begin with."""
        return "fast" if self.is_short else "best"

    def interrupt(self) -> None:
        """Stop the running fit at its next checkpoint, and the race with it."""
        self.is_interrupted = True
        self.stop.set()

    def spent_s(self) -> float:
        """Seconds spent by this and earlier calls."""
        return self.spent_before_s + self.clock() - self.started

    def left(self) -> float:
        """Seconds left for further candidates."""
        reserve = RESERVE_SHARE * self.budget_s + max(RESERVE_S, 2.0 * self.combining_s)
        return self.budget_s - self.spent_s() - reserve

    def take_finished(self) -> None:
        """Take over finished runs of earlier calls, and their time."""
        recorded = {} if self.known is None else {one.run: one for one in self.known.looked_at}
        for one in self.pool.by_run_name().values():
            run = self.store.run_of(one.config)
            report = RunReport.read_or_none(run.report, otherwise="the run is made again")
            if report is not None and not self.store.outdated(report) and not fault_in(run, report):
                self._take(one, run, elapsed_s=recorded[run.name].elapsed_s if run.name in recorded else None)
        members = self.standing.members
        if not members:
            return
        names = {member.name for member in members}
        if self.known is not None and recorded.keys() <= names:
            self.spent_before_s = self.known.spent_s
        else:
            self.spent_before_s = sum(member.elapsed_s for member in members)
        self.standing.say(
            f"{len(members)} runs are finished, {self.spent_before_s:.0f} of {self.budget_s:.0f} s are spent"
        )
        if recorded.keys() == names and self.is_intact and self.known and self.known.prune == self.smallest_weight:
            self.standing.ensemble = self.known
        else:
            self.combine()

    def show_plan(self) -> None:
        """Print the candidates and their estimated times."""
        size, lacking = self.size, " and ".join(self.pool.missing)
        there = f"; {lacking} of the extra `boosting` would add to it" if lacking else ""
        self.standing.say(
            f"plan for {self.minutes:.3g} minutes: {size.n_rows} rows x {size.n_columns} columns, "
            f"{size.n_folds} folds{there}"
        )
        for line in self.pool.outline(self.spent_s()):
            say(f"  {line}")
        if not self.is_short:
            say("  then tuning and further seeds of the runs with weight")

    def next_candidate(self) -> Candidate | None:
        """The first untried candidate that fits into the time left, tuned ones last; None at the end.

        Where none fits, the baseline comes first, then the quickest candidate: anything beats the baseline.
        """
        pool = self.pool
        left = self.left_for_next()
        untried = pool.in_order(self.standing.earned(), self._weight_by_kind(), left)
        if fitting := pool.first_fitting(untried, left):
            return fitting
        if self.has_nothing:
            return pool.floor
        if all(member.kind == pool.floor.kind for member in self.standing.members):
            return min(untried, key=pool.pace.estimate, default=None) if self.left() > 0 else None
        if self.is_short:
            return None
        if not pool.tuned_kinds:
            self._tune_next(TUNING_SHARE)
        while not self.is_interrupted:
            further = pool.singles_then_seeds(self._weight_by_kind())
            fitting = pool.first_fitting(further, self.left_for_next())
            if fitting or not self._tune_next(LAST_TUNING_SHARE):
                return fitting
        return None

    @property
    def has_nothing(self) -> bool:
        """Whether there is no submission yet and the baseline was not tried."""
        return not self.standing.members and self.pool.floor.label not in self.pool.tried

    def left_for_next(self) -> float:
        """Seconds for the next candidate: the time left, or until the deadline of the first submission."""
        if not self.has_nothing:
            return self.left()
        if self.is_first_due:
            return -math.inf
        return min(FIRST_BY_S, FIRST_BY_SHARE * self.budget_s) - (self.clock() - self.started)

    def _weight_by_kind(self) -> dict[str, float]:
        return self.standing.weight_by(lambda member: member.kind)

    def _tune_next(self, share: float) -> bool:
        """Tune the untuned candidate of most weight, if enough trials fit into `share` of the time left.

        The result is a new candidate. Returns whether there was one to tune.
        """
        if self.is_interrupted or not self.standing.members:
            return False
        seconds = share * self.left()
        chosen = self.pool.to_tune(self._weight_by_kind(), seconds)
        if chosen is None:
            return False
        self.pool.tuned_kinds.add(chosen.kind)
        self.standing.say(f"tuning {chosen.label} for {seconds:.0f} s; {self.left():.0f} s left")
        self.stop = threading.Event()
        try:
            config = self.stages.tune(chosen.config, seconds, self.stop)
        except (*ENDED_EARLY, ClusterError) as error:
            if isinstance(error, ClusterError):
                self.standing.say(error.message)
            self.is_interrupted = True
            return False
        if config is not None:
            self.pool.take_tuned(chosen, config)
        return True

    def try_candidate(self, candidate: Candidate) -> bool:
        """Train it within its time limit; whether it finished."""
        pool = self.pool
        pool.tried.add(candidate.label)
        estimate = pool.pace.estimate(candidate)
        limit = self._limit(candidate, estimate)
        self.standing.say(f"{candidate.label}, about {estimate:.0f} s; {max(0.0, self.left()):.0f} s left")
        timed = TimeLimit(limit, self.clock)
        self.stop = timed.stop
        try:
            with timed:
                run = self.stages.train(candidate.config, timed.stop, timed.look_ahead, TRAINED_BY * limit)
        except ENDED_EARLY:
            if timed.is_late and not self.is_interrupted:
                if timed.whole_s is not None:  # improves the estimates of the others
                    pool.pace.measured(candidate, timed.whole_s)
                if self.has_nothing:  # it continues when there is a submission, after quicker candidates
                    pool.put_off(candidate)
                    self.is_first_due = True
                    return False
                self._give_up(candidate, f"it takes longer than {limit:.0f} s; a later call continues it")
                pool.offer_smaller(candidate)
            else:
                self.is_interrupted = True
            return False
        except ClusterError as error:  # no candidate can be trained
            if not self.standing.members:
                raise
            self.standing.say(error.message)
            self.is_interrupted = True
            return False
        except PipelineError as error:
            self._give_up(candidate, error.message)
            return False
        self._take(candidate, run, elapsed_s=timed.elapsed_s)
        return True

    def _limit(self, candidate: Candidate, estimate: float) -> float:
        """Seconds after which a candidate is given up."""
        if candidate is self.pool.floor:
            return math.inf
        most = max(estimate, MOST_OF_BUDGET * self.budget_s)
        return min(self.left_for_next(), max(LEAST_LIMIT_S, min(MOST_OVER * estimate, most)))

    def _give_up(self, candidate: Candidate, why: str) -> None:
        self.pool.give_up(candidate, why)
        self.standing.say(f"{candidate.label} is given up: {why}")

    def _take(self, candidate: Candidate, run: RunFolder, elapsed_s: float | None = None) -> None:
        member = finished_run(self.store, run, label=candidate.label, kind=candidate.kind, elapsed_s=elapsed_s)
        self.standing.members.append(member)
        self.pool.take_trained(candidate, member.elapsed_s)

    def combine(self) -> None:
        """Choose the ensemble again."""
        begun = self.clock()
        self.standing.combine(
            round(self.spent_s(), 2),
            given_up=self.pool.given_up,
            tuned={one.origin: one.config for one in self.pool.tuned},
            minutes=self.minutes,
        )
        self.combining_s = self.clock() - begun

    def conclude(self) -> Best:
        """Write the final submission and print its members and the time spent."""
        standing, given_up = self.standing, self.pool.given_up
        if self.is_interrupted:
            standing.say("interrupted; this is the best so far, and the same command continues")
        submission = standing.conclude(is_interim=self.is_interrupted)
        if given_up or self.known is None:
            report = RunReport.read(standing.run.report)
            assert report.ensemble is not None, "the ensemble's report is another run's"
            ensemble = report.ensemble.updated(given_up=given_up, spent_s=round(self.spent_s(), 2))
            report.updated(ensemble=ensemble).write(standing.run.report)
        standing.say_where_time_went(self.spent_s())
        standing.say(f"{self.spent_s():.0f} s of {60 * self.minutes:.0f} s")
        return Best(submission, standing.run, self.is_interrupted)
