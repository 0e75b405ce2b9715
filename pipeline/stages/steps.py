"""The order of the work, from a competition's name to a submission: what a step needs and is not there is made first.

Knows the stages; knows nothing of the command line. Stages are imported where they are called, so that a command waits
for the packages of its own work alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import SpecError
from pipeline.base.interruption import ENDED_EARLY
from pipeline.base.progress import mark_messages, say
from pipeline.competition.manifest import FeatureManifest
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.presets import DEFAULT_PRESET
from pipeline.config.records import TuningResult
from pipeline.config.run import RunConfig
from pipeline.config.spec import CompetitionSpec, load_spec

if TYPE_CHECKING:
    from pipeline.models.base import FitContext


@dataclass(frozen=True)
class Choice:
    """What a user chose to train: a preset, another model than the preset's, `key=value` over both."""

    preset: str = "auto"
    model: str | None = None
    overrides: Sequence[str] = ()


def with_spec(workspace: Workspace, dataset: str | None = None) -> CompetitionSpec:
    """Fetch the raw files and write a spec where there is none. `dataset`: owner/name of the files' data set."""
    from pipeline.stages.data import fetch_data
    from pipeline.stages.init import write_spec

    slug = load_spec(workspace.spec).data_slug if workspace.spec.exists() else workspace.competition
    fetch_data(workspace, dataset or slug)
    if not workspace.spec.exists():
        write_spec(workspace, metric=None, dataset=dataset)
    return load_spec(workspace.spec)


def with_features(workspace: Workspace) -> tuple[FeatureStore, bool]:
    """The competition's features, and whether they had to be written."""
    from pipeline.stages.features import build_features

    spec = with_spec(workspace)
    was_written = build_features(workspace, spec)
    store = FeatureStore(workspace, spec)
    mark_messages("SAMPLE DATA" if store.is_sample else "")
    return store, was_written


def run_configuration(workspace: Workspace, choice: Choice) -> RunConfig:
    """The run to train. `auto` is what `tune` found, if it is of the features at hand, else the preset `fast`."""
    from pipeline.models.run_configuration import load_run_config

    preset = choice.preset
    if preset == "best":
        raise SpecError("preset best is a plan of many runs", where="--preset", hint="`submit` and `final` take it.")
    best = workspace.tuning(choice.model or load_run_config().model) / "best.json"
    if preset == "auto":
        tuned = TuningResult.read_or_none(best, otherwise="it is not used")
        features = FeatureManifest.read_or_none(workspace.manifest, otherwise="the features are made again")
        is_current = tuned is not None and features is not None and tuned.features == features.fingerprint
        preset = "tuned" if is_current else DEFAULT_PRESET
        say(f"preset: {'what tune found' if is_current else f'{DEFAULT_PRESET} (nothing is tuned yet)'}")
    if preset == "tuned" and not best.exists():
        raise SpecError("nothing is tuned yet", where=str(best), hint="`make tune` first, or PRESET=fast.")
    if preset == "tuned":
        TuningResult.read(best)
    return load_run_config(str(best) if preset == "tuned" else preset, model=choice.model, overrides=choice.overrides)


def fit_context(device: str = "auto", n_workers: int = 0) -> FitContext:
    """Where fits run: `auto`, `cuda`, `mps` or `cpu`, and so many workers (0: one per core)."""
    from joblib import cpu_count

    from pipeline.models.base import FitContext
    from pipeline.nets.devices import choose_device

    return FitContext(choose_device(device), n_workers or cpu_count())


def train(workspace: Workspace, config: RunConfig, context: FitContext) -> tuple[FeatureStore, RunFolder]:
    """Features, a look at what they say of a score's worth, and the cross-validated run."""
    from pipeline.scoring.data_check import say_trust, trust_in
    from pipeline.stages.train import train_run

    store, _ = with_features(workspace)
    say_trust(trust_in(store))
    return store, train_run(store, config, context)


def tune(
    workspace: Workspace,
    choice: Choice,
    context: FitContext,
    *,
    n_trials: int = 100,
    batch_size: int = 16,
    sampler: str = "tpe",
    pruner: str = "halving",
    storage: str | None = None,
    n_rows: int | None = None,
) -> tuple[FeatureStore, Path, bool]:
    """Features, and the model's study continued to `n_trials`; its folder, and whether Ctrl-C ended it early.

    `n_rows` tunes on a sample of the train rows.
    """
    from pipeline.models.run_configuration import load_run_config
    from pipeline.stages.tune import TABLES
    from pipeline.stages.tune import tune as tune_model

    config = load_run_config(choice.preset, model=choice.model, overrides=choice.overrides)
    store, _ = with_features(workspace)
    folder = workspace.tuning(config.model)
    try:
        tune_model(
            store if n_rows is None else replace(store, n_rows=n_rows),
            config,
            context,
            n_trials=n_trials,
            batch_size=batch_size,
            sampler=sampler,
            pruner=pruner,
            storage=storage,
        )
    except ENDED_EARLY:
        if not all((folder / table).exists() for table in TABLES):
            raise
        return store, folder, True
    return store, folder, False


def finish(
    workspace: Workspace,
    choice: Choice,
    context: FitContext,
    *,
    minutes: float = 10.0,
    smallest_weight: float | None = None,
    started: float | None = None,
) -> tuple[FeatureStore, Path, bool]:
    """Everything up to a checked submission; its path, and whether Ctrl-C ended the work early.

    Preset best takes `minutes` (from `started`, a `time.monotonic()`) and leaves out runs below `smallest_weight`.
    """
    if choice.preset == "best":
        from pipeline.stages.best import make_best

        if choice.model is not None or choice.overrides:
            raise SpecError("preset best chooses models and their settings itself", where="--model, --set")
        store, _ = with_features(workspace)
        best = make_best(store, context, minutes=minutes, smallest_weight=smallest_weight, started=started)
        return store, best.submission, best.is_interrupted
    from pipeline.stages.final import make_final

    config = run_configuration(workspace, choice)
    store, run = train(workspace, config, context)
    return store, make_final(store, config, run, context), False
