"""The order of the work, from a competition's name to a submission: each step first runs the steps it needs.

Knows the stages; knows nothing of the command line. Stages are imported where they are called, so that no command waits
for packages it does not use.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.base.errors import SpecError
from pipeline.base.interruption import ENDED_EARLY
from pipeline.base.names import name_from
from pipeline.base.progress import mark_messages, say
from pipeline.base.share import Share
from pipeline.competition.store import FeatureStore
from pipeline.competition.workspace import RunFolder, Workspace
from pipeline.config.presets import DEFAULT_PRESET
from pipeline.config.records import TuningResult
from pipeline.config.run import RunConfig
from pipeline.config.run_report import PLAN_FILE, EnsemblePlan
from pipeline.config.spec import CompetitionSpec, load_spec

if TYPE_CHECKING:
    from pipeline.competition.draft.explanation import Guess
    from pipeline.models.base import FitContext
    from pipeline.tuning.session import TuneOptions


DEFAULT_MINUTES = 10.0  # of preset best


@dataclass(frozen=True)
class Choice:
    """What to train: a preset, a model that replaces the preset's, `key=value` settings that override both."""

    preset: str = "auto"
    model: str | None = None
    overrides: Sequence[str] = ()


def draft(root: Path, given: str, *, metric: str | None, is_overwriting: bool) -> str:
    """Fetch the files of a slug, a Kaggle URL or a folder; write a spec drafted from them and return its text."""
    from pipeline.stages.data import fetch_data
    from pipeline.stages.init import write_spec

    workspace, place = _place_of(root, given)
    with workspace.in_use(), workspace.preparing():
        fetch_data(workspace, workspace.competition, place=place)
        return write_spec(workspace, metric=metric, is_overwriting=is_overwriting)


def explain(root: Path, given: str, *, metric: str | None, is_overwriting: bool) -> list[Guess]:
    """Return the guesses of the spec that `draft` wrote, or writes now, with what else each could have been."""
    from pipeline.stages.init import explain_spec

    workspace, _ = _place_of(root, given)
    if is_overwriting or not workspace.spec.exists():
        draft(root, given, metric=metric, is_overwriting=is_overwriting)
    return explain_spec(workspace)


def _place_of(root: Path, given: str) -> tuple[Workspace, Path | None]:
    """Return the workspace of a slug, a Kaggle URL or a folder, and the folder with the files if it is one."""
    is_folder = ("/" in given or os.sep in given or given in (".", "..")) and os.path.isdir(given)
    if not is_folder:
        return Workspace(root, given), None
    return Workspace(root, name_from(Path(given).resolve().name)), Path(given)


def with_spec(workspace: Workspace, dataset: str | None = None) -> CompetitionSpec:
    """Fetch the raw files and draft a spec if there is none. `dataset` is owner/name of a Kaggle dataset with them."""
    from pipeline.stages.data import fetch_data
    from pipeline.stages.init import write_spec

    with workspace.in_use(), workspace.preparing():
        fetch_data(workspace, dataset or data_slug(workspace))
        if not workspace.spec.exists():
            write_spec(workspace, metric=None, dataset=dataset)
        return load_spec(workspace.spec)


def add_files(workspace: Workspace, names: Sequence[str], dataset: str | None = None) -> None:
    """Fetch the files with these names from Kaggle, without the others."""
    from pipeline.stages.data import fetch_files

    with workspace.in_use(), workspace.preparing():
        fetch_files(workspace, dataset or data_slug(workspace), names)


def data_slug(workspace: Workspace) -> str:
    """Return the competition or dataset at Kaggle with the files, by the spec if there is one."""
    return load_spec(workspace.spec).data_slug if workspace.spec.exists() else workspace.competition


def with_features(workspace: Workspace, context: FitContext | None = None) -> tuple[FeatureStore, bool]:
    """Return the competition's features, and whether they had to be written; a fit's `context` names its device."""
    from pipeline.competition.text_embeddings import model_folder
    from pipeline.stages.features import build_features

    with workspace.in_use(), workspace.preparing():
        spec = with_spec(workspace)
        model_folder(workspace, spec)  # a model that is not there is told before anything is made
        was_written = build_features(workspace, spec)
    store = FeatureStore(workspace, spec, device="auto" if context is None else str(context.device))
    mark_messages("SAMPLE DATA" if store.is_sample else "")
    return store, was_written


def run_configuration(workspace: Workspace, choice: Choice) -> RunConfig:
    """Resolve the run to train. `auto` is the result of `tune` if it matches the current features, otherwise `fast`.

    Where there is a result of `tune`, the features are brought up to date first.
    """
    from pipeline.models.run_configuration import load_run_config

    preset, model = choice.preset, choice.model or load_run_config().model
    if preset == "best":
        raise SpecError("preset best trains many runs, not one", where="--preset", hint="Use `submit` or `final`.")
    best = workspace.tuning(model) / "best.json"
    if preset == "auto":
        reason = _why_not_tuned(workspace, model)
        preset = DEFAULT_PRESET if reason else "tuned"
        say(f"preset: {preset}{f' ({reason})' if reason else ''}")
    if preset == "tuned" and not best.exists():
        raise SpecError("there is no tuning result", where=str(best), hint="Run `make tune` first, or set PRESET=fast.")
    if preset == "tuned":
        TuningResult.read(best)
        if choice.preset == "tuned" and _why_not_tuned(workspace, model):
            say(f"preset: tuned (on other features than the present ones; `make tune` tunes {model} on these)")
    return load_run_config(str(best) if preset == "tuned" else preset, model=choice.model, overrides=choice.overrides)


def _why_short_race(workspace: Workspace, choice: Choice) -> str | None:
    """Return why the short race runs, "" if it was asked for; None if a model, settings or a tuning result say more."""
    from pipeline.models.run_configuration import load_run_config

    if choice.model is not None or choice.overrides or choice.preset not in (DEFAULT_PRESET, "auto"):
        return None
    return "" if choice.preset == DEFAULT_PRESET else _why_not_tuned(workspace, load_run_config().model) or None


def _why_not_tuned(workspace: Workspace, model: str) -> str:
    """Say why the model's result of `tune` is not used; "" if it is up to date. Builds the features if there is one."""
    best = workspace.tuning(model) / "best.json"
    tuned = TuningResult.read_or_none(best, otherwise="it is not used", may_be_newer=True)
    if tuned is None:
        others = [path.parent.name for path in sorted(workspace.tuning(model).parent.glob("*/best.json"))]
        shown = "".join(f"; {name} is tuned: --model {name}" for name in others if name != model)
        return f"no tuning result for {model}{shown}"
    store, _ = with_features(workspace)
    if tuned.features != store.data_fingerprint(tuned.config):
        return f"the tuning result of {model} is of other features: tune again, or use it with --preset tuned"
    return ""


def what_to_bundle(workspace: Workspace, choice: Choice) -> tuple[FeatureStore, RunConfig | EnsemblePlan]:
    """Build the features and resolve what a notebook trains: a run, or the members of preset best's ensemble."""
    if choice.preset == "best":
        from pipeline.best.ensemble_run import plan_of

        _refuse_choices(choice)
        store, _ = with_features(workspace)
        return store, plan_of(store)
    config = run_configuration(workspace, choice)  # first: a wrong setting is refused before anything is read
    return with_features(workspace)[0], config


def _refuse_choices(choice: Choice) -> None:
    if choice.model is not None or choice.overrides:
        raise SpecError("preset best chooses models and their settings itself", where="--model, --set")


def fit_context(device: str = "auto", n_workers: int = 0, cluster: str | None = None) -> FitContext:
    """Choose where fits run: `device` is `auto`, `cuda`, `mps` or `cpu`; 0 workers means one per core.

    `cluster` is the address of a Dask scheduler, or `local:4`; the caller closes `workers` of the result. Raises
    SpecError, ClusterError.
    """
    from joblib import cpu_count

    from pipeline.base.cluster import Cluster
    from pipeline.models.base import FitContext
    from pipeline.nets.devices import choose_device

    if cluster is None:
        return FitContext(choose_device(device), n_workers or cpu_count(), share=Share.from_environment())
    if device not in ("auto", "cpu") or n_workers:
        raise SpecError(
            "fits on a cluster run on the processors of all its workers",
            where="--cluster",
            hint="Leave --device and --workers out.",
        )
    workers = Cluster(cluster)
    say(workers.describe())
    return FitContext(choose_device("cpu"), cpu_count(), workers=workers)


def train(workspace: Workspace, config: RunConfig, context: FitContext) -> tuple[FeatureStore, RunFolder]:
    """Build the features, warn about data that makes scores unreliable, and cross-validate the configuration."""
    from pipeline.scoring.data_check import say_trust, trust_in
    from pipeline.stages.train import train_run

    store, _ = with_features(workspace, context)
    say_trust(trust_in(store))
    return store, train_run(store, config, context)


def tune(
    workspace: Workspace, choice: Choice, context: FitContext, options: TuneOptions
) -> tuple[FeatureStore, Path, bool]:
    """Build the features and continue the model's study; return its folder and whether it was interrupted."""
    from pipeline.models.run_configuration import load_run_config
    from pipeline.stages.tune import TABLES
    from pipeline.stages.tune import tune as tune_model

    config = load_run_config(choice.preset, model=choice.model, overrides=choice.overrides)
    store = replace(with_features(workspace, context)[0], n_rows=options.n_rows)
    folder = workspace.tuning(config.model)
    try:
        tune_model(store, config, context, options)
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
    minutes: float | None = None,
    smallest_weight: float | None = None,
    started: float | None = None,
) -> tuple[FeatureStore, Path, bool]:
    """Run every step up to a submission file; return its path and whether the work was interrupted.

    Presets best and fast race many models. `minutes`, 10 for preset best by default, counts from `started` (a
    `time.monotonic()`) and includes earlier calls; runs with an ensemble weight below `smallest_weight` are dropped.
    """
    if choice.preset == "best":
        _refuse_choices(choice)
        minutes = DEFAULT_MINUTES if minutes is None else minutes
    why_short = _why_short_race(workspace, choice)
    if why_short:
        say(f"preset: {DEFAULT_PRESET} ({why_short})")
    if choice.preset == "best" or why_short is not None:
        from pipeline.stages.best import make_best

        store, _ = with_features(workspace, context)
        best = make_best(store, context, minutes=minutes, smallest_weight=smallest_weight, started=started)
        return store, best.submission, best.is_interrupted
    if Path(choice.preset).name == PLAN_FILE:
        from pipeline.stages.best import rebuild_best

        store, _ = with_features(workspace, context)
        return store, rebuild_best(store, EnsemblePlan.read(Path(choice.preset)), context), False
    from pipeline.stages.final import make_final

    config = run_configuration(workspace, choice)
    store, run = train(workspace, config, context)
    return store, make_final(store, config, run, context), False
