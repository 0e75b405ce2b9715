"""Stage `best`: as many different runs as a time limit allows -> their ensemble, a run like any other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.base.share import WHOLE
from pipeline.best.ensemble_run import ensemble_folder, finished_run, write_planned
from pipeline.best.race import Best, race
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder
from pipeline.config.run import GIVEN, RunConfig
from pipeline.config.run_report import EnsemblePlan
from pipeline.models.base import FitContext
from pipeline.scoring.ensembling import SMALLEST_WEIGHT
from pipeline.scoring.given import given_run
from pipeline.stages.final import make_final
from pipeline.stages.train import train_run


def make_best(
    store: FeatureStore,
    context: FitContext,
    *,
    minutes: float | None,
    smallest_weight: float | None = None,
    started: float | None = None,
) -> Best:
    """Train candidates for `minutes`, or a short time; return the submission of their best ensemble.

    Raises what `race` raises.
    """
    smallest = SMALLEST_WEIGHT if smallest_weight is None else smallest_weight
    with ensemble_folder(store).held():
        given = [
            finished_run(
                store, given_run(store, store.workspace.folder / one.folder, one.name), label=one.name, kind=GIVEN
            )
            for one in store.spec.members
        ]
        return race(
            store,
            _Stages(store, context),
            minutes=minutes,
            smallest_weight=smallest,
            started=started,
            given=given,
            n_cores=context.workers.n_cores,
        )


def rebuild_best(store: FeatureStore, plan: EnsemblePlan, context: FitContext) -> Path:
    """Train the members of a chosen ensemble and return the submission of their average.

    A process with a share of the work trains the members of its share and raises ShareDone.
    """
    runs = [
        train_run(store, config, replace(context, share=WHOLE))
        for number, config in enumerate(plan.members)
        if context.share.has(number)
    ]
    context.share.end()
    labels = [one.label for one in plan.ensemble.members]
    members = [finished_run(store, run, label=label, kind=label) for run, label in zip(runs, labels, strict=True)]
    return make_final(store, plan.config, write_planned(store, plan, members), context)


@dataclass(frozen=True)
class _Stages:
    """The stages that the race calls for its candidates."""

    store: FeatureStore
    context: FitContext

    def train(
        self, config: RunConfig, stop: threading.Event, on_share: Callable[[float], None], seconds: float
    ) -> RunFolder:
        context = replace(self.context, stop=stop, ends_at=time.monotonic() + seconds)
        return train_run(self.store, config, context, on_share=on_share)

    def tune(self, config: RunConfig, seconds: float, stop: threading.Event) -> RunConfig | None:
        from pipeline.tuning.timed import tune_within  # loads Optuna, which a rebuilt ensemble does not need

        return tune_within(self.store, config, seconds, replace(self.context, stop=stop))

    def finish(self, config: RunConfig, run: RunFolder, is_interim: bool) -> Path:
        return make_final(self.store, config, run, self.context, is_interim=is_interim)
