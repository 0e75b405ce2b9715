"""What a race has so far: finished runs, the weights of their ensemble, and its submission.

Knows runs and how an ensemble is written; must not know plans, or what is trained next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.base.progress import say
from pipeline.best.ensemble_run import FinishedRun, ensemble_folder, write_ensemble
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import GIVEN, RunConfig
from pipeline.config.run_report import EnsembleReport, RunReport
from pipeline.models.run_configuration import resolved
from pipeline.scoring.data_check import known_trust, say_trust, trust_in
from pipeline.scoring.ensembling import SMALLEST_WEIGHT

Finish = Callable[[RunConfig, RunFolder, bool], Path]  # writes the submission of a run; True: a better one may follow


@dataclass
class Standing:
    """The finished runs of a race and their ensemble, which is a run of its own."""

    store: FeatureStore
    title: str  # what messages begin with
    finish: Finish
    smallest_weight: float
    members: list[FinishedRun] = field(default_factory=list)
    ensemble: EnsembleReport | None = None  # what was chosen of them last
    has_looked: bool = False

    def __post_init__(self) -> None:
        self.run = ensemble_folder(self.store)

    def say(self, text: str) -> None:
        """Print a message of the race."""
        say(f"{self.title}: {text}")

    @property
    def weights(self) -> dict[str, float]:
        """Run -> weight, of the members of the ensemble."""
        return {} if self.ensemble is None else self.ensemble.weights

    def weight_by(self, key_of: Callable[[FinishedRun], str]) -> dict[str, float]:
        """The weights in the best ensemble, summed over the members with the same key.

        Where one configuration is submitted alone, the others still are what an ensemble would be made of.
        """
        total: dict[str, float] = {}
        shares = (self.ensemble.shares if self.ensemble else None) or self.weights
        for member in self.members:
            if weight := shares.get(member.name):
                total[key_of(member)] = total.get(key_of(member), 0.0) + weight
        return total

    def earned(self) -> dict[str, float]:
        """What each model that was tried earns: half its weight, half its share of what is lost without it.

        A model can have much weight though others do its work as well, and little though nobody does. Without any
        weight it earns nothing.
        """
        models = {member.report.config.model for member in self.members} - {GIVEN}
        weights = self.weight_by(lambda member: member.report.config.model)
        lost = {} if self.ensemble is None else self.ensemble.lost_without or {}
        return dict.fromkeys(sorted(models), 0.0) | {
            model: (weight + lost.get(model, 0.0)) / 2.0 for model, weight in weights.items() if model != GIVEN
        }

    def combine(self, spent_s: float, **of_the_race: Any) -> None:
        """Choose the ensemble of all finished runs; write it as a run, with its submission."""
        report = write_ensemble(
            self.store, self.run, self.members, smallest_weight=self.smallest_weight, spent_s=spent_s, **of_the_race
        )
        ensemble = report.ensemble
        assert ensemble is not None, "write_ensemble reports its ensemble"
        self.ensemble = ensemble
        self.finish(report.config, self.run, True)
        self.say(
            f"{len(self.weights)} of {len(self.members)} runs have weight ({ensemble.method}): nested "
            f"{self.store.spec.metric} {ensemble.nested_score:.5f}, cv {report.cv_score:.5f}, after {spent_s:.0f} s"
        )
        if not self.has_looked:
            self.has_looked = True
            say_trust(trust_in(self.store))
            RunReport.read(self.run.report).updated(trust=known_trust(self.store)).write(self.run.report)

    def conclude(self, *, is_interim: bool) -> Path:
        """Print the members; return the submission."""
        report = RunReport.read(self.run.report)
        ensemble = report.ensemble
        assert ensemble is not None, "the ensemble's report is another run's"
        for member in sorted(ensemble.looked_at, key=lambda one: -one.weight):
            share = f"{member.weight:6.1%}" if member.weight else "     -"
            say(f"  {share}  {member.label:<22} cv {member.cv_score:.5f}  {member.elapsed_s:5.0f} s")
        if self.smallest_weight != SMALLEST_WEIGHT:
            before = ensemble.without_prune
            self.say(
                f"{len(ensemble.members)} runs with a weight of at least {self.smallest_weight:g}, nested "
                f"{ensemble.nested_score:.5f}; with {SMALLEST_WEIGHT:g}: {before.members} runs, nested "
                f"{before.nested_score:.5f}"
            )
        self._say_why(ensemble)
        return self.finish(resolved(report.config), self.run, is_interim)

    def say_where_time_went(self, spent_s: float) -> None:
        """Print how much of the time is in the submission."""
        used = sum(one.elapsed_s for one in self.members if self.weights.get(one.name))
        dropped = sum(one.elapsed_s for one in self.members) - used
        rest = max(0.0, spent_s - used - dropped)
        self.say(
            f"{used:.0f} s trained what is submitted, {dropped:.0f} s what got no weight; {rest:.0f} s read, combined "
            "and began what was not finished"
        )

    def _say_why(self, ensemble: EnsembleReport) -> None:
        metric, single = self.store.spec.metric, ensemble.nested_scores.get("single")
        n_members = len(ensemble.members)
        kinds = {member.kind for member in self.members if self.weights.get(member.name)}
        if single is None or len(self.members) < 2:
            return
        if len(kinds) == 1:
            (kind,), seeds = kinds, f" with {n_members} seeds" if n_members > 1 else ""
            why = f"{kind}{seeds} alone: no ensemble has a better nested {metric} than {single:.5f}"
        else:
            why = (
                f"an ensemble of {n_members} runs: nested {metric} {ensemble.nested_score:.5f}, "
                f"the best configuration alone {single:.5f}"
            )
        self.say(f"submits {why}")
